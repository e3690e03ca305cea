/** Episodes of ScienceWorld in processes: their ends, snapshots, lost processes, experts. The processes are stubs. */
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { ArgumentError, ConfigError, DataError, WorldError } from "../../src/core/errors.js";
import type { ScienceWorld } from "../../src/env/scienceworld/world.js";
import type { Environment, StepResult } from "../../src/env/world.js";
import { temporaryFolder } from "../support/folders.js";
import { smallScienceGame, stubJava, stubWorld, writeSmallGame } from "../support/scienceworld.js";

const scratch = temporaryFolder();
const worlds: ScienceWorld[] = [];
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()));
});

/** A world on stubs, ended after the test. */
function open(...args: Parameters<typeof stubWorld>) {
  const opened = stubWorld(...args);
  worlds.push(opened.world);
  return opened;
}

const taskId = "boil/3";

/** Plays the small game. @returns what the steps gave */
async function playAll(environment: Environment, from = 1) {
  const seen: StepResult[] = [];
  for (const { action } of smallScienceGame.steps.slice(from)) seen.push(await environment.step(action));
  return seen;
}

describe("an episode", () => {
  test("ends by failing, and by the world's own limit of moves", async () => {
    const steps = smallScienceGame.steps.map((step) =>
      step.action === "wait" ? { ...step, score: -100 } : step,
    );
    const { world } = open([stubJava([writeSmallGame(scratch, { steps })])], { maxMoves: 13 });
    const environment = world.create();
    await environment.reset({ options: { taskId } });
    await environment.step("open door");
    const before = await environment.step("heat \\n pot");
    expect(before).toMatchObject({ terminated: false, truncated: false });
    const lost = await environment.step("wait");
    expect(lost).toMatchObject({
      reward: -109,
      terminated: true,
      truncated: false,
      info: { won: false, score: 0 },
    });
    expect(lost.info.details?.score).toBe(-100);
    const other = open([stubJava([writeSmallGame(scratch)])], { maxMoves: 12 }).world.create();
    await other.reset({ options: { taskId } });
    const [, , long, won] = await playAll(other);
    // at 13 moves, and past the limit at the goal: won is won
    expect(long).toMatchObject({ terminated: false, truncated: true });
    expect(won).toMatchObject({ terminated: true, truncated: false });
  });

  test.each([
    ["none", []],
    ["valid", ["focus on pot", "look around", "open door"]],
    [
      "templates",
      expect.arrayContaining(["open OBJ (open a container or door)", "OBJ is one of: door, pot"]),
    ],
  ] as const)("lists %s", async (listing, commands) => {
    const { world } = open([stubJava([writeSmallGame(scratch)])], { listing });
    const environment = world.create();
    expect((await environment.reset({ options: { taskId } })).info.admissibleCommands).toEqual(commands);
  });

  test("of a task that is not there is refused, and the process stays", async () => {
    const { world, started } = open([stubJava([writeSmallGame(scratch)])]);
    const environment = world.create();
    await expect(async () => environment.step("wait")).rejects.toThrow(ArgumentError);
    await expect(async () => environment.reset({ options: { taskId: "boil/99" } })).rejects.toThrow(
      ConfigError,
    );
    await expect(async () => environment.reset({ options: { taskId: "melt/0" } })).rejects.toThrow(DataError);
    expect((await environment.reset({ options: { taskId } })).info.taskId).toBe(taskId);
    expect(started()).toBe(1);
  });

  test("is drawn by the seed where no task is named", async () => {
    const games = ["1", "2"].map((variation) => writeSmallGame(scratch, { variation: Number(variation) }));
    const { world } = open([stubJava(games)]);
    const environment = world.create();
    const ids = (seed: number) =>
      Promise.resolve(environment.reset({ seed, options: { split: "train" } })).then(
        ({ info }) => info.taskId,
        (error: Error) => /refuses (\S+):/.exec(error.message)?.[1],
      );
    expect(await ids(5)).toBe(await ids(5));
    expect(new Set([await ids(5), await ids(6), await ids(7)]).size).toBe(3);
  });

  test("snapshots are the way there: other environments go it again", async () => {
    const { world, started } = open([stubJava([writeSmallGame(scratch)])]);
    const [one, two] = [world.create(), world.create()];
    const first = await one.reset({ options: { taskId } });
    expect((await two.restore?.(await one.snapshot?.()))?.obs).toBe(first.obs);
    await one.step("open door");
    await one.step("heat \\n pot");
    const snapshot = await one.snapshot?.();
    const rest = await playAll(one, 3);
    const restored = await two.restore?.(snapshot);
    expect(restored).toMatchObject({ obs: smallScienceGame.steps[2].observation, task: first.task });
    expect(await playAll(two, 3)).toEqual(rest);
    // and again from the same snapshot
    await one.restore?.(snapshot);
    expect(await playAll(one, 3)).toEqual(rest);
    await expect(async () => two.restore?.({ kind: "alfworld" })).rejects.toThrow(ArgumentError);
    expect(started()).toBe(2);
  });
});

describe("a process that is lost", () => {
  const clean = () => stubJava([writeSmallGame(scratch)]);
  const faulty = (kind: string, step: number) => stubJava([writeSmallGame(scratch)], { kind, step });

  test.each(["crash", "truncated", "garbage", "hang", "no utf8", "unasked"])(
    "%s in mid-step: the episode goes on in another process as if nothing had been",
    async (kind) => {
      const whole = open([clean()]).world.create();
      const first = await whole.reset({ options: { taskId } });
      const expected = await playAll(whole);
      const { world, started } = open([faulty(kind, 3), clean()], {}, kind === "hang" ? 2500 : 20_000);
      const environment = world.create();
      expect(await environment.reset({ options: { taskId } })).toEqual(first);
      expect(await playAll(environment)).toEqual(expected);
      expect(started()).toBe(2);
    },
  );

  test("is lost again and again: an error after two more tries", async () => {
    const { world, started } = open([faulty("crash", 2)]);
    const environment = world.create();
    await environment.reset({ options: { taskId } });
    await expect(async () => environment.step("open door")).rejects.toThrow(WorldError);
    expect(started()).toBe(3);
  });

  test("when it starts", async () => {
    const { world, started } = open([["/no/such/java"], clean()]);
    await world.create().reset({ options: { taskId } });
    expect(started()).toBe(2);
  });

  test("a replay that goes another way is an error, not another episode", async () => {
    const steps = smallScienceGame.steps.map((step, index) =>
      index === 1 ? { ...step, observation: "other" } : step,
    );
    const { world } = open([faulty("crash", 3), stubJava([writeSmallGame(scratch, { steps })])]);
    const environment = world.create();
    await environment.reset({ options: { taskId } });
    await environment.step("open door");
    await expect(async () => environment.step("heat \\n pot")).rejects.toThrow(
      /went another way.*got "other"/s,
    );
  });

  test("closed in the middle of a step: the step fails, its process ends, the environment can be used again", async () => {
    const { world, started } = open([faulty("hang", 2), clean()]);
    const environment = world.create();
    await environment.reset({ options: { taskId } });
    const step = environment.step("open door");
    const failed = expect(step).rejects.toThrow(WorldError);
    await new Promise((done) => setTimeout(done, 50));
    await environment.close();
    await failed;
    await environment.reset({ options: { taskId } });
    expect(await playAll(environment)).toHaveLength(4);
    expect(started()).toBe(2);
    // closed while the process starts
    await environment.close();
    const other = open([clean()]).world.create();
    const reset = other.reset({ options: { taskId } });
    const refused = expect(reset).rejects.toThrow(/the environment was closed/);
    await other.close();
    await refused;
    await other.reset({ options: { taskId } });
    await other.close();
  });

  test("an exception of the simulator is an error, and the next episode has a fresh process", async () => {
    const marker = join(scratch, "exception");
    const java = stubJava([writeSmallGame(scratch)], { kind: "exception", step: 2, marker });
    const { world, started } = open([java]);
    const environment = world.create();
    await environment.reset({ options: { taskId } });
    await expect(async () => environment.step("open door")).rejects.toThrow(/java.lang.Error: broken/);
    await environment.reset({ options: { taskId } });
    expect(await playAll(environment)).toHaveLength(4);
    expect(started()).toBe(2);
  });
});

describe("processes", () => {
  test("are used again, and end with the world", async () => {
    const { world, started } = open([stubJava([writeSmallGame(scratch)])]);
    const [one, two, three] = [world.create(), world.create(), world.create()];
    expect(started()).toBe(0);
    for (const environment of [one, two, three]) await environment.reset({ options: { taskId } });
    expect(started()).toBe(3);
    for (const environment of [one, two, three]) await environment.close();
    // two stay, the third would not be needed again
    for (const environment of [one, two, three]) await environment.reset({ options: { taskId } });
    expect(started()).toBe(4);
    await world.close();
    await expect(async () => world.create().reset({ options: { taskId } })).rejects.toThrow(
      /the world is closed/,
    );
  });

  test("experts have one of their own, and win or say so", async () => {
    const loser = writeSmallGame(scratch, { variation: 4, gold: ["open door"] });
    const { world, started } = open([stubJava([writeSmallGame(scratch), loser])]);
    const environment = world.create();
    await environment.reset({ options: { taskId } });
    const plans = await Promise.all([world.expert(taskId), world.expert("boil/4"), world.expert(taskId)]);
    expect(plans).toEqual([smallScienceGame.gold, null, smallScienceGame.gold]);
    expect(started()).toBe(2);
    expect(await world.expert(taskId, await environment.snapshot?.())).toEqual(smallScienceGame.gold);
    await environment.step("open door");
    expect(await world.expert(taskId, await environment.snapshot?.())).toBeNull();
  });

  test("show the words of chosen tasks", async () => {
    const games = [0, 1].map((variation) => writeSmallGame(scratch, { variation }));
    const { world } = open([stubJava(games)], { sampledTasks: ["boil"] });
    const texts = await world.sampleTexts();
    const { steps, taskDescription, gold } = smallScienceGame;
    expect(texts).toEqual(
      expect.arrayContaining([taskDescription, ...gold, ...steps.map(({ observation }) => observation)]),
    );
    expect(texts).toEqual(
      expect.arrayContaining(["-30", "250", "focus on pot", ...steps.slice(1).map(({ look }) => look)]),
    );
    expect(() => open([[]], { sampledTasks: ["boiling"] })).toThrow(/unknown task/);
  });
});
