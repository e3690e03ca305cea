/** The autotuner's runs: which variant it takes, what it leaves out, and its own way of measuring. */
import { expect, test, vi } from "vitest";
import { DeviceError } from "../../src/core/errors.js";
import type { KernelFacts } from "../../src/gpu/runtime.js";
import { type Measure, type TunerOptions, tuneKernels } from "../../src/host/tuning/tuner.js";
import type { MatmulShape } from "../../src/kernels/matmul/matmul_shape.js";
import { tuningOf } from "../../src/kernels/tuning/tuning_search.js";
import { gpuFamilyRuntime, testRuntime } from "../support/runtime.js";

const small: MatmulShape = { M: 96, N: 72, K: 40, batch: 1, transposeA: false, transposeB: true };

/** Times from a table; what is not in it takes 1 ms. */
const tableMeasure =
  (times: Record<string, number>): Measure =>
  async (contestants) =>
    contestants.map(({ variant }) => times[variant] ?? 1);

async function tune(facts: Partial<KernelFacts>, options: Partial<TunerOptions>) {
  const runtime = await testRuntime(facts);
  const warnings: string[] = [];
  const results = await tuneKernels(runtime, {
    now: () => 0,
    budgetMs: 1,
    work: [{ product: small }],
    warn: (message) => warnings.push(message),
    ...options,
  });
  const live = runtime.buffers.liveBytes;
  await runtime.dispose();
  return { results, warnings, live };
}

// tiles for adapters of unknown subgroup size compile everywhere, and quickly
const plain = { isSoftware: true, subgroupMinSize: 0, subgroupMaxSize: 0 };

test("a slow shipped tile is replaced by the fastest, once it has won twice", async () => {
  const measure = vi.fn(tableMeasure({ "8x64": 0.5, "4x32": 0.7 }));
  const { results, warnings, live } = await tune(plain, { measure });
  expect(warnings).toEqual([]);
  expect(live).toBe(0);
  expect(results[0]).toMatchObject({
    choice: "tile nt small",
    shape: "96x72x40",
    shipped: "4x64",
    shippedMs: 1,
    chosen: "8x64",
    chosenMs: 0.5,
  });
  expect(tuningOf(results)).toEqual({ "tile nt small": "8x64" });
  expect(measure.mock.calls.map(([contestants]) => contestants.length)).toEqual([4, 2]);
});

test("a small gain and a lucky one change nothing", async () => {
  const slight = await tune(plain, { measure: tableMeasure({ "8x64": 0.97 }) });
  expect(tuningOf(slight.results)).toEqual({});
  let round = 0;
  const lucky: Measure = async (contestants) =>
    round++ === 0 ? contestants.map((_, i) => 1 - 0.2 * i) : contestants.map(() => 1);
  const { results } = await tune(plain, { measure: lucky });
  expect(results[0]).toMatchObject({ chosen: results[0].shipped, chosenMs: 1 });
});

test("no time left means that the shipped choice stays, and it is said", async () => {
  let time = 0;
  const { results, warnings } = await tune(plain, { now: () => time++, measure: tableMeasure({}) });
  expect(results).toEqual([]);
  expect(warnings).toEqual([expect.stringContaining("lack of time, and left as shipped: tile nt small")]);
});

test("variants that do not compile or compute something else are dropped and named", async () => {
  const runtime = await testRuntime(plain);
  const get = runtime.pipelines.get.bind(runtime.pipelines);
  vi.spyOn(runtime.pipelines, "get").mockImplementation((label, code, accesses) => {
    const is = (rows: number, columns: number) =>
      code.includes(`+ ${rows - 1}u) / ${rows}u;`) && code.includes(`+ ${columns - 1}u) / ${columns}u)`);
    if (is(8, 32)) return get(label, `${code}\nthis is no WGSL`, accesses);
    return get(label, is(8, 64) ? code.replace("k += 4u", "k += 8u") : code, accesses);
  });
  const warnings: string[] = [];
  const measure = tableMeasure({ "8x32": 0.1, "8x64": 0.1, "4x32": 0.6 });
  const [result] = await tuneKernels(runtime, {
    now: () => 0,
    budgetMs: 1,
    work: [{ product: small }],
    measure,
    warn: (message) => warnings.push(message),
  });
  expect(result.chosen).toBe("4x32");
  expect(result.dropped).toEqual({
    "8x32": expect.stringContaining("did not compile"),
    "8x64": expect.stringMatching(/^got .* at \d+, expected /),
  });
  expect(warnings).toHaveLength(2);
});

test("a device that fails is no verdict", async () => {
  const runtime = await testRuntime(plain);
  vi.spyOn(runtime.pipelines, "get").mockImplementation(() => {
    throw new DeviceError("[device] gone");
  });
  const options = { now: () => 0, budgetMs: 1, work: [{ product: small }], warn: () => {} };
  await expect(tuneKernels(runtime, options)).rejects.toThrow("gone");
});

test("the adapter's own variants are measured by the clock", async () => {
  const { results, warnings } = await tune({}, { now: () => performance.now(), budgetMs: 60_000 });
  expect(warnings).toEqual([]);
  expect(results.length).toBeGreaterThan(0);
  for (const { shippedMs, chosenMs, dropped } of results) {
    expect(shippedMs).toBeGreaterThan(0);
    expect(chosenMs).toBeGreaterThan(0);
    expect(dropped).toEqual({});
  }
});

test("attention is measured in both directions, on a GPU's kernels", async () => {
  const runtime = await gpuFamilyRuntime({ maxWorkgroupBytes: 16_384 });
  const heads = { heads: 2, kvHeads: 1, headDim: 8, sequences: 2, length: 40 };
  const warnings: string[] = [];
  const results = await tuneKernels(runtime, {
    now: () => 0,
    budgetMs: 1,
    work: [
      { attention: { ...heads, direction: "forward" } },
      { attention: { ...heads, direction: "backward" } },
    ],
    measure: tableMeasure({ "32x32 2": 0.5 }),
    warn: (message) => warnings.push(message),
  });
  expect(warnings).toEqual([]);
  expect(tuningOf(results)).toEqual({
    "attention forward 32": "32x32 2",
    "attention backward 32": "32x32 2",
  });
  expect(results[0]).toMatchObject({ shape: "2x40, 2/1 heads of 8", shipped: "64x32 2", dropped: {} });
  expect(runtime.buffers.liveBytes).toBe(0);
});
