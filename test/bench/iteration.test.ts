import { afterAll, expect, test } from "vitest";
import { IterationWork, iterationCases, iterationLabel } from "../../bench/iteration.js";
import { IterationClock, type IterationPart } from "../../bench/iteration_clock.js";
import { iterationMismatch, iterationProblem } from "../../bench/iteration_peers.js";
import { iterationParts, profileIteration } from "../../bench/iteration_rows.js";
import { BETWEEN } from "../../bench/profile.js";
import type { KernelTime } from "../../src/gpu/profiler.js";
import { Launcher } from "../../src/kernels/index.js";
import type { ProfilePart } from "../../src/report/bench_rows.js";
import { testRuntime } from "../support/runtime.js";

const launcher = new Launcher(await testRuntime());
const [small] = iterationCases(true);
const work = await IterationWork.open(launcher, small, "f32");
afterAll(() => work.release());

const total = (parts: readonly ProfilePart[], of: (part: ProfilePart) => number) =>
  parts.reduce((sum, part) => sum + of(part), 0);

test("each moment counts for the innermost part at work, and dispatches for all that are", async () => {
  let time = 100;
  let dispatches = 7;
  const clock = new IterationClock(
    () => time,
    () => dispatches,
  );
  clock.start();
  time += 1;
  const text = clock.span("prompt building", () => {
    time += 2;
    const inner = clock.span("tokenising", () => {
      time += 4;
      return "tokens";
    });
    time += 8;
    return inner;
  });
  expect(text).toBe("tokens");
  await clock.span("prefill", async () => {
    time += 16;
    dispatches += 3;
    await Promise.resolve();
    clock.turn("decode");
    time += 32;
    dispatches += 5;
  });
  time += 64;
  await expect(clock.span("update", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(() =>
    clock.span("world", () => {
      time += 128;
      throw new Error("broken");
    }),
  ).toThrow("broken");
  time += 256;
  clock.span("world", () => {});
  expect(Object.fromEntries(clock.times)).toEqual({
    "prompt building": 10,
    tokenising: 4,
    prefill: 16,
    decode: 32,
    update: 0,
    world: 128,
  });
  expect(clock.stretches.filter(({ first, end }) => end > first)).toEqual([
    { part: "prefill", first: 7, end: 10 },
    { part: "decode", first: 10, end: 15 },
  ]);
  clock.start();
  expect(clock.times.size).toBe(0);
});

test("parts of an iteration add up to its wall clock, with what is not explained", () => {
  const kernel = (op: string, milliseconds: number): KernelTime => ({
    label: op,
    kernels: [{ op, entry: "nn", sizes: { B: 1, M: 1, N: 1, K: 1 } }],
    bytes: 4,
    nanoseconds: 1e6 * milliseconds,
  });
  const times = new Map<IterationPart, number>([
    ["world", 5],
    ["decode", 20],
    ["update", 40],
  ]);
  const decode = [kernel("matmul", 6), kernel("sample", 3), kernel("matmul", 5)];
  const parts = iterationParts({
    wallMs: 100,
    rolloutMs: 30,
    updateMs: 60,
    times,
    dispatches: decode,
    kernels: (part) => (part === "decode" ? decode : []),
  });
  expect(parts.map(({ cause, kernel: name, launches, ms }) => [cause, name, launches, ms])).toEqual([
    ["world", "", 0, 5],
    ["decode", "products", 2, 11],
    ["decode", "sampling", 1, 3],
    ["decode", BETWEEN, 0, 6],
    ["rest of play", "", 0, 5],
    ["update", "", 0, 40],
    ["rest of the update", "", 0, 20],
    ["not explained", "", 0, 10],
  ]);
  expect(total(parts, ({ share }) => share)).toBeCloseTo(1, 12);
});

test("an iteration plays the same episodes each time, on rows that have a gradient", async () => {
  await work.iterate();
  const first = work.record.batches;
  const gradNorm = work.record.gradNorm;
  const metrics = await work.iterate();
  expect(work.record.batches).toEqual(first);
  expect(first[0].prompts).toHaveLength(small.tasks * small.generations);
  expect(work.record.gradNorm).toBe(gradNorm);
  expect(gradNorm).toBeGreaterThan(0);
  expect(metrics["rows/computed"]).toBe(work.record.updates[0].rows.length);
  expect(metrics["sampling/logp_diff_max"]).toBeLessThan(1e-3);
  expect(work.phases.play).toBeGreaterThan(0);
});

test("a peer gets prompts, answers and rows, and is held to their log-probabilities and the gradient", async () => {
  await work.iterate();
  const problem = await iterationProblem(work);
  const { V } = problem.config;
  expect(problem.weights[0]).toMatchObject({ name: "model.embed_tokens.weight", shape: [V, 64] });
  expect(problem.weights[0].data).toHaveLength(64 * V);
  expect(problem.batches.map(({ prompts }) => prompts.length)).toEqual(
    work.record.batches.map(({ answers }) => answers.length),
  );
  const rows = problem.microBatches.flat();
  expect(rows.map(({ prompt, answer }) => ({ prompt, answer }))).toEqual(
    work.record.updates[0].rows.map(({ prompt, answer }) => ({ prompt, answer })),
  );
  for (const { answer, advantages, weights } of rows)
    expect([advantages.length, weights.length]).toEqual([answer.length, answer.length]);
  const { logProbs, gradNorm } = problem;
  expect(logProbs).toHaveLength(problem.sampledTokens);
  expect(iterationMismatch({ logProbs, gradNorm }, problem)).toBeUndefined();
  expect(iterationMismatch({ logProbs: logProbs.slice(1), gradNorm }, problem)).toMatch(
    `got ${logProbs.length - 1}, expected ${logProbs.length}`,
  );
  const other = [...logProbs.slice(0, -1), logProbs[logProbs.length - 1] - 0.01];
  expect(iterationMismatch({ logProbs: other, gradNorm }, problem)).toMatch(
    `another log-probability of token ${logProbs.length - 1}`,
  );
  expect(iterationMismatch({ logProbs, gradNorm: 1.02 * gradNorm }, problem)).toMatch("another gradient");
  expect(iterationMismatch({ logProbs, gradNorm: Number.NaN }, problem)).toMatch("another gradient");
});

test("a profile has the iteration by its parts and the update by its kernels", async () => {
  const rows = await profileIteration({ launcher, adapter: "A", precision: "f32" }, small, 1);
  expect(rows.map(({ op, shape, error }) => [op, shape, error])).toEqual([
    ["profile", iterationLabel(small), undefined],
    ["profile", `${iterationLabel(small)} update`, undefined],
  ]);
  const [iteration, update] = rows.map(({ parts = [] }) => parts);
  for (const { medianMs, parts = [] } of rows)
    expect(total(parts, ({ ms }) => ms)).toBeCloseTo(medianMs ?? 0, 6);
  const causes = new Set(iteration.map(({ cause }) => cause));
  for (const cause of [
    "world",
    "prompt building",
    "tokenising",
    "prefill",
    "decode",
    "update",
    "not explained",
  ])
    expect(causes).toContain(cause);
  // `scoring` is for several updates on one rollout
  expect(causes).not.toContain("scoring");
  const [all, own] = ["", "update"].map((name) =>
    total(
      iteration.filter(({ cause }) => cause.startsWith(name)),
      ({ launches }) => launches,
    ),
  );
  expect([all, own]).toEqual(rows.map(({ dispatches }) => dispatches));
  if (launcher.facts.isSoftware)
    for (const { ms, cause, kernel } of iteration) expect(ms, `${cause} ${kernel}`).toBeGreaterThan(-1);
  const { hidden_size: C, num_hidden_layers: L } = work.model.config;
  const scores = work.record.updates[0].rows.reduce(
    (sum, { prompt, answer }) => sum + (prompt.length + answer.length - 1) ** 2,
    0,
  );
  const forward = update.filter(({ cause }) => cause === "attention forward");
  const flops = total(forward, ({ gflops = 0, ms }) => gflops * ms * 1e6);
  expect(flops / (2 * scores * C * L)).toBeCloseTo(1, 6);
});
