/** Worlds that are programs: the worked examples in Python and Node, and programs that go wrong. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { runCli } from "../../src/cli/program.js";
import { ConfigError, DataError, WorldError } from "../../src/core/errors.js";
import type { World } from "../../src/env/world.js";
import { openExternalWorld } from "../../src/host/worlds/external_world.js";
import { temporaryFolder } from "../support/folders.js";
import { TextStream } from "../support/streams.js";

const scratch = temporaryFolder();
const examples = fileURLToPath(new URL("../../examples/worlds/", import.meta.url));
const node = [process.execPath, join(examples, "corridor.mjs")];
const worlds: World[] = [];
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close?.()));
});

async function open(command: readonly string[], timeLimit = 20) {
  const world = await openExternalWorld({ command, timeLimit, maxEnvironments: 2 });
  worlds.push(world);
  return world;
}

let programs = 0;

/** A program of the corridor world in which one thing is otherwise. @param change replaces a method's result, in JavaScript */
function changed(method: string, change: string): string[] {
  const file = join(scratch, `program-${programs++}.mjs`);
  const source = `import { existsSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
const info = { won: false, admissible_commands: ["go"] };
const methods = {
  spec: () => ({ id: "small", splits: { train: [{ id: "a" }] } }),
  reset: () => ({ obs: "start", task: "go.", info }),
  step: ({ action }) => ({ obs: "went " + action, reward: 0.5, info }),
};
const normal = { ...methods };
methods[${JSON.stringify(method)}] = (params, id) => { ${change} };
for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  const result = methods[method](params, id);
  if (result !== undefined) console.log(JSON.stringify({ id, result }));
}
`;
  writeFileSync(file, source);
  return [process.execPath, file];
}

/** Changes a method in the first process that gets there only. */
function once(method: string, change: string): string[] {
  const marker = join(scratch, `marker-${programs}`);
  return changed(
    method,
    `if (existsSync(${JSON.stringify(marker)})) return normal.${method}(params);
     writeFileSync(${JSON.stringify(marker)}, ""); ${change}`,
  );
}

describe.each([
  ["Node", node],
  ["Python", ["python3", join(examples, "corridor.py")]],
])("the example in %s", (_, command) => {
  test("is a world", async () => {
    const world = await open(command);
    expect([world.id, world.splits, world.maxEnvironments]).toEqual(["corridor", ["train", "test"], 2]);
    expect(world.tasks("test")).toEqual([
      { id: "length 5", type: "walk", split: "test" },
      { id: "length 6", type: "walk", split: "test" },
    ]);
    expect(() => world.tasks("dev")).toThrow(/expected one of train, test/);
    const environment = world.create();
    const options = { options: { taskId: "length 2" } };
    const first = await environment.reset(options);
    expect(first).toMatchObject({ obs: "You are at place 0 of 2.", task: "reach the door." });
    expect(first.info).toMatchObject({ won: false, taskId: "length 2", score: 0, stateKey: "0" });
    expect(first.info.admissibleCommands).toEqual(["forward", "back"]);
    expect(await environment.step("fly")).toMatchObject({ obs: "You cannot do that.", terminated: false });
    const half = await environment.step("forward");
    expect(half).toMatchObject({ obs: "You are at place 1 of 2.", reward: 0, info: { score: 0.5 } });
    const snapshot = await environment.snapshot?.();
    const end = await environment.step("forward");
    expect(end).toMatchObject({
      reward: 1,
      terminated: true,
      truncated: false,
      info: { won: true, score: 1 },
    });
    const other = world.create();
    expect((await other.restore?.(snapshot))?.obs).toBe(half.obs);
    expect(await other.step("forward")).toEqual(end);
    expect(await world.expert?.("length 3")).toEqual(["forward", "forward", "forward"]);
    expect(await world.sampleTexts?.()).toContain("You are at place 6 of 6.");
  });

  test("is played by the command", async () => {
    const stdout = new TextStream();
    const args = [
      "play",
      "--env",
      "external",
      "--program",
      ...command,
      "--task",
      "length 2",
      "--expert",
      "--json",
    ];
    const code = await runCli(args, { stdout, stderr: new TextStream(), env: {} });
    const lines = stdout.text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect([code, lines.map(({ observation }) => observation), lines.at(-1).won]).toEqual([
      0,
      ["You are at place 0 of 2.", "You are at place 1 of 2.", "You are at place 2 of 2."],
      true,
    ]);
  });
});

test("draws a task by the seed, and the program may leave most fields out", async () => {
  const world = await open(
    changed("spec", "return { id: 'two', splits: { train: [{ id: 'a' }, { id: 'b' }] } };"),
  );
  const environment = world.create();
  const ids = new Set<string>();
  for (let seed = 0; seed < 8; seed++) ids.add((await environment.reset({ seed })).info.taskId);
  expect([...ids].sort()).toEqual(["a", "b"]);
  expect(await environment.step("x")).toMatchObject({
    obs: "went x",
    reward: 0.5,
    terminated: false,
    truncated: false,
  });
  expect([world.expert, world.sampleTexts]).toEqual([undefined, undefined]);
});

test.each([
  ["crash", "process.exit(3);"],
  ["hang", "return undefined;"],
  ["garbage", "console.log('debug'); return normal.step(params);"],
  ["another id", "console.log(JSON.stringify({ id: id + 1, result: normal.step(params) }));"],
  ["half a line", "process.stdout.write('{\"id\"', () => process.exit());"],
  [
    "a second answer",
    "console.log(JSON.stringify({ id, result: normal.step(params) })); return normal.step(params);",
  ],
])("%s in mid-step: the episode goes on in another process", async (_, change) => {
  const world = await open(once("step", change), 5);
  const environment = world.create();
  await environment.reset();
  expect((await environment.step("one")).obs).toBe("went one");
  expect((await environment.step("two")).obs).toBe("went two");
});

test.each([
  [
    "spec",
    "return { id: 'x', splits: {} , max_environments: 0 };",
    /malformed answer to spec: got 0 at result.max_environments/,
  ],
  ["spec", "return { id: 'x', splits: { train: [] } };", /at result.splits.train/],
  ["spec", "console.error('no data'); process.exit(4);", /exit code 4.*It said: no data/s],
  ["spec", "return 7;", /malformed answer to spec: got 7 at result/],
])("%s: %s is told", async (method, change, message) => {
  await expect(open(changed(method, change))).rejects.toThrow(message);
});

test.each([
  ["reset", "return { obs: 'x' };", /malformed answer to reset: got undefined at result.task/],
  [
    "step",
    "return { obs: 'x', info: { score: 2 } };",
    /malformed answer to step: got 2 at result.info.score/,
  ],
])("a malformed answer to %s is an error, not an episode", async (method, change, message) => {
  const world = await open(changed(method, change));
  const environment = world.create();
  await expect(async () => {
    await environment.reset();
    await environment.step("x");
  }).rejects.toThrow(message);
});

test("a refusal is told and the process stays", async () => {
  const refuse = "console.log(JSON.stringify({ id, error: 'no such door' }));";
  const world = await open(once("step", refuse));
  const environment = world.create();
  await environment.reset();
  await expect(async () => environment.step("x")).rejects.toThrow(DataError);
  expect((await environment.step("y")).obs).toBe("went y");
});

test("no program, and one that is not there", async () => {
  await expect(open([])).rejects.toThrow(ConfigError);
  await expect(open(["/no/such/program"])).rejects.toThrow(WorldError);
  expect(existsSync(examples)).toBe(true);
});
