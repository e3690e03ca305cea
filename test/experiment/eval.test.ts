/** `uncouple eval`: the numbers of a cell again, episodes in a file, resumption, refusals, instructions of a run. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { register as evaluate } from "../../src/cli/eval/eval.js";
import { register as experiment } from "../../src/cli/experiment/experiment.js";
import { runCli } from "../../src/cli/program.js";
import { silentLogger } from "../../src/core/logger.js";
import type { Evaluation } from "../../src/core/run_record.js";
import { instructionsOfRun } from "../../src/host/experiment/instructions.js";
import { readJsonLines } from "../../src/host/files/json_lines.js";
import { writeCheckpoint } from "../../src/host/run/checkpoints.js";
import type { ExperimentResult } from "../../src/report/experiment_rows.js";
import { temporaryFolder } from "../support/folders.js";
import { writeTinyPolicy } from "../support/policy.js";
import { TextStream } from "../support/streams.js";

let root: string;
let cell: ExperimentResult;
let run: string;

async function cli(...args: string[]) {
  const [stdout, stderr] = [new TextStream(), new TextStream()];
  const code = await runCli(args, { stdout, stderr, env: process.env }, [experiment, evaluate]);
  return { code, out: stdout.text, err: stderr.text };
}

beforeAll(async () => {
  root = temporaryFolder();
  const start = join(root, "start");
  await writeTinyPolicy(start);
  const file = join(root, "e.yaml");
  writeFileSync(
    file,
    `
base:
  world:
    max_steps: 3
    household: { train: 6, seen_houses: 4, in_domain: 4, out_of_domain: 4, difficulty: easy }
  grpo: { max_steps: 1, tasks_per_step: 1, num_generations: 2, max_completion_length: 6 }
  eval: { episodes: 4, temperature: 1.5 }
start: { model: ${start} }
splits: { L0: { of: seen_houses }, L2: { of: out_of_domain } }
axes: { algorithm: { grpo: } }
seeds: [0]
`,
  );
  expect((await cli("experiment", "-c", file, "--out", join(root, "out"))).code).toBe(0);
  cell = (await readJsonLines(join(root, "out", "results.jsonl")))[1] as ExperimentResult;
  run = join(root, "out", "runs", "grpo__s0");
}, 300_000);

async function evaluations(...args: string[]): Promise<Evaluation[]> {
  const { code, out, err } = await cli("eval", "--run", run, "--json", ...args);
  expect(err).not.toContain("error:");
  expect(code).toBe(0);
  return JSON.parse(out).evaluations;
}

test("a cell and an evaluation of its run give the same numbers", { timeout: 300_000 }, async () => {
  const found = await evaluations();
  expect(found.map(({ split, mode }) => `${split} ${mode}`)).toEqual(
    cell.splits.map(({ split, mode }) => `${split} ${mode}`),
  );
  found.forEach((one, index) => {
    const { success, episodes, mean_length, invalid_action_rate, repeated_action_rate, types } =
      cell.splits[index];
    expect(one).toMatchObject({ success, episodes, mean_length, invalid_action_rate, repeated_action_rate });
    expect(Object.keys(types).length).toBeGreaterThan(0);
    for (const [type, count] of Object.entries(types)) expect(one[`episodes/${type}`]).toBe(count.episodes);
  });
  // by the model folder alone too: an export brings the settings of its run
  const model = await cli("eval", "--model", join(run, "export"), "--split", "L2", "--greedy");
  expect(model.out).toMatch(/L2 .*greedy.*all.*4/);
});

test("episodes go to a file, and what is there is not played again", { timeout: 300_000 }, async () => {
  const file = join(root, "episodes.jsonl");
  const args = ["--split", "L0", "--k", "2", "--greedy", "--out", file];
  const whole = await evaluations(...args);
  expect(whole.map(({ mode, episodes }) => [mode, episodes])).toEqual([
    ["greedy", 4],
    ["sampled", 8],
  ]);
  expect(whole[1]).toMatchObject({ "avg@2": expect.any(Number), "pass@2": expect.any(Number) });
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  expect(lines.length).toBe(12);
  // a kill leaves some lines and half of one; a mark on the second shows whether it was read or played
  const marked = JSON.stringify({ ...JSON.parse(lines[1]), ended: "won" });
  writeFileSync(file, `${lines[0]}\n${marked}\n${lines[2].slice(0, 40)}`);
  const resumed = await evaluations(...args);
  const key = (line: string) =>
    (({ split, mode, sample, taskId }) => [split, mode, sample, taskId].join())(JSON.parse(line));
  const again = readFileSync(file, "utf8").trimEnd().split("\n");
  expect(again.map(key).sort()).toEqual(lines.map(key).sort());
  const wasWon = JSON.parse(lines[1]).ended === "won";
  const mode = JSON.parse(lines[1]).mode;
  const of = (results: Evaluation[]) => results.find((one) => one.mode === mode) as Evaluation;
  expect(of(resumed).success * of(resumed).episodes).toBeCloseTo(
    of(whole).success * of(whole).episodes + Number(!wasWon),
    9,
  );
  // more samples go on from the same file; other sampling does not
  expect((await evaluations("--split", "L0", "--k", "3", "--out", file))[0].episodes).toBe(12);
  const other = await cli("eval", "--run", run, "--split", "L0", "--temperature", "0.5", "--out", file);
  expect(other).toMatchObject({
    code: 2,
    err: expect.stringMatching(/episodes\.jsonl:1\] episode belongs to another evaluation/),
  });
});

test("the block that a run ended with", async () => {
  const folder = join(root, "corrected");
  const save = (step: number, correction: object | null) =>
    writeCheckpoint(
      join(folder, "checkpoints"),
      {
        step,
        stage: "grpo",
        tensors: { model: [], optimizer: [] },
        state: { seed: 0, stages: { grpo: { gcd: null, correction: correction as never } } },
      },
      null,
    );
  await save(1, null);
  expect(await instructionsOfRun(folder, silentLogger)).toBeUndefined();
  const one = (taskType: string, text: string) => ({ taskType, text, situation: "", action: "", since: 1 });
  await save(2, {
    active: [one("pick", "avoid a"), one("heat", "avoid b"), one("pick", "avoid c")],
    counts: [],
    examples: [],
  });
  expect(await instructionsOfRun(folder, silentLogger)).toEqual({
    pick: "avoid a\navoid c",
    heat: "avoid b",
  });
  expect(await instructionsOfRun(join(root, "nowhere"), silentLogger)).toBeUndefined();
});

test("neither, both, or an unfinished run are refused", async () => {
  const refused = async (...args: string[]) => (await cli("eval", ...args)).err;
  expect(await refused()).toMatch(/got neither --model nor --run/);
  expect(await refused("--model", "a", "--run", "b")).toMatch(/got both --model and --run/);
  expect(await refused("--run", root)).toMatch(/no policy there: got no run folder/);
  expect(await refused("--run", run, "--split", "cellar")).toMatch(/no such split: got "cellar"/);
});
