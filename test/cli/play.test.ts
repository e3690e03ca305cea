/** `uncouple play` as a user calls it, against recordings of the real engine where they are at hand. */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { streamed, watched } from "../../src/cli/play/play_policy.js";
import type { PlayStep } from "../../src/cli/play/play_steps.js";
import { runCli } from "../../src/cli/program.js";
import { householdWorld } from "../../src/env/household/world.js";
import {
  type ArchivedGame,
  dataFolder,
  type RecordedEpisode,
  type Recording,
  readArchive,
  readRecordings,
  withDataFolder,
  withRecordings,
} from "../support/alfworld_archive.js";
import { smallDomain, smallGameText, smallWalkthrough } from "../support/alfworld_small_game.js";
import { buildForTest } from "../support/built.js";
import { temporaryFolder } from "../support/folders.js";
import { writeTinyPolicy } from "../support/policy.js";
import { TextStream } from "../support/streams.js";

const scratch = temporaryFolder();

let files = 0;

/** Writes a file of its own. @returns its path */
function file(content: string | Uint8Array): string {
  const path = join(scratch, `file_${files++}`);
  writeFileSync(path, content);
  return path;
}

async function play(args: readonly string[], input?: string, env: NodeJS.ProcessEnv = {}) {
  const stdout = new TextStream();
  const stderr = new TextStream();
  const stdin = input === undefined ? undefined : Readable.from([Buffer.from(input)]);
  const code = await runCli(["play", ...args], { stdin, stdout, stderr, env });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

/** Plays with --json. @returns the steps */
async function steps(args: readonly string[], input?: string): Promise<PlayStep[]> {
  const { code, stdout, stderr } = await play([...args, "--json"], input);
  expect({ code, error: /error:.*/.exec(stderr)?.[0] }).toEqual({ code: 0, error: undefined });
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as PlayStep);
}

const archive = new Map<string, ArchivedGame>();

/** The game's file as users have it, or one made from the archive. */
function gameFile(recording: Recording): string {
  const raw = dataFolder + recording.game;
  if (existsSync(raw)) return raw;
  if (archive.size === 0) for (const game of readArchive()) archive.set(game.path, game);
  return file((archive.get(recording.game.replace("json_2.1.1/", "")) as ArchivedGame).text());
}

/** What the command must print for a recorded episode. */
function expectedLines({ initial, admissible, won, steps: recorded }: RecordedEpisode): string {
  const first = { step: 0, command: null, observation: initial, admissible, reward: 0, won, done: won };
  const rest = recorded.map((step, index) => ({
    step: index + 1,
    command: step.command,
    observation: step.feedback,
    admissible: step.admissible,
    reward: step.reward,
    won: step.won,
    done: step.done,
  }));
  return [first, ...rest].map((step) => `${JSON.stringify(step)}\n`).join("");
}

withRecordings.describe("plays recorded from the real engine", () => {
  test.each(readRecordings().map((recording) => [recording.name, recording] as const))(
    "%s",
    async (_, recording) => {
      const args = ["--game", gameFile(recording), "--json"];
      if (recording.variant === "2.1.3") {
        args.push(
          "--domain",
          `${dataFolder}alfred-0.5.0.pddl`,
          "--grammar",
          `${dataFolder}alfred-0.5.0.twl2`,
        );
      }
      for (const episode of recording.episodes) {
        const commands = file(episode.steps.map(({ command }) => `${command}\n`).join(""));
        const { code, stdout } = await play([...args, "--commands", commands]);
        expect(stdout.split("\n")).toEqual(expectedLines(episode).split("\n"));
        expect(code).toBe(0);
      }
    },
  );
});

test("lines of a command file are taken as they are; LF and CRLF end them", async () => {
  const commands = async (text: string | Uint8Array) =>
    (await steps(["--game", file(smallGameText()), "--commands", file(text)]))
      .slice(1)
      .map(({ command }) => command);
  expect(await commands("")).toEqual([]);
  expect(await commands("\n")).toEqual([""]);
  expect(await commands("bag")).toEqual(["bag"]);
  expect(await commands("  bag \n\n\tbag\n")).toEqual(["  bag ", "", "\tbag"]);
  expect(await commands("bag\r\n\r\n look\r\n")).toEqual(["bag", "", " look"]);
  expect(await commands("bag\r\n\r\n")).toEqual(["bag", ""]);
  expect(await commands("?\nquit\nbag")).toEqual(["?", "quit", "bag"]);
});

test("play goes on after the win and pays 1 a step while it lasts", async () => {
  const commands = file([...smallWalkthrough, "bag", "nonsense", "open box 1", "close box 1"].join("\n"));
  const played = await steps(["--game", file(smallGameText()), "--commands", commands]);
  expect(played.map(({ reward }) => reward).join("")).toBe("00000011101");
  for (const { reward, won, done } of played) expect([won, done]).toEqual([reward === 1, reward === 1]);
  expect(played.map(({ step }) => step)).toEqual([...played.keys()]);
});

test("a script says at which step the game was won, wherever it goes from there", async () => {
  const end = async (after: readonly string[]) => {
    const commands = file([...smallWalkthrough, ...after].join("\n"));
    return (await play(["--game", file(smallGameText()), "--commands", commands])).stdout
      .trim()
      .split("\n")
      .at(-1);
  };
  const steps = smallWalkthrough.length;
  expect(await end([])).toBe(`Won after ${steps} steps.`);
  const played = `Won after ${steps} steps. The game was played on to step ${steps + 2}.`;
  expect(await end(["bag", "nonsense"])).toBe(played);
  // the goal does not hold any more at the end
  expect(await end(["bag", "open box 1"])).toBe(played);
});

test("--max-steps makes steps done, and a script goes on all the same", async () => {
  const commands = file("bag\nbag\nbag\n");
  const played = await steps(["--game", file(smallGameText()), "--commands", commands, "--max-steps", "2"]);
  expect(played.map(({ done, won }) => [done, won])).toEqual([
    [false, false],
    [false, false],
    [true, false],
    [true, false],
  ]);
});

test("without --json a transcript", async () => {
  const { stdout } = await play(["--game", file(smallGameText()), "--commands", file(" bag\n")]);
  expect(stdout).toMatch(/^Evening\.\n.*\n\n> {2}bag\nYou hold nothing\.\n\nNot won after 1 step\.\n$/s);
});

test("--domain and --grammar replace those of the game", async () => {
  const game = file(smallGameText({ pddl_domain: "(define (domain broken)", walkthrough: null }));
  const grammar = file(JSON.parse(smallGameText()).grammar.replace("You hold", "In the bag:"));
  const args = [
    "--game",
    game,
    "--commands",
    file("bag\n"),
    "--domain",
    file(smallDomain),
    "--grammar",
    grammar,
  ];
  expect((await steps(args))[1]?.observation).toBe("In the bag: nothing.");
});

test("without options the household world, by hand: ? lists, quit ends, other lines are commands", async () => {
  const { code, stdout, stderr } = await play([], "look\n?\n nonsense\nquit\nlook\n");
  expect(code).toBe(0);
  expect(stderr).toBe("task: household/train/0-pick_and_place_simple\n");
  expect(stdout).toMatch(
    /^.*Your task is to: .*\n\n> look\n.*\n {2}go to .*\n {2}look\n\n> {2}nonsense\nNothing happens\.\n/s,
  );
  expect(stdout).toMatch(/Not won after 2 steps\.\n$/);
});

test("by hand with --json only steps are on stdout; hints are on stderr", async () => {
  const { stdout, stderr } = await play(["--json"], "?\nlook\n");
  const played = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as PlayStep);
  expect(played.map(({ command }) => command)).toEqual([null, "look"]);
  expect(Object.keys(played[0] as object)).toEqual(KEYS);
  expect(stderr).toContain("\n  look");
});

const KEYS = ["step", "command", "observation", "admissible", "reward", "won", "done"];

test.each(["train", "in_domain", "out_of_domain"])("the expert wins household games of %s", async (split) => {
  const ids = (await play(["--list", "--split", split])).stdout.trimEnd().split("\n");
  expect(ids.length).toBeGreaterThan(60);
  for (const id of ids.slice(0, 4)) {
    const played = await steps(["--env", "household", "--split", split, "--task", id, "--expert"]);
    expect(played.at(-1)).toMatchObject({ won: true, done: true, reward: 1 });
    expect(played.filter(({ won }) => won)).toHaveLength(1);
  }
});

test("the seed draws other household games; the same seed draws the same ones", async () => {
  const [zero, one, again] = await Promise.all(
    ["0", "1", "1"].map((seed) => play(["--expert", "--json", "--seed", seed])),
  );
  expect(one).toEqual(again);
  expect(one?.stdout).not.toBe(zero?.stdout);
});

test("the expert of a game that cannot be won is an error", async () => {
  const goal = "(exists (?o - object) (and (lamp ?o) (isClean ?o) (holds Me ?o) (kind Box_bar_1 ShelfType)))";
  const problem = (JSON.parse(smallGameText()).pddl_problem as string).replace(
    /\(:goal .*$/s,
    `(:goal ${goal}))`,
  );
  const { code, stderr } = await play(["--game", file(smallGameText({ pddl_problem: problem })), "--expert"]);
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: expect.stringMatching(/expert cannot win .* Choose another/),
  });
});

withDataFolder.test("--env alfworld plays tasks of the data folder", async () => {
  const args = ["--env", "alfworld", "--data", dataFolder, "--split", "valid_seen"];
  const played = await steps([...args, "--seed", "3", "--expert"]);
  expect(played.at(-1)?.won).toBe(true);
  expect(await steps([...args, "--seed", "3", "--expert"])).toEqual(played);
});

const missing = join(scratch, "missing");

test.each([
  ["no such game", ["--game", missing], 2, /--game .*ENOENT.*missing.*Check the path/],
  ["no such commands", ["--commands", missing], 2, /--commands .*ENOENT/],
  ["no such domain", ["--game", file(smallGameText()), "--domain", missing], 2, /--domain .*ENOENT/],
  ["rules for the household", ["--grammar", missing], 2, /got --grammar .* Add --game/],
  ["a folder as game", ["--game", scratch], 2, /EISDIR/],
  ["no game", ["--game", file("{}")], 1, /"grammar" is missing.*Use a game\.tw-pddl/],
  ["a game cut short", ["--game", file(smallGameText().slice(0, 500))], 1, /not JSON/],
  ["commands that are no text", ["--commands", file(Uint8Array.of(0xff, 0xfe))], 1, /not UTF-8/],
  ["no such split", ["--split", "test"], 2, /unknown split.*train, in_domain/],
  ["no such task", ["--task", "household/train/1"], 2, /unknown task.*such as `household\/train\/1.*--list/],
  ["no data", ["--env", "alfworld"], 2, /ALFWORLD_DATA/],
  ["a seed that is none", ["--seed", "-1"], 2, /whole number/],
  ["no steps", ["--max-steps", "0"], 2, /whole number, 1 or more/],
  ["two players", ["--expert", "--commands", missing], 2, /cannot be used with/],
  ["two worlds", ["--game", missing, "--env", "household"], 2, /cannot be used with/],
])("%s is an error that says the cure", async (_, args, code, message) => {
  expect(await play(args as string[])).toEqual({
    code,
    stdout: "",
    stderr: expect.stringMatching(message as RegExp),
  });
});

test("a process writes everything into a pipe, and ends when its reader has gone", async () => {
  const built = buildForTest("play");
  try {
    const script = join(built.folder, "src/cli/main.js");
    const commands = file("look\n".repeat(20_000));
    const shell = async (command: string) => {
      const env = { ...process.env, NODE: process.execPath, SCRIPT: script, COMMANDS: commands };
      return (await promisify(execFile)("bash", ["-c", command], { env })).stdout;
    };
    const run = '"$NODE" "$SCRIPT" play --quiet --json';
    expect(await shell(`${run} --commands "$COMMANDS" | tail -n 1 | cut -c 1-30`)).toContain(
      '{"step":20000,',
    );
    expect(
      await shell(`${run} --commands "$COMMANDS" | head -n 1 > /dev/null; echo "\${PIPESTATUS[0]}"`),
    ).toBe("0\n");
    const waiting = promisify(execFile)(process.execPath, [script, "play", "--quiet", "--json"], {
      timeout: 30_000,
    });
    waiting.child.stdin?.write("look\nquit\n");
    expect((await waiting).stdout.match(/\n/g)).toHaveLength(2);
  } finally {
    built.remove();
  }
});

test("--model plays the policy as in the run that exported it", async () => {
  const model = join(scratch, "run", "export");
  await writeTinyPolicy(model);
  const args = ["--model", model, "--max-tokens", "4"];
  const played = await steps([...args, "--max-steps", "3"]);
  expect(played.map(({ step, done }) => [step, done])).toEqual([
    [0, false],
    [1, false],
    [2, false],
    [3, true],
  ]);
  expect(await steps([...args, "--max-steps", "3"])).toEqual(played);
  const sampled = ["--temperature", "1", "--max-steps", "3", "--sampling-seed"];
  expect(await steps([...args, ...sampled, "1"])).not.toEqual(await steps([...args, ...sampled, "2"]));
  const settings = { world: { max_steps: 2, household: { seed: 5 } }, grpo: { max_completion_length: 1 } };
  // somebody's own file of that name beside a model folder says nothing
  writeFileSync(join(scratch, "run", "config.yaml"), "services: [db]\n");
  expect(await steps([...args, "--max-steps", "3"])).toEqual(played);
  writeFileSync(join(scratch, "run", "config.yaml"), JSON.stringify(settings));
  writeFileSync(join(scratch, "run", "run.json"), "{}");
  const [first, ...rest] = await steps(["--model", model]);
  expect(first).toEqual((await steps(["--seed", "5", "--expert"]))[0]);
  expect(rest).toHaveLength(2);
  for (const { command } of rest) expect(command).not.toContain(" ");
});

test("a policy of ALFWorld finds its games where they lie here", async () => {
  const model = join(scratch, "far", "export");
  await writeTinyPolicy(model);
  const data = join(scratch, "games");
  const game = join(data, "json_2.1.1", "train", "pick_two_obj_and_place-Cup-None-Box-1", "trial_1");
  mkdirSync(game, { recursive: true });
  writeFileSync(join(game, "game.tw-pddl"), smallGameText());
  const run = (path: string | null) =>
    writeFileSync(
      join(scratch, "far", "config.yaml"),
      JSON.stringify({ world: { id: "alfworld", path, max_steps: 1 }, grpo: { max_completion_length: 2 } }),
    );
  writeFileSync(join(scratch, "far", "run.json"), "{}");
  // where the run's own data are is stronger than the variable, and weaker than the option
  for (const { path, args, env } of [
    { path: null, args: [], env: { ALFWORLD_DATA: data } },
    { path: data, args: [], env: { ALFWORLD_DATA: join(scratch, "none") } },
    { path: join(scratch, "none"), args: ["--data", data], env: {} },
  ]) {
    run(path);
    const { code, stdout, stderr } = await play(["--model", model, ...args], undefined, env);
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining("pick_two_obj_and_place") });
    expect(stdout).toContain("Your task is to");
  }
  run(join(scratch, "none"));
  const lost = await play(["--model", model], undefined, { ALFWORLD_DATA: data });
  expect(lost.code).not.toBe(0);
  expect(lost.stderr).toContain(join(scratch, "none"));
});

test("a policy's world shows every step, and who stops watching stops the play", async () => {
  const world = householdWorld();
  const [task] = world.tasks("train");
  let stopped: AbortSignal | undefined;
  const watch = () =>
    streamed(async (show, signal) => {
      stopped = signal;
      const environment = watched(world, 3, show).create();
      await environment.reset({ options: { taskId: task?.id } });
      for (let step = 0; step < 3; step++) {
        signal.throwIfAborted();
        await environment.step("look");
        await new Promise((done) => setTimeout(done, 20));
      }
    });
  const seen: PlayStep[] = [];
  for await (const step of watch()) seen.push(step);
  expect(seen.map(({ step, command, done }) => [step, command, done])).toEqual([
    [0, null, false],
    [1, "look", false],
    [2, "look", false],
    [3, "look", true],
  ]);
  for await (const step of watch()) if (step.step === 1) break;
  expect(stopped?.aborted).toBe(true);
  const failing = streamed(async () => {
    throw new Error("out of order");
  });
  await expect(failing.next()).rejects.toThrow("out of order");
});
