/** Run folders: what is written, what a resumed run finds, and that nothing is ever overwritten. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { appendFile, mkdir, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Logger } from "../../src/core/logger.js";
import type { Checkpoint, EvaluationTranscript, RolloutRow } from "../../src/core/run_record.js";
import { readJsonLines } from "../../src/host/files/json_lines.js";
import { readModelFolder } from "../../src/host/model/model_folder.js";
import { readGitState } from "../../src/host/run/git.js";
import { type NewRunOptions, RunFolder, type SessionFacts } from "../../src/host/run/run_folder.js";
import { findLatestRun, readRunInfo } from "../../src/host/run/run_info.js";
import { presetConfig } from "../../src/model/config.js";
import { elementCount, parameterShapes } from "../../src/model/parameters.js";
import { temporaryFolder } from "../support/folders.js";

let root: string;
let milliseconds: number;
let warnings: string[];
const logger: Logger = { info() {}, warn: (message) => void warnings.push(message) };
beforeEach(() => {
  root = temporaryFolder();
  milliseconds = Date.UTC(2026, 0, 2, 3, 4, 5);
  warnings = [];
});
afterEach(async () => {
  for (const folder of left.splice(0)) await folder.finish("failed");
});

/** Folders of runs that a test does not end. */
const left: RunFolder[] = [];

async function create(changes: Partial<NewRunOptions> = {}): Promise<RunFolder> {
  const folder = await RunFolder.create(options(changes));
  left.push(folder);
  return folder;
}

const session: SessionFacts = {
  argv: ["train"],
  version: "0.1.0",
  node: "v20",
  platform: "linux-x64",
  git: { commit: "abc", dirty: true, diff: "the difference\n" },
  adapter: { kind: "lavapipe" },
};

function options(changes: Partial<NewRunOptions> = {}): NewRunOptions {
  return {
    out: join(root, "runs"),
    name: "first",
    seed: 3,
    taken: "refuse",
    config: "seed: 3\n",
    input: "{}\n",
    session,
    keepCheckpoints: 2,
    clock: () => {
      milliseconds += 1000;
      return new Date(milliseconds);
    },
    logger,
    ...changes,
  };
}

function checkpoint(step: number): Checkpoint {
  const data = Float32Array.of(step, -0, 1e-42);
  return {
    step,
    stage: "grpo",
    tensors: {
      model: [{ name: "w", shape: [3], data }],
      optimizer: [{ name: "w.m", shape: [3], data: () => data }],
    },
    state: { random: [1, step] },
  };
}

const rolloutRow = { step: 1, kind: "policy", group: 0 } as RolloutRow;
const at = (...names: string[]) => join(root, "runs", "first", ...names);
const text = (...names: string[]) => readFileSync(at(...names), "utf8");

/** Lock files of the first run. */
const locks = () => readdirSync(at()).filter((file) => file.startsWith("run.lock"));

/** Leaves the run as a killed process does: its lock names a process that is no more. */
function kill(): void {
  left.splice(0);
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  for (const file of locks()) renameSync(at(file), at(`run.lock.${encodeURIComponent(hostname())}.${pid}.0`));
}

const transcript = (step: number, mode: EvaluationTranscript["mode"]): EvaluationTranscript => ({
  ...{ step, split: "train", mode, task_id: "t", task_type: "pick", sample: 0, ended: "lost" },
  steps: [{ observation: `after ${step}`, action: "look", valid: true, truncated: false, reward: 0 }],
});

/** What training would write for updates `from` to `to`, a checkpoint after every second one. */
async function train(folder: RunFolder, from: number, to: number): Promise<void> {
  for (let step = from; step <= to; step++) {
    await folder.rollouts(step, [{ ...rolloutRow, step }]);
    await folder.metrics({ step, stage: "grpo", reward: step / 3, broken: Number.NaN });
    if (step % 2 === 0) {
      const shares = { success: 0.5, success_low: 0.1, success_high: 0.9 };
      const split = { split: "train", episodes: 4 } as const;
      for (const mode of ["greedy", "sampled"] as const) {
        await folder.transcripts(step, [transcript(step, mode)]);
        await folder.evaluation({ step, stage: "grpo", ...split, mode, ...shares });
      }
      await folder.checkpoint(checkpoint(step));
    }
  }
}

test("a run leaves its configuration, record, rows, log and checkpoints", async () => {
  const folder = await RunFolder.create(options());
  folder.logger(logger).warn("watch out");
  await train(folder, 1, 5);
  await folder.finish("finished", 5);
  expect(readdirSync(at()).sort()).toEqual([
    "checkpoints",
    "code.diff",
    "config.input.yaml",
    "config.yaml",
    "eval.jsonl",
    "evaluations",
    "metrics.jsonl",
    "rollouts",
    "run.json",
    "run.log",
  ]);
  expect(readdirSync(at("checkpoints")).sort()).toEqual(["latest", "step_000002", "step_000004"]);
  expect(text("checkpoints", "latest")).toBe("step_000004\n");
  expect(text("code.diff")).toBe("the difference\n");
  expect(warnings).toEqual(["watch out"]);
  expect(text("run.log")).toMatch(/^2026-01-02T.*Z warning: watch out\n$/);
  const rows = (await readJsonLines(at("metrics.jsonl"))) as { step: number }[];
  expect(rows.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5]);
  expect(rows[0]).toMatchObject({ stage: "grpo", reward: 1 / 3, broken: null, time: expect.any(Number) });
  expect(readdirSync(at("rollouts"))).toContain("step_000005.jsonl");
  expect(await readRunInfo(at())).toMatchObject({
    name: "first",
    seed: 3,
    status: "finished",
    step: 5,
    sessions: [
      { argv: ["train"], fromStep: 0, git: { commit: "abc", dirty: true }, adapter: { kind: "lavapipe" } },
    ],
  });
  expect(text("run.json")).not.toContain("the difference");
});

test("a taken name is refused or gets a number", async () => {
  await create();
  await expect(create()).rejects.toThrow(/there already.*--resume/);
  const second = await create({ taken: "suffix" });
  expect(second.path).toBe(join(root, "runs", "first-2"));
  expect(second.info.name).toBe("first-2");
});

test("a killed run that is resumed ends with the files of a run that was not", async () => {
  const whole = await RunFolder.create(options({ name: "whole" }));
  await train(whole, 1, 7);
  await whole.finish("finished", 7);

  const killed = await create();
  await train(killed, 1, 5);
  // the process dies here, in the middle of a line, a rollout file and a checkpoint
  await appendFile(at("metrics.jsonl"), '{"step":6,"sta');
  await appendFile(at("rollouts", ".step_000006.jsonl.some-id.partial"), "{");
  // evaluations in their middle, of the update that is gone on from and of one that is not
  const cut = at("evaluations", "step_000004.jsonl");
  writeFileSync(cut, `${readFileSync(cut, "utf8").split("\n")[0]}\n{"damaged\n`);
  await killed.transcripts(6, [transcript(6, "greedy")]);
  await mkdir(at("checkpoints", ".step_000006.0f8fad5b-d9cb-469f-a165-70867728950e.partial"));
  kill();

  const { folder, checkpoint: loaded } = await RunFolder.resume(at(), options());
  expect(loaded).toMatchObject({ step: 4, stage: "grpo", state: { random: [1, 4] } });
  expect(new Uint8Array((await loaded?.model.read("w"))?.slice().buffer ?? [])).toEqual(
    new Uint8Array(Float32Array.of(4, -0, 1e-42).buffer),
  );
  // of updates after it nothing is left, and episodes that are there already are written once
  expect(readdirSync(at("evaluations"))).toEqual(["step_000002.jsonl", "step_000004.jsonl"]);
  for (const mode of ["greedy", "sampled"] as const) await folder.transcripts(4, [transcript(4, mode)]);
  await train(folder, 5, 7);
  await folder.finish("finished", 7);
  const comparable = (run: string, file: string) =>
    readFileSync(join(root, "runs", run, file), "utf8").replaceAll(/"time":[\d.]+/g, "");
  for (const file of [
    "metrics.jsonl",
    "eval.jsonl",
    ...["rollouts", "evaluations"].flatMap((inner) => readdirSync(at(inner)).map((f) => `${inner}/${f}`)),
  ])
    expect(comparable("first", file)).toBe(comparable("whole", file));
  for (const inner of ["rollouts", "evaluations", "checkpoints"])
    expect(readdirSync(at(inner))).toEqual(readdirSync(join(root, "runs", "whole", inner)));
  const info = await readRunInfo(at());
  expect(info.sessions.map(({ fromStep }) => fromStep)).toEqual([0, 4]);
  expect(info).toMatchObject({ status: "finished", step: 7 });
  expect(existsSync(at("code.2.diff"))).toBe(true);
});

test("a run whose checkpoints cannot be read stops, and nothing is lost", async () => {
  const run = await create();
  await train(run, 1, 5);
  await run.finish("stopped", 5);
  left.splice(0);
  const before = [
    text("metrics.jsonl"),
    text("run.json"),
    text("config.yaml"),
    readdirSync(at("checkpoints")),
  ];
  for (const name of readdirSync(at("checkpoints"))) {
    if (name.startsWith("step_")) writeFileSync(at("checkpoints", name, "state.json"), '{"format":9}');
  }
  await expect(RunFolder.resume(at(), options({ config: "seed: 4\n" }))).rejects.toThrow("another format");
  expect([
    text("metrics.jsonl"),
    text("run.json"),
    text("config.yaml"),
    readdirSync(at("checkpoints")),
  ]).toEqual(before);
  expect(locks()).toEqual([]);
});

test("rows and checkpoints that a damaged checkpoint costs are set aside", async () => {
  const run = await create();
  await train(run, 1, 4);
  await run.finish("stopped", 4);
  left.splice(0);
  const rows = text("metrics.jsonl");
  writeFileSync(at("checkpoints", "step_000004", "model.safetensors"), "short");
  const { folder, checkpoint: loaded } = await RunFolder.resume(at(), options());
  left.push(folder);
  expect(loaded?.step).toBe(2);
  expect(readFileSync(at("metrics.jsonl.set_aside"), "utf8")).toBe(rows);
  expect(existsSync(at("checkpoints", "set_aside", "step_000004", "model.safetensors"))).toBe(true);
});

test("checkpoints that are gone, or on a disk that is not there: the run is left as it is", async () => {
  const run = await create();
  await train(run, 1, 4);
  await run.rollouts(4, []);
  await run.finish("stopped", 4);
  left.splice(0);
  const before = [text("metrics.jsonl"), text("run.json"), readdirSync(at("rollouts"))];
  renameSync(at("checkpoints"), at("elsewhere"));
  const refused = /checkpoints are gone: got none, expected step_000004/;
  await expect(RunFolder.resume(at(), options())).rejects.toThrow(refused);
  symlinkSync("nowhere", at("checkpoints"));
  await expect(RunFolder.resume(at(), options())).rejects.toThrow(refused);
  expect([text("metrics.jsonl"), text("run.json"), readdirSync(at("rollouts"))]).toEqual(before);
  await rm(at("checkpoints"));
  renameSync(at("elsewhere"), at("checkpoints"));
  await rm(at("checkpoints", "step_000004"), { recursive: true });
  left.push((await RunFolder.resume(at(), options())).folder);
  expect(warnings.join()).toContain("got step_000002 as the newest, expected step_000004");
  expect(text("metrics.jsonl.set_aside")).toBe(before[0]);
  expect(readdirSync(at("rollouts"))).toContain("step_000004.jsonl.set_aside");
});

test("rows that are missing or doubled are told when a run goes on", async () => {
  const run = await create();
  await train(run, 1, 6);
  await run.finish("stopped", 6);
  left.splice(0);
  const rows = text("metrics.jsonl").split("\n");
  writeFileSync(
    at("metrics.jsonl"),
    [...rows.slice(0, 1), ...rows.slice(2, 5), rows[4], rows[5], ""].join("\n"),
  );
  left.push((await RunFolder.resume(at(), options())).folder);
  expect(warnings).toEqual([
    expect.stringMatching(
      /metrics\.jsonl\] rows are not those of the updates done: got none of updates 2 and several of updates 5, expected one for each of 6\./,
    ),
  ]);
});

test("a session that fails before it records anything leaves the run as it was", async () => {
  const run = await create();
  await train(run, 1, 2);
  await run.finish("finished", 2);
  left.splice(0);
  const before = [text("run.json"), text("config.yaml")];
  const { folder } = await RunFolder.resume(at(), options({ config: "seed: 3\nmore: 1\n" }));
  await folder.finish("failed", 2, "no such split");
  expect([text("run.json"), text("config.yaml")]).toEqual(before);
  expect(locks()).toEqual([]);
});

test("a name is free again when its run was killed before it began", async () => {
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  const lock = `run.lock.${encodeURIComponent(hostname())}.${pid}.0`;
  const left = ".config.yaml.0f8fad5b-d9cb-469f-a165-70867728950e.partial";
  for (const files of [
    [],
    [lock, left],
    [lock, "config.yaml", "config.input.yaml", "metrics.jsonl", "eval.jsonl", "run.log", "code.diff"],
  ]) {
    await rm(at(), { recursive: true, force: true });
    await mkdir(at(), { recursive: true });
    for (const file of files) writeFileSync(at(file), "");
    const run = await RunFolder.create(options());
    expect(run.path).toBe(at());
    expect(existsSync(at(left))).toBe(false);
    await run.finish("stopped", 0);
  }
  // somebody's own folder is never taken, not even with a name that runs use as well
  for (const own of ["thesis.txt", "config.yaml", "run.log", "draft.partial"]) {
    await rm(at(), { recursive: true });
    await mkdir(at());
    writeFileSync(at(own), "mine");
    await expect(RunFolder.create(options())).rejects.toThrow("there already");
    expect([readdirSync(at()), text(own)]).toEqual([[own], "mine"]);
  }
});

test("a run folder that is removed in mid-run is an error", async () => {
  const run = await RunFolder.create(options());
  await train(run, 1, 1);
  await rm(at(), { recursive: true });
  await expect(train(run, 2, 2)).rejects.toThrow("run folder is gone");
  await expect(run.finish("failed", 1)).rejects.toThrow("run folder is gone");
  expect(existsSync(at())).toBe(false);
});

test("a run killed before its first checkpoint starts again", async () => {
  const killed = await RunFolder.create(options());
  await train(killed, 1, 1);
  await killed.finish("failed", undefined, "out of memory");
  const { folder, checkpoint: loaded } = await RunFolder.resume(at(), options());
  expect(loaded).toBeUndefined();
  expect([text("metrics.jsonl"), text("eval.jsonl"), readdirSync(at("rollouts"))]).toEqual(["", "", []]);
  expect(folder.info.reason).toBeUndefined();
  await folder.finish("stopped", 0, "SIGTERM");
  expect(await readRunInfo(at())).toMatchObject({ status: "stopped", reason: "SIGTERM" });
});

test("the latest run is the one that was started or resumed last", async () => {
  expect(await findLatestRun(join(root, "runs"))).toBeUndefined();
  await (await RunFolder.create(options())).finish("stopped");
  await create({ name: "second" });
  writeFileSync(join(root, "runs", "notes.txt"), "");
  await mkdir(join(root, "runs", "no-run"));
  await mkdir(join(root, "runs", "bad"));
  writeFileSync(join(root, "runs", "bad", "run.json"), "{");
  expect(await findLatestRun(join(root, "runs"))).toBe(join(root, "runs", "second"));
  left.push((await RunFolder.resume(at(), options())).folder);
  expect(await findLatestRun(join(root, "runs"))).toBe(join(root, "runs", "first"));
});

test("a run is open once: others are refused, and change nothing", async () => {
  const folder = await create();
  await train(folder, 1, 3);
  const before = text("run.json");
  await expect(RunFolder.resume(at(), options({ config: "seed: 4\n" }))).rejects.toThrow(
    /first\] run folder is in use: got process \d+ on /,
  );
  expect([text("run.json"), text("config.yaml")]).toEqual([before, "seed: 3\n"]);
  expect((await readJsonLines(at("metrics.jsonl"))).length).toBe(3);
});

test("a run that cannot be resumed is not locked", async () => {
  await (await RunFolder.create(options())).finish("stopped");
  writeFileSync(at("metrics.jsonl"), "nonsense\n");
  await expect(RunFolder.resume(at(), options())).rejects.toThrow(/not JSON/);
  expect(locks()).toEqual([]);
});

test("a folder that is no run is named", async () => {
  await mkdir(at(), { recursive: true });
  await expect(RunFolder.resume(at(), options())).rejects.toThrow(/run\.json\] file cannot be read/);
  writeFileSync(at("run.json"), '{"recordVersion":3}');
  await expect(RunFolder.resume(at(), options())).rejects.toThrow(/malformed.*recordVersion/);
  const older = { name: "a", seed: 0, status: "stopped", started: "", updated: "", step: 1, sessions: [] };
  writeFileSync(at("run.json"), JSON.stringify({ ...older, recordVersion: 1 }));
  await expect(RunFolder.resume(at(), options())).rejects.toThrow(/got records of version 1, expected 2/);
  writeFileSync(at("run.json"), JSON.stringify({ ...older, recordVersion: 0 }));
  await expect(RunFolder.resume(at(), options())).rejects.toThrow(/malformed.*recordVersion/);
  expect(readdirSync(at())).toEqual(["run.json"]);
});

test("a broken line is named", async () => {
  writeFileSync(join(root, "rows"), '{"step":1}\nnonsense\n{"step":2}\n');
  await expect(readJsonLines(join(root, "rows"))).rejects.toThrow(/rows:2\] line is not JSON/);
});

test("the policy is exported as a model folder, again and again", async () => {
  const config = presetConfig("nano", 10);
  const tensors = parameterShapes(config).map(({ name, shape }) => ({
    name,
    shape,
    data: new Float32Array(elementCount(shape)).fill(0.5),
  }));
  const folder = await create();
  await folder.exportModel({ config, tensors });
  expect(await folder.exportModel({ config, tensors })).toBe(at("export"));
  expect((await readModelFolder(at("export"))).config.vocab_size).toBe(10);
});

test("git tells commit and changes, and nothing outside a checkout", async () => {
  expect(await readGitState(root, process.env)).toBeNull();
  expect(await readGitState(root, { PATH: "" })).toBeNull();
  const git = (...args: string[]) => execFileSync("git", args, { cwd: root, encoding: "utf8" });
  git("init", "-q");
  expect(await readGitState(root, process.env)).toBeNull();
  writeFileSync(join(root, "file"), "old\n");
  git("add", "file");
  git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "one");
  const commit = git("rev-parse", "HEAD").trim();
  expect(await readGitState(root, process.env)).toEqual({ commit, dirty: false, diff: "" });
  writeFileSync(join(root, "file"), "new\n");
  // programs that the checkout names are not run
  const program = `touch ${join(root, "was-run")}; cat`;
  for (const name of ["filter.own.clean", "filter.own.process", "core.fsmonitor", "diff.external"])
    git("config", name, program);
  writeFileSync(join(root, ".git", "info", "attributes"), "* filter=own\n");
  expect(await readGitState(root, process.env)).toMatchObject({
    commit,
    dirty: true,
    diff: expect.stringContaining("+new"),
  });
  expect(existsSync(join(root, "was-run"))).toBe(false);
});
