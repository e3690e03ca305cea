/** `uncouple experiment` on tiny games: a matrix, a kill in the middle, a resumption, refusals and failures. */
import { spawn } from "node:child_process";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { experimentWith } from "../../src/cli/experiment/experiment.js";
import { runCli } from "../../src/cli/program.js";
import { ArgumentError } from "../../src/core/errors.js";
import { readJsonLines } from "../../src/host/files/json_lines.js";
import { type TrainLoop, trainLoop } from "../../src/host/run/train_loop.js";
import type { ExperimentResult } from "../../src/report/experiment_rows.js";
import { buildForTest } from "../support/built.js";
import { temporaryFolder } from "../support/folders.js";
import { writeTinyPolicy } from "../support/policy.js";
import { TextStream } from "../support/streams.js";

const TINY = `
description: two by two on tiny games
base:
  world:
    max_steps: 2
    household: { train: 8, seen_houses: 4, in_domain: 4, out_of_domain: 2, difficulty: easy }
  imitation: { episodes: 3, max_steps: 2, batch_size: 4, learning_rate: 3.0e-3 }
  grpo: { max_steps: 2, tasks_per_step: 2, num_generations: 2, max_completion_length: 6, learning_rate: 1.0e-3 }
  eval: { episodes: 2, modes: [greedy] }
  checkpoint: { save_steps: 1 }
start: { train: }
splits:
  L0: { of: seen_houses, meaning: new games in houses that training shows }
  L1: { of: in_domain }
axes:
  algorithm:
    grpo:
    entropy: { grpo: { entropy_coef: 0.5 } }
  method:
    plain:
    penalty: { grpo: { invalid_action_penalty: 0.5 } }
baseline: { method: plain }
seeds: [0, 1]
`;

let root: string;
let file: string;
beforeAll(() => {
  root = temporaryFolder();
  file = join(root, "tiny.yaml");
  writeFileSync(file, TINY);
});

async function run(loop: TrainLoop, ...args: string[]) {
  const [stdout, stderr] = [new TextStream(), new TextStream()];
  const env = { ...process.env, UNCOUPLE_RUNS_DIR: join(root, "runs") };
  const code = await runCli(["experiment", ...args], { stdout, stderr, env }, [experimentWith(loop)]);
  return { code, out: stdout.text, err: stderr.text };
}

const never: TrainLoop = async () => {
  throw new Error("training must not start");
};

/** Results without what depends on the clock. */
async function resultsIn(folder: string): Promise<Omit<ExperimentResult, "seconds">[]> {
  const rows = (await readJsonLines(join(folder, "results.jsonl"))) as ExperimentResult[];
  return rows.map(({ seconds, ...rest }) => {
    expect(seconds).toBeGreaterThan(0);
    return rest;
  });
}

const built = { folder: "", remove: () => {} };
afterAll(() => built.remove());

/** Starts the program and kills it, without a chance to clean up, when `isTime` says so. */
async function killWhen(isTime: () => boolean, ...args: string[]): Promise<void> {
  Object.assign(built, buildForTest("experiment"));
  const main = join(built.folder, "src", "cli", "main.js");
  const child = spawn(process.execPath, [main, "experiment", ...args], {
    stdio: "ignore",
  });
  const ended = new Promise<NodeJS.Signals | null>((done) =>
    child.once("close", (_code, signal) => done(signal)),
  );
  while (!isTime() && child.exitCode === null) await new Promise((later) => setTimeout(later, 5));
  child.kill("SIGKILL");
  expect(await ended).toBe("SIGKILL");
}

test("a matrix with two seeds; killed in the middle and resumed it gives the same results", {
  timeout: 600_000,
}, async () => {
  const [whole, broken] = [join(root, "whole"), join(root, "broken")];
  const first = await run(trainLoop, "-c", file, "--out", whole);
  expect(first).toMatchObject({ code: 0, out: `${join(whole, "report.md")}\n` });
  const results = await resultsIn(whole);
  expect(results.map(({ cell, seed }) => `${cell} ${seed}`)).toEqual([
    "start 0",
    ...["grpo+plain", "grpo+penalty", "entropy+plain", "entropy+penalty"].flatMap((name) => [
      `${name} 0`,
      `${name} 1`,
    ]),
  ]);
  expect(new Set(results.map(({ start_sha256 }) => start_sha256)).size).toBe(1);
  expect(new Set(results.map(({ config_sha256 }) => config_sha256)).size).toBe(9);
  expect(results[2]).toMatchObject({
    cell: "grpo+plain",
    seed: 1,
    baseline: null,
    overrides: {},
    run: join("runs", "grpo+plain__s1"),
    updates: 2,
    splits: [
      { split: "L0", mode: "greedy", episodes: 2 },
      { split: "L1", mode: "greedy", episodes: 2 },
    ],
  });
  expect(results[8]).toMatchObject({
    levels: { algorithm: "entropy", method: "penalty" },
    baseline: "entropy+plain",
    overrides: { grpo: { entropy_coef: 0.5, invalid_action_penalty: 0.5 } },
  });
  // an override arrives: other weights after the same number of updates from the same start
  const weights = (id: string) => readFileSync(join(whole, "runs", id, "export", "model.safetensors"));
  expect(weights("grpo+plain__s0").equals(weights("entropy+plain__s0"))).toBe(false);

  // killed after the first checkpoint of the fourth run, once its record tells of it
  const record = join(broken, "runs", "grpo+penalty__s0", "run.json");
  const isSaved = () => existsSync(record) && JSON.parse(readFileSync(record, "utf8")).step >= 1;
  await killWhen(isSaved, "-c", file, "--out", broken);
  const dry = await run(never, "-c", file, "--out", broken, "--dry-run");
  expect(dry.out).toMatch(
    /^start +seed 0 {2}2 updates {2}done\ngrpo\+plain__s0 +seed 0 {2}2 updates {2}done\n/,
  );
  expect(dry.out).toMatch(/grpo\+penalty__s0 +seed 0 {2}2 updates {2}stopped at update 1\n/);
  expect(dry.out).toMatch(/entropy\+penalty__s1 +seed 1 {2}2 updates {2}not begun\n$/);
  // a setting on the command line is one of the file's base: nothing that was done with another one counts
  const longer = await run(never, "-c", file, "--out", broken, "--dry-run", "grpo.max_steps=3");
  expect(longer.out).toMatch(/grpo\+plain__s0 +seed 0 {2}3 updates {2}(?!done)/);
  expect(await run(trainLoop, "-c", file, "--out", broken)).toMatchObject({ code: 0 });
  // the process that was killed ran from a build in another folder
  const comparable = (rows: Omit<ExperimentResult, "seconds">[]) =>
    rows.map((row) => ({ ...row, program: undefined }));
  expect(comparable(await resultsIn(broken))).toEqual(comparable(results));

  // nothing is done twice
  const again = await run(never, "-c", file, "--out", broken);
  expect(again).toMatchObject({ code: 0, err: expect.not.stringContaining("adapter:") });
  expect(readFileSync(join(whole, "report.md"), "utf8")).toMatch(/8 of 8 runs are done\n/);

  // results from elsewhere: their cells are not made again, the start is
  const elsewhere = join(root, "elsewhere");
  const known = join(whole, "results.jsonl");
  const looked = await run(never, "-c", file, "--out", elsewhere, "--results", known, "--dry-run");
  expect(looked.err).toContain(`results: 8 runs are done in ${known}`);
  expect(existsSync(elsewhere)).toBe(false);
  expect(await run(trainLoop, "-c", file, "--out", elsewhere, "--results", known)).toMatchObject({ code: 0 });
  expect(readdirSync(join(elsewhere, "runs"))).toEqual(["start"]);
  expect(await resultsIn(elsewhere)).toEqual(results);

  // but not of other settings, cells, starts, nor what is no result
  const rows = readFileSync(known, "utf8").trimEnd().split("\n");
  const refusedWith = async (text: string, ...more: string[]) => {
    const given = join(root, "given.jsonl");
    writeFileSync(given, text);
    const refused = await run(never, "-c", file, "--out", join(root, "none"), "--results", given, ...more);
    expect(refused.code).not.toBe(0);
    return refused.err;
  };
  expect(await refusedWith(`${rows[1]}\n`, "grpo.max_steps=3")).toMatch(
    /line 1\] result of other settings: got \w{12} for grpo\+plain__s0, expected \w{12}/,
  );
  expect(await refusedWith(`${rows[1].replace('"grpo+plain"', '"grpo+other"')}\n`)).toContain(
    "got cell grpo+other with seed 0, expected one that",
  );
  const otherStart = rows[2].replace(results[0].start_sha256, "0".repeat(64));
  expect(await refusedWith(`${rows[1]}\n${otherStart}\n`)).toMatch(
    /line 2\] results from different starts: got weights 000000000000 there and \w{12} in .*line 1/,
  );
  expect(await refusedWith('{"cell":"grpo+plain"}\n')).toContain("line 1 is no result of an experiment");
});

test("a cell of another start is refused, the others run; changed settings are refused", {
  timeout: 300_000,
}, async () => {
  const [one, other, out] = [join(root, "one"), join(root, "other"), join(root, "starts")];
  await writeTinyPolicy(one);
  const experiment = join(root, "starts.yaml");
  writeFileSync(
    experiment,
    TINY.replace("start: { train: }", `start: { model: ${one} }`).replace("seeds: [0, 1]", "seeds: [3]"),
  );
  const args = ["-c", experiment, "--out", out];
  const first = await run(trainLoop, ...args, "--only", "grpo+plain");
  expect(first).toMatchObject({ code: 0 });
  expect((await readJsonLines(join(out, "results.jsonl"))).length).toBe(2);
  const refusing = async (...more: string[]) => (await run(never, ...args, ...more)).err;

  // the files of the start change: nothing runs
  cpSync(one, other, { recursive: true });
  const weights = join(one, "model.safetensors");
  const bytes = readFileSync(weights);
  bytes[bytes.length - 1] ^= 1;
  writeFileSync(weights, bytes);
  expect(await refusing()).toMatch(
    /\[start\] run is not the one that was begun: got weights of the start \w{12} where it was begun with \w{12}/,
  );
  // even when the record of the start is gone: the cell that was begun with the old one is refused, others are not
  rmSync(join(out, "cells", "start.json"));
  const { code, err } = await run(trainLoop, ...args, "--only", "grpo+p*");
  expect(code).toBe(1);
  expect(err).toMatch(
    /\[experiment\] 1 of 2 runs failed: got grpo\+plain__s3: \[grpo\+plain__s3\] run is not the one/,
  );
  expect(existsSync(join(out, "runs", "grpo+penalty__s3", "export"))).toBe(true);

  cpSync(other, one, { recursive: true, force: true });
  rmSync(join(out, "cells", "start.json"));
  writeFileSync(
    experiment,
    readFileSync(experiment, "utf8")
      .replace("entropy_coef: 0.5", "entropy_coef: 0.25")
      .replace("episodes: 2,", "episodes: 1,"),
  );
  expect((await run(never, ...args, "--dry-run")).out).toMatch(
    /grpo\+plain__s3 .* refused at update 2: .* got settings \w{12} where/,
  );
});

test("a failing cell is reported and tried again, the others run", { timeout: 300_000 }, async () => {
  const out = join(root, "failing");
  const args = ["-c", file, "--out", out, "--only", "*plain"];
  const failing: TrainLoop = async (request) => {
    if (request.config.name === "grpo+plain__s1") throw new ArgumentError("[test] this cell fails");
    return trainLoop(request);
  };
  const { code, err } = await run(failing, ...args);
  expect(code).toBe(1);
  expect(err).toMatch(/warning: grpo\+plain__s1 failed: \[test\] this cell fails/);
  expect(err).toMatch(/1 of 4 runs failed: got grpo\+plain__s1: \[test\] this cell fails, expected none/);
  expect((await resultsIn(out)).map(({ cell, seed }) => `${cell} ${seed}`)).toEqual([
    "start 0",
    "grpo+plain 0",
    "entropy+plain 0",
    "entropy+plain 1",
  ]);
  expect(readFileSync(join(out, "report.md"), "utf8")).toMatch(
    /3 of 8 runs are done, 1 failed\n- failed: grpo\+plain__s1: \[test\] this/,
  );
  expect((await run(never, ...args, "--dry-run")).out).toMatch(
    /grpo\+plain__s1 .* failed: \[test\] this cell fails/,
  );
  expect(await run(trainLoop, ...args)).toMatchObject({ code: 0 });
  expect((await resultsIn(out)).length).toBe(5);
  expect(readdirSync(join(out, "runs")).length).toBe(5);
});
