/** Folders of ALFWorld games: which games are taken, how they are called, what is said when something is missing. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { ConfigError, DataError } from "../../src/core/errors.js";
import { openAlfworldFolder } from "../../src/host/worlds/alfworld_folder.js";
import { dataFolder, newerRules, withDataFolder } from "../support/alfworld_archive.js";
import { smallDomain, smallGameText, smallGrammar } from "../support/alfworld_small_game.js";
import { temporaryFolder } from "../support/folders.js";

let root: string;
beforeEach(() => {
  root = temporaryFolder();
});

function write(file: string, text: string): string {
  const path = join(root, file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

function writeGame(
  split: string,
  folder: string,
  changes: Record<string, unknown> = {},
  taskType?: string,
): string {
  const base = `json_2.1.1/${split}/${folder}/trial_1`;
  if (taskType) write(`${base}/traj_data.json`, JSON.stringify({ task_type: taskType, plan: {} }));
  return write(`${base}/game.tw-pddl`, smallGameText(changes));
}

const two = "pick_two_obj_and_place-Cup-None-Box-1";
const simple = "pick_and_place_simple-Cup-None-Box-2";

test("takes what the official loader takes, sorted, from either folder", async () => {
  writeGame("train", two);
  writeGame("train", simple, {}, "pick_and_place_simple");
  writeGame("train", "pick_and_place_with_movable_recep-Cup-Pan-Box-1");
  writeGame("train", "pick_two_obj_and_place-BreadSliced-None-Box-1");
  writeGame("train", "pick_two_obj_and_place-Mug-None-Box-1", { solvable: false });
  writeGame("train", "pick_two_obj_and_place-Pen-None-Box-1", { solvable: undefined });
  writeGame("train", "pick_two_obj_and_place-Pan-None-Box-1", {}, "some_other_type");
  writeGame("valid_seen", two, {}, "look_at_obj_in_light");
  for (const path of [root, join(root, "json_2.1.1")]) {
    const said: string[] = [];
    const world = await openAlfworldFolder(path, { logger: { info() {}, warn: (text) => said.push(text) } });
    for (const part of [
      /train: 2 games, left out: /,
      /2 with movable receptacles or slices/,
      /1 of the unknown type some_other_type/,
      /1 not marked solvable \([^)]*Mug-None-Box-1/,
      /1 without the key `solvable` \([^)]*Pen-None-Box-1/,
    ])
      expect(said.join("\n")).toMatch(part);
    expect(world.splits).toEqual(["train", "valid_seen"]);
    expect(world.tasks("train")).toEqual([
      { id: `train/${simple}/trial_1/game.tw-pddl`, split: "train", type: "pick_and_place_simple" },
      { id: `train/${two}/trial_1/game.tw-pddl`, split: "train", type: "pick_two_obj_and_place" },
    ]);
    // the trajectory beside a game counts more than its folder's name
    expect(world.tasks("valid_seen").map((task) => task.type)).toEqual(["look_at_obj_in_light"]);
    expect((await world.create().reset()).obs).toContain("Evening.");
  }
});

test("splits, task types, step limit and newer rules can be chosen", async () => {
  writeGame("train", two);
  writeGame("valid_unseen", simple);
  writeGame("valid_unseen", two);
  const world = await openAlfworldFolder(root, {
    splits: ["valid_unseen"],
    taskTypes: ["pick_two_obj_and_place"],
    maxSteps: 1,
    domainFile: write("new.pddl", smallDomain),
    grammarFile: write("new.twl2", smallGrammar.replace("Evening.", "Good evening.")),
  });
  expect(world.splits).toEqual(["valid_unseen"]);
  expect(world.tasks("valid_unseen")).toHaveLength(1);
  const environment = world.create();
  expect((await environment.reset()).obs).toContain("Good evening.");
  expect((await environment.step("")).truncated).toBe(true);
});

test("what is missing is said with its cure", async () => {
  const failure = async (path: string, options = {}) => {
    const error = await openAlfworldFolder(path, options).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  };
  expect(await failure(join(root, "nothing"))).toMatch(/no such folder: got `.*nothing`.*alfworld-download/);
  expect(await failure(root)).toMatch(/no such split: got none in .*alfworld-download/);
  writeGame("train", two, { solvable: false });
  expect(await failure(root)).toMatch(/no playable game: got 0 in .*train/);
  expect(await failure(root, { splits: ["valid_seen"] })).toMatch(/no such split: got `valid_seen`/);
  expect(await failure(root, { taskTypes: ["dance"] })).toMatch(/unknown task type: got `dance`/);
});

test("broken and unreadable files are named", async () => {
  const path = writeGame("train", two);
  writeFileSync(path, smallGameText().slice(0, 300));
  const cut = await openAlfworldFolder(root).catch((reason: unknown) => reason);
  expect(cut).toBeInstanceOf(DataError);
  expect((cut as Error).message).toContain(path);
  writeFileSync(path, smallGameText({ pddl_problem: "(define" }));
  const world = await openAlfworldFolder(root);
  expect(() => world.create().reset()).toThrow(`[${path} pddl_problem line 1 column 1]`);
  rmSync(path);
  expect(() => world.create().reset()).toThrow(DataError);
  await expect(openAlfworldFolder(root, { domainFile: join(root, "none.pddl") })).rejects.toThrow(
    ConfigError,
  );
  writeGame("train", two);
  await expect(openAlfworldFolder(root, { domainFile: join(root, "none.pddl") })).rejects.toThrow(
    /none\.pddl/,
  );
});

withDataFolder.test("real folders open, and old files play by the newer rules", async () => {
  const world = await openAlfworldFolder(dataFolder);
  expect(world.splits).toEqual(["train", "valid_seen", "valid_unseen"]);
  const { domain, grammar } = newerRules();
  const newer = await openAlfworldFolder(dataFolder, {
    domainFile: write("alfred.pddl", domain),
    grammarFile: write("alfred.twl2", grammar),
  });
  for (const { id, type } of world.tasks("valid_seen")) {
    expect(id).toMatch(new RegExp(`^valid_seen/${type}-.*/trial_[^/]*/game\\.tw-pddl$`));
    expect(world.game(id).problem.objects.size).toBeGreaterThan(100);
    expect(world.game(id).start().admissibleCommands).not.toContain("help");
    expect(newer.game(id).start().admissibleCommands).toContain("help");
    expect(newer.game(id).task).toBe(world.game(id).task);
  }
});
