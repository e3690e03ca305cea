/** A model folder at work: every row has a time, the memory that was planned, and log-probabilities of the float64 reference. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { benchSize, SIZE_WORKS, type SizeOptions, type SizeRow } from "../../bench/size.js";
import { runCli } from "../../src/cli/program.js";
import { readModelFolder } from "../../src/host/model/model_folder.js";
import { Launcher } from "../../src/kernels/index.js";
import { writeFloat64Model } from "../support/float64_model.js";
import { temporaryFolder } from "../support/folders.js";
import { testRuntime } from "../support/runtime.js";
import { TextStream } from "../support/streams.js";

const launcher = new Launcher(await testRuntime());
const path = join(temporaryFolder(), "model");
await writeFloat64Model(path, true);
const folder = await readModelFolder(path);
const subject = { name: "tiny", config: folder.config, folder };
const options: SizeOptions = {
  works: SIZE_WORKS,
  storage: "bf16",
  B: 2,
  T: 6,
  newTokens: 3,
  rank: 4,
  moments: "f32",
  recompute: true,
  repeats: 1,
  checked: 5,
};

test("loading, a pass, answers and steps have times, and are in memory what was planned", async () => {
  const before = launcher.runtime.buffers.liveBytes;
  const told: SizeRow[] = [];
  const rows = await benchSize(launcher, subject, options, (row) => told.push(row));
  expect(told).toEqual(rows);
  expect(rows.map(({ work }) => work)).toEqual([
    "load as bf16",
    "pass, B 2, T 6",
    "prompts, B 2, T 6, and first tokens",
    "one of 3 tokens, B 2",
    "adapter step, B 2, T 6",
    "load as f32",
    "AdamW step, B 2, T 6",
  ]);
  for (const { work, ms, firstMs, peakBytes, plannedBytes } of rows) {
    expect(firstMs, work).toBeGreaterThanOrEqual(ms);
    expect((peakBytes - before) / plannedBytes, work).toBeCloseTo(1, 1);
  }
  // the weights are values of bf16
  expect(rows[1].error).toBeLessThan(2e-5);
  expect(rows[1].error).toBeGreaterThan(0);
  expect(launcher.runtime.buffers.liveBytes).toBe(before);
});

test("the command prints a table with the peaks of its run, or one JSON object", async () => {
  const run = async (...args: string[]) => {
    const [stdout, stderr] = [new TextStream(), new TextStream()];
    const env = { UNCOUPLE_ADAPTER: process.env.UNCOUPLE_ADAPTER };
    const sizes = ["--sequences", "2", "--tokens", "6", "--repeats", "0", "--no-tune", "-q"];
    const code = await runCli(["bench", "size", "--model", path, ...sizes, ...args], { stdout, stderr, env });
    return { code, stdout: stdout.text, stderr: stderr.text };
  };
  const { code, stdout, stderr } = await run("--work", "forward", "--small", "--check", "2", "--json");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const { peaks, rows } = JSON.parse(stdout);
  expect(peaks.gflops).toBeGreaterThan(0.1);
  expect(peaks.gbps).toBeGreaterThan(0.01);
  expect(rows.map(({ model }: SizeRow) => model)).toEqual(["small", "small", path, path]);
  for (const { error } of [rows[1], rows[3]]) expect(error).toBeLessThan(1e-4);
  expect((await run("--work", "walk")).stderr).toContain(
    "Allowed choices are forward, generate, adapter, train",
  );
});
