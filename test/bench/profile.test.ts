import { expect, test } from "vitest";
import { BETWEEN, profileParts } from "../../bench/profile.js";
import { profileRollout } from "../../bench/rollout.js";
import { profileTrainingStep } from "../../bench/training_step.js";
import { benchWorkloads } from "../../bench/workloads.js";
import type { KernelTime, LaunchedKernel } from "../../src/gpu/profiler.js";
import { Launcher } from "../../src/kernels/index.js";
import type { BenchRow, ProfilePart } from "../../src/report/bench_rows.js";
import { testRuntime } from "../support/runtime.js";

const launcher = new Launcher(await testRuntime());
const bench = { launcher, adapter: "A", precision: "f32", quick: true } as const;
const [tiny] = benchWorkloads(true, true);
const [nano] = benchWorkloads(false, true);

const sum = (parts: readonly ProfilePart[], of: (part: ProfilePart) => number) =>
  parts.reduce((total, part) => total + of(part), 0);
const flops = (parts: readonly ProfilePart[]) => sum(parts, ({ gflops = 0, ms }) => gflops * ms * 1e6);
const partsOf = ({ parts = [], error }: BenchRow) => {
  expect(error).toBeUndefined();
  return parts;
};

test("the parts of a training step add up to its wall clock, which on the CPU is that of its kernels", async () => {
  const row = await profileTrainingStep(bench, nano);
  const parts = partsOf(row);
  expect(row).toMatchObject({ op: "profile", direction: "step", shape: "nano B8 T128", dtype: "f32" });
  expect(sum(parts, ({ ms }) => ms)).toBeCloseTo(row.medianMs ?? 0, 6);
  expect(sum(parts, ({ share }) => share)).toBeCloseTo(1, 9);
  expect(sum(parts, ({ launches }) => launches)).toBe(row.dispatches);
  expect(new Set(parts.map(({ cause }) => cause))).toEqual(
    new Set([
      "products",
      "attention forward",
      "attention backward",
      "head and loss",
      "norms and layers",
      "optimiser",
      BETWEEN,
    ]),
  );
  const between = parts.find(({ cause }) => cause === BETWEEN);
  if (launcher.facts.isSoftware) {
    // dispatches run one after the other, and timestamps are those of the host: 2 to 6 % are between them
    expect(between?.share).toBeGreaterThan(0);
    expect(between?.share).toBeLessThan(0.4);
  }
  const { hidden_size: C, intermediate_size: F, num_hidden_layers: L, vocab_size: V } = nano.config;
  const N = nano.B * nano.T;
  // queries, keys and values; output; gate and up; down: forward, and both gradients
  const widths = C * 2 * C + C * C + C * 2 * F + F * C;
  expect(flops(parts.filter(({ cause }) => cause === "products"))).toBeCloseTo(3 * 2 * N * L * widths, -3);
  const head = parts.filter(({ cause, kernel }) => cause === "head and loss" && kernel.includes("matmul"));
  expect(flops(head)).toBeCloseTo(3 * 2 * N * C * V, -3);
  for (const [direction, perScore] of [
    ["forward", 2],
    ["backward", 7],
  ] as const) {
    const own = parts.filter(({ cause }) => cause === `attention ${direction}`);
    expect(own.filter(({ kernel }) => !kernel.startsWith(`attention.${direction}`))).toEqual([]);
    // of N by N scores a token has those of its own sequence
    expect(flops(own)).toBeCloseTo((perScore * N * N * C * L) / nano.B, -3);
  }
});

test("a decode step is profiled without its prompts", async () => {
  const row = await profileRollout({ ...bench, effort: { repeats: 1, sampleMs: 1, budgetMs: 1 } }, tiny, {
    batch: 3,
    prompt: 5,
    steps: 4,
  });
  const parts = partsOf(row);
  expect(row).toMatchObject({ op: "profile", direction: "decode", shape: "tiny B3 prompt5 new4", calls: 4 });
  expect(sum(parts, ({ ms }) => ms)).toBeCloseTo(row.medianMs ?? 0, 6);
  const launches = (name: string) =>
    sum(
      parts.filter(({ kernel }) => kernel.startsWith(name)),
      ({ launches: count }) => count,
    );
  const { num_hidden_layers: L } = tiny.config;
  // prompts go through another attention
  expect([launches("attention_decode"), launches("attention."), launches("sample")]).toEqual([L, 0, 1]);
  expect(sum(parts, (part) => part.launches)).toBeCloseTo(row.dispatches ?? 0, 9);
});

const product = (M: number): LaunchedKernel => ({
  op: "matmul",
  entry: "nn",
  sizes: { B: 1, M, N: 2, K: 3 },
  application: undefined,
});
const dispatch = (milliseconds: number, label: string, ...kernels: LaunchedKernel[]): KernelTime => ({
  label,
  kernels,
  bytes: 1e6,
  nanoseconds: 1e6 * milliseconds,
});

test("kernels are one part by name and size; what is repeated costs as often as it ran; merged products add up", () => {
  const application = { op: "rms_norm", direction: "forward", sizes: { N: 4, C: 8 } } as const;
  const norm: LaunchedKernel = {
    op: "rms_norm",
    entry: "forward",
    sizes: { N: 4, C: 8, eps: 1 },
    application,
  };
  const run = {
    wallMs: 20,
    dispatches: [
      dispatch(1, "rms_norm.forward", norm),
      dispatch(2, "matmul.nn", product(10)),
      dispatch(4, "matmul.nn + matmul.nn", product(10), product(20)),
      dispatch(1, "rms_norm.forward", norm),
      dispatch(6, "matmul.nn", product(10)),
    ],
  };
  const parts = profileParts(run, { calls: 2 });
  expect(parts.map(({ cause, kernel, sizes, launches, ms }) => [cause, kernel, sizes, launches, ms])).toEqual(
    [
      ["products", "matmul.nn", "10x2x3", 1, 4],
      ["products", "matmul.nn + matmul.nn", "10x2x3 + 20x2x3", 0.5, 2],
      ["norms and layers", "rms_norm.forward", "N4 C8", 1, 1],
      [BETWEEN, "", "", 0, 3],
    ],
  );
  expect(parts.map(({ share }) => share)).toEqual([0.4, 0.2, 0.1, 0.3]);
  const perMs = (count: number) => count / 1e6;
  expect(parts[0].gflops).toBeCloseTo(perMs(120 / 4), 12);
  expect(parts[1].gflops).toBeCloseTo(perMs((120 + 240) / 2 / 2), 12);
  // the op declares 4 N C, and bytes of its arrays; those of products are what is bound
  expect(parts[2].gflops).toBeCloseTo(perMs(4 * 4 * 8), 12);
  expect(parts[0].gbps).toBeCloseTo(perMs(1e6 / 4), 9);
  expect(parts[2].gbps).toBeCloseTo(perMs(4 * (2 * 4 * 8 + 4 + 8)), 9);
});
