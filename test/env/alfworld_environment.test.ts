/** The environment around the games: resets, ends, snapshots, the world's tasks and its memory. */
import { expect, test } from "vitest";
import { ArgumentError, ConfigError, DataError } from "../../src/core/errors.js";
import { AlfworldWorld, type AlfworldWorldOptions, type GameEntry } from "../../src/env/alfworld/world.js";
import { smallGameText, smallProblem, smallWalkthrough } from "../support/alfworld_small_game.js";

let loads: string[] = [];

function entry(split: string, number: number, text = smallGameText()): GameEntry {
  const taskId = `${split}/pick_two_obj_and_place-Cup-None-Box-${number}/trial_1/game.tw-pddl`;
  const load = (): string => {
    loads.push(taskId);
    return text;
  };
  return { taskId, split, type: "pick_two_obj_and_place", load };
}

function smallWorld(options: AlfworldWorldOptions = {}) {
  loads = [];
  const entries = [0, 1, 2, 3].map((number) => entry("train", number));
  return new AlfworldWorld([...entries, entry("valid_seen", 4)], options);
}

test("a world lists its tasks by split and reads no file for that", () => {
  const world = smallWorld();
  expect(world.splits).toEqual(["train", "valid_seen"]);
  expect(world.tasks("valid_seen")).toEqual([
    {
      id: "valid_seen/pick_two_obj_and_place-Cup-None-Box-4/trial_1/game.tw-pddl",
      split: "valid_seen",
      type: "pick_two_obj_and_place",
    },
  ]);
  expect(loads).toEqual([]);
  expect(() => world.tasks("test")).toThrow(ConfigError);
  expect(() => world.game("train/none")).toThrow(ConfigError);
});

test("an episode gives text, reward 1 at the win, and ends, also at the very last step", async () => {
  const environment = smallWorld({ maxSteps: smallWalkthrough.length }).create();
  const first = await environment.reset();
  expect(first.obs).toContain("Your task is to: put two cup in box.");
  expect(first.info.won).toBe(false);
  const results = [];
  for (const command of smallWalkthrough) results.push(await environment.step(command));
  expect(results.map(({ reward, terminated, truncated }) => [reward, terminated, truncated])).toEqual([
    ...Array.from({ length: 5 }, () => [0, false, false]),
    [1, true, false],
  ]);
  expect(results.at(-1)?.info).toMatchObject({ won: true, taskId: first.info.taskId });
  expect(results.at(-1)?.info.admissibleCommands).toContain("open box 1");
});

test("bad commands are answered, change nothing and count for the step limit", async () => {
  const environment = smallWorld({ maxSteps: 2 }).create();
  const { info } = await environment.reset();
  const first = await environment.step("");
  expect(first).toEqual({ obs: "Nothing happens.", reward: 0, terminated: false, truncated: false, info });
  expect(await environment.step("sing")).toMatchObject({ truncated: true, terminated: false });
});

test("a seed picks the task, within the split asked for", async () => {
  const environment = smallWorld().create();
  const draw = async (seed?: number, split?: string) =>
    (await environment.reset({ seed, options: { split } })).info.taskId;
  const drawn = [];
  for (let seed = 0; seed < 20; seed++) drawn.push(await draw(seed));
  expect(new Set(drawn).size).toBe(4);
  expect(await draw(7)).toBe(drawn[7]);
  expect(await draw(7, "valid_seen")).toMatch(/^valid_seen/);
  await draw(7);
  const onward = [await draw(), await draw(), await draw()];
  await draw(7);
  expect([await draw(), await draw(), await draw()]).toEqual(onward);
  expect((await environment.reset({ seed: 3, options: { taskId: drawn[0] as string } })).info.taskId).toBe(
    drawn[0],
  );
  expect(() => environment.reset({ options: { split: "nowhere" } })).toThrow(ConfigError);
});

test("a snapshot brings observation, state and step count back, in another environment too", async () => {
  const world = smallWorld({ maxSteps: 4 });
  const one = world.create();
  const { task } = await one.reset();
  expect(task).toBe("put two cup in box.");
  await one.step(smallWalkthrough[0] as string);
  const after = await one.step(smallWalkthrough[1] as string);
  const snapshot = await one.snapshot();
  const third = await one.step(smallWalkthrough[2] as string);
  const two = world.create();
  expect(await two.restore(snapshot)).toEqual({ obs: after.obs, task, info: after.info });
  expect(await two.step(smallWalkthrough[2] as string)).toEqual(third);
  expect(await two.step("")).toMatchObject({ truncated: true });
  expect(await one.restore(snapshot)).toEqual({ obs: after.obs, task, info: after.info });
  expect(() => one.restore({ kind: "other" })).toThrow(ArgumentError);
  expect(() => one.restore(undefined)).toThrow(ArgumentError);
});

test("the state key is that of the true facts, however they came about", async () => {
  const world = smallWorld();
  const environment = world.create();
  const start = (await environment.reset()).info.stateKey;
  const after = async (...commands: string[]) => {
    let key: string | undefined;
    for (const command of commands) key = (await environment.step(command)).info.stateKey;
    return key;
  };
  expect(start).toMatch(/^[0-9a-f]{16}$/);
  expect(await after("sing")).toBe(start);
  const atBox = await after("go to box 1");
  expect(atBox).not.toBe(start);
  expect(await after("open box 1", "close box 1")).toBe(atBox);
  const snapshot = await environment.snapshot();
  const open = await after("open box 1");
  const elsewhere = world.create();
  expect((await elsewhere.restore(snapshot)).info.stateKey).toBe(atBox);
  expect((await elsewhere.step("open box 1")).info.stateKey).toBe(open);
  expect((await environment.reset()).info.stateKey).toBe(start);
});

test("an environment wants a reset before anything else", () => {
  const environment = smallWorld().create();
  expect(() => environment.step("look")).toThrow(ArgumentError);
  expect(() => environment.snapshot()).toThrow(ArgumentError);
});

test("games are kept up to a number, the least recently used goes first", () => {
  const world = smallWorld({ keptGames: 2 });
  const [a, b, c] = world.tasks("train").map((task) => task.id) as [string, string, string];
  const game = world.game(a);
  world.game(b);
  expect(world.game(a)).toBe(game);
  world.game(c);
  expect(world.game(a)).toBe(game);
  world.game(b);
  expect(loads).toEqual([a, b, c, b]);
});

test("wrong worlds are refused", () => {
  expect(() => new AlfworldWorld([])).toThrow(/no games/);
  expect(() => new AlfworldWorld([entry("train", 0), entry("train", 0)])).toThrow(/listed twice/);
  expect(() => smallWorld({ maxSteps: 0 })).toThrow(/maxSteps: got 0/);
  const broken = new AlfworldWorld([{ ...entry("train", 0, "{"), file: "/data/game.tw-pddl" }]);
  expect(() => broken.create().reset()).toThrow(DataError);
  expect(() => broken.create().reset()).toThrow(/\/data\/game\.tw-pddl/);
});

test("the expert wins, and has no plan where there is none", async () => {
  const world = smallWorld();
  const { id } = world.tasks("train")[0] as { id: string };
  const environment = world.create();
  await environment.reset({ options: { taskId: id } });
  const plan = (await world.expert(id)) ?? [];
  let won = false;
  for (const command of plan) won = (await environment.step(command)).terminated;
  expect(won).toBe(true);
  const impossible = smallGameText({
    pddl_problem: smallProblem.replace(/\(:goal[\s\S]*/, "(:goal (likes Me Me)))"),
  });
  const hopeless = new AlfworldWorld([entry("train", 0, impossible)]);
  expect(await hopeless.expert(id)).toBeNull();
});

test("sample texts hold the words of names, commands, sentences and literal texts", () => {
  const texts = smallWorld().sampleTexts();
  for (const word of ["cup 2", "sinkbasin 1", "flip lamp 1", "Time passes.", "; and ", "Washed."])
    expect(texts).toContain(word);
  expect(texts.join("\n")).toContain("put two cup in box.");
  expect(smallWorld().sampleTexts()).toEqual(texts);
});
