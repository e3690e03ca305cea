/** `uncouple play --env scienceworld` as a user calls it, with a stub in the place of Java. */
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runCli } from "../../src/cli/program.js";
import { temporaryFolder } from "../support/folders.js";
import {
  readScienceRecording,
  scienceRecordings,
  smallScienceGame,
  stubJava,
  withScienceRecordings,
  writeSmallGame,
} from "../support/scienceworld.js";
import { TextStream } from "../support/streams.js";

const scratch = temporaryFolder();
const jar = join(scratch, "scienceworld.jar");
const { PATH } = process.env;

/** Puts a program named java before all others on PATH. */
function useJava(games: readonly string[]): void {
  const folder = join(scratch, "bin");
  mkdirSync(folder, { recursive: true });
  const [node, stub, plan] = stubJava(games);
  const version = `[ "$1" = -version ] && { echo 'openjdk version "17"' >&2; exit; }`;
  writeFileSync(join(folder, "java"), `#!/bin/sh\n${version}\nexec '${node}' '${stub}' '${plan}' "$@"\n`);
  chmodSync(join(folder, "java"), 0o755);
  process.env.PATH = `${folder}:${PATH}`;
}

beforeAll(() => {
  writeFileSync(jar, "");
  useJava([writeSmallGame(scratch), writeSmallGame(scratch, { variation: 0, simplifications: "" })]);
});

afterAll(() => {
  process.env.PATH = PATH;
});

async function play(args: readonly string[], input?: string) {
  const stdout = new TextStream();
  const stderr = new TextStream();
  const stdin = input === undefined ? undefined : Readable.from([Buffer.from(input)]);
  const all = ["play", "--env", "scienceworld", ...args];
  const code = await runCli(all, { stdin, stdout, stderr, env: { SCIENCEWORLD_JAR: jar } });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

function script(commands: readonly string[]): string {
  const file = join(scratch, "commands.txt");
  writeFileSync(file, commands.map((command) => `${command}\n`).join(""));
  return file;
}

/** What is printed for steps of a recording. */
function expectedLines(steps: typeof smallScienceGame.steps) {
  return steps.map((one, index) => ({
    step: index,
    command: index === 0 ? null : one.action,
    observation: one.observation,
    admissible: one.valid ?? [],
    reward: one.reward,
    won: one.score === 100,
    done: one.completed,
    score: one.score,
    moves: one.moves,
    look: one.look,
    inventory: one.inventory,
  }));
}

function parse(stdout: string) {
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

test("--commands --json prints score, moves, look and inventory with each step", async () => {
  const commands = script(smallScienceGame.steps.slice(1).map(({ action }) => action));
  const args = ["--task", "boil", "--variation", "3", "--commands", commands, "--json"];
  const { code, stdout, stderr } = await play(args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "task: boil/3\n" });
  expect(parse(stdout)).toEqual(expectedLines(smallScienceGame.steps));
  const named = await play(["--task", "boil/3", "--commands", commands, "--json"]);
  expect(named.stdout).toBe(stdout);
});

test("commands that are not parsed, empty ones too, are sent and answered", async () => {
  const { stdout } = await play([
    "--task",
    "boil/3",
    "--commands",
    script(["", " sing ", "open door"]),
    "--json",
  ]);
  const lines = parse(stdout);
  expect(lines.map(({ command }) => command)).toEqual([null, "", " sing ", "open door"]);
  expect(lines.map(({ observation }) => observation).slice(1)).toEqual([
    "No known action matches that input.",
    "No known action matches that input.",
    smallScienceGame.steps[1].observation,
  ]);
});

test("--expert wins, by hand it can be played, --list names the tasks", async () => {
  expect((await play(["--task", "boil/3", "--expert"])).stdout).toContain("Won after 4 steps.");
  const byHand = await play(["--task", "boil/3"], "open door\nquit\n");
  expect(byHand.stdout).toContain(`> open door\n${smallScienceGame.steps[1].observation}\n`);
  const list = await play(["--list", "--split", "l2_test"]);
  expect(list.stdout.trimEnd().split("\n")).toHaveLength(549);
});

test("--simplifications, and the first variation where none is named", async () => {
  const { stdout } = await play(["--simplifications", "none", "--commands", script([]), "--json"]);
  expect(parse(stdout)).toEqual(expectedLines(smallScienceGame.steps.slice(0, 1)));
});

test.each([
  [["--task", "boil", "--variation", "30"], /no such variation of boil: got 30, expected 0 to 29/],
  [["--task", "boils"], /unknown task: got `boils`.*such as `boil`/],
  [["--task", "boil/3", "--variation", "3"], /variation given twice/],
  [["--split", "dev", "--task", "boil/3"], /unknown task: got `boil\/3`/],
  [["--split", "l3"], /unknown split: got `l3`/],
  [["--simplifications", "hard"], /unknown simplification: got `hard`/],
  [["--jar", "/no/such.jar"], /no such jar: got `\/no\/such.jar`/],
  [["--domain", "x.pddl"], /got --domain with the scienceworld world/],
  [["--env", "household", "--variation", "3"], /got --variation with another world/],
])("%j is refused", async (args, message) => {
  const { code, stdout, stderr } = await play([...args, "--commands", script([])]);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toMatch(message);
});

withScienceRecordings.describe("recordings of the simulator", () => {
  test.each(scienceRecordings())("%s", async (_, file) => {
    useJava([file]);
    const recording = readScienceRecording(file);
    const { task, variation, steps } = recording;
    const args = [
      "--task",
      task,
      "--variation",
      `${variation}`,
      "--simplifications",
      recording.simplifications || "none",
    ];
    const { stdout } = await play([
      ...args,
      "--commands",
      script(steps.slice(1).map(({ action }) => action)),
      "--json",
    ]);
    expect(parse(stdout)).toEqual(expectedLines(steps));
  });
});
