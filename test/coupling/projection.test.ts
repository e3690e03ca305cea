/** Approximate Grams: against exact ones. */
import { describe, expect, test } from "vitest";
import { Tensor } from "../../src/autograd/tensor.js";
import { perSampleGram } from "../../src/coupling/gram.js";
import { relativeError, verifyGram } from "../../src/coupling/verify.js";
import { projectedIdsInto, projectionEntry, projectionInto } from "../../src/kernels/coupling/projection.js";
import { Launcher } from "../../src/kernels/index.js";
import { couplingPolicy, drawSamples, drawWide, V } from "../support/coupling_policy.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);
const samples = drawSamples(9);
const S = samples.length;
const policies = {
  tied: couplingPolicy(launcher),
  untied: couplingPolicy(launcher, { tie_word_embeddings: false }),
};

/** Root mean square of the difference as a share of that of the expected entries. */
function spreadOf(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [difference, size] = [0, 0];
  for (let at = 0; at < expected.length; at++) {
    difference += (actual[at] - expected[at]) ** 2;
    size += expected[at] ** 2;
  }
  return Math.sqrt(difference / size);
}

describe.each(["tied", "untied"] as const)("%s", (kind) => {
  const policy = policies[kind];

  test("exact where no side is wider than the rank, cross terms of head and lookup included", async () => {
    const exact = await perSampleGram(policy, samples);
    const { gram, layers } = await perSampleGram(policy, samples, { projection: { rank: V } });
    expect([...layers.keys()]).toEqual([...exact.layers.keys()]);
    for (const [name, values] of layers)
      expect(relativeError(values, exact.layers.get(name) as Float64Array), name).toBeLessThan(1e-5);
    expect(relativeError(gram, exact.gram)).toBeLessThan(1e-5);
  });

  test("the error falls with the rank", async () => {
    const exact = await perSampleGram(policy, samples);
    const errors: number[] = [];
    for (const rank of [2, 8, 24]) {
      const spreads: number[] = [];
      for (const seed of [1, 2, 3, 4])
        spreads.push(
          spreadOf((await perSampleGram(policy, samples, { projection: { rank, seed } })).gram, exact.gram),
        );
      errors.push(spreads.reduce((sum, one) => sum + one, 0) / 4);
    }
    expect(errors[0]).toBeGreaterThan(1.5 * errors[1]);
    expect(errors[1]).toBeGreaterThan(1.3 * errors[2]);
    expect(errors[2]).toBeLessThan(0.3);
  });

  test("unbiased: the mean over seeds is the exact Gram, of every parameter, within what the spread allows", async () => {
    const exact = await perSampleGram(policy, samples);
    const seeds = 64;
    const sums = new Map([...exact.layers.keys()].map((name) => [name, new Float64Array(S * S)]));
    const squares = new Map([...exact.layers.keys()].map((name) => [name, new Float64Array(S * S)]));
    for (let seed = 0; seed < seeds; seed++) {
      const { layers } = await perSampleGram(policy, samples, { projection: { rank: 4, seed } });
      for (const [name, values] of layers) {
        values.forEach((value, at) => {
          (sums.get(name) as Float64Array)[at] += value / seeds;
          (squares.get(name) as Float64Array)[at] += value ** 2 / seeds;
        });
      }
    }
    for (const [name, means] of sums) {
      const truth = exact.layers.get(name) as Float64Array;
      const scores = Array.from(means, (mean, at) => {
        const variance = Math.max(0, (squares.get(name) as Float64Array)[at] - mean ** 2);
        const error = Math.sqrt(variance / (seeds - 1)) + 1e-5 * Math.abs(truth[0]);
        return (mean - truth[at]) / error;
      });
      // of each parameter 45 different entries
      const rootMeanSquare = Math.sqrt(scores.reduce((sum, score) => sum + score ** 2, 0) / scores.length);
      expect.soft(rootMeanSquare, name).toBeLessThan(2.5);
    }
  });
});

test.each([true, false])("a head in tiles, tied: %s", async (tie_word_embeddings) => {
  const { change, samples: wide } = drawWide();
  const policy = couplingPolicy(launcher, { ...change, tie_word_embeddings });
  const exact = await perSampleGram(policy, wide);
  const { layers } = await perSampleGram(policy, wide, { projection: { rank: 512 } });
  const name = tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  const truth = exact.layers.get(name) as Float64Array;
  expect(spreadOf(layers.get(name) as Float64Array, truth)).toBeLessThan(0.2);
  // an approximation without the second tile would lose the gradients of the tokens in it
  wide.forEach((_, s) => {
    expect((layers.get(name) as Float64Array)[s * 9] / truth[s * 9]).toBeCloseTo(1, 0);
  });
  policy.parameters.release();
});

test("pairs of blocks, and the same again: one projection for all", async () => {
  const projection = { rank: 4, seed: 5 };
  const whole = await perSampleGram(policies.tied, samples, { projection });
  expect(await perSampleGram(policies.tied, samples, { projection })).toEqual(whole);
  const other = await perSampleGram(policies.tied, samples, { projection: { rank: 4, seed: 6 } });
  expect(relativeError(other.gram, whole.gram)).toBeGreaterThan(1e-3);
  const long = drawSamples(12, 50);
  const pieceBytes = 2 ** 16;
  const together = await perSampleGram(policies.tied, long, { projection, pieceBytes });
  const budgetBytes = Math.floor(0.8 * together.forecast.bytes);
  const blocks = await perSampleGram(policies.tied, long, { projection, pieceBytes, budgetBytes });
  expect(blocks.forecast.passes.length).toBeGreaterThan(1);
  expect(relativeError(blocks.gram, together.gram)).toBeLessThan(1e-5);
});

test("the forecast of memory is kept, and verification tells the error", async () => {
  const before = runtime.buffers.liveBytes;
  runtime.buffers.resetPeak();
  const gram = await perSampleGram(policies.untied, samples, { projection: { rank: 8 } });
  expect(runtime.buffers.peakBytes - before).toBeLessThan(gram.forecast.bytes);
  expect(runtime.buffers.liveBytes).toBe(before);
  const differences = await verifyGram(policies.untied, samples, gram, [0, 1, 2]);
  const errorOf = (wanted: string) => differences.find(({ name }) => name === wanted)?.error as number;
  expect(errorOf("model.norm.weight")).toBeLessThan(1e-5);
  expect(errorOf("model.layers.0.mlp.down_proj.weight")).toBeGreaterThan(1e-3);
  expect(errorOf("total")).toBeLessThan(1);
});

test("what does not go together is refused", async () => {
  const { tied } = policies;
  await expect(perSampleGram(tied, samples, { projection: { rank: 0 } })).rejects.toThrow(
    "rank of the projection is out of range: got 0",
  );
  const coefficients = samples.map(() => 1);
  await expect(perSampleGram(tied, samples, { projection: { rank: 4 }, coefficients })).rejects.toThrow(
    "got coefficients",
  );
  await expect(perSampleGram(tied, samples, { projection: { rank: 4 }, path: "token" })).rejects.toThrow(
    "got path token",
  );
});

test("entries: as the reference has them, of either sign alike, rows nearly orthogonal", async () => {
  const projection = { R: 5, columns: 400, key: 77 };
  const y = Tensor.zeros(runtime, [5, 300], "y");
  projectionInto(launcher, projection, { first: 40, C: 250, start: 30, y });
  const values = (await y.read()) as Float32Array;
  for (let r = 0; r < 5; r++)
    for (let c = 0; c < 300; c++)
      expect(values[r * 300 + c]).toBe(
        c < 30 || c >= 280 ? 0 : Math.fround(projectionEntry(projection, r, c + 10)),
      );
  const token = Tensor.from(runtime, Uint32Array.from([7, 399, 0]));
  const looked = Tensor.zeros(runtime, [3, 5], "looked");
  projectedIdsInto(launcher, projection, token, looked);
  const expected = [7, 399, 0].flatMap((id) =>
    [0, 1, 2, 3, 4].map((r) => Math.fround(projectionEntry(projection, r, id))),
  );
  expect(Array.from((await looked.read()) as Float32Array)).toEqual(expected);
  const columns = 4096;
  const rows = [0, 1, 2, 3].map((r) =>
    Array.from({ length: columns }, (_, c) => 2 * projectionEntry({ R: 4, columns, key: 3 }, r, c)),
  );
  rows.forEach((row, r) => {
    expect(Math.abs(row.reduce((sum, x) => sum + x, 0))).toBeLessThan(4 * Math.sqrt(columns));
    for (const other of rows.slice(0, r))
      expect(Math.abs(row.reduce((sum, x, c) => sum + x * other[c], 0))).toBeLessThan(4 * Math.sqrt(columns));
  });
});
