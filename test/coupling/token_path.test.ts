/** The Gram from products of tokens: against gradients one by one, and where it is chosen. */
import { describe, expect, test } from "vitest";
import { Tensor } from "../../src/autograd/tensor.js";
import { Random } from "../../src/core/random.js";
import { type GramOptions, perSampleGram } from "../../src/coupling/gram.js";
import { cheaperPath, planPaths, tokenBlocks } from "../../src/coupling/paths.js";
import type { CouplingSample } from "../../src/coupling/samples.js";
import { addBatchGradient } from "../../src/coupling/separate.js";
import { relativeError, verifyGram } from "../../src/coupling/verify.js";
import { Workspace } from "../../src/coupling/workspace.js";
import { loadPolicy } from "../../src/host/model/policy_folder.js";
import {
  type TokenPairs,
  tokenPairsInto,
  tokenPairsReference,
} from "../../src/kernels/coupling/token_pairs.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { parameterShapes } from "../../src/model/parameters.js";
import type { Qwen2Model } from "../../src/model/qwen2.js";
import { couplingPolicy, drawSamples, drawWide } from "../support/coupling_policy.js";
import { GOLDEN_MODELS, readGolden } from "../support/golden.js";
import { gpuFamilyRuntime, testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);
const gpuFamily = new Launcher(await gpuFamilyRuntime());
const untied = { tie_word_embeddings: false };

async function worstLayer(model: Qwen2Model, samples: readonly CouplingSample[], options: GramOptions = {}) {
  const gram = await perSampleGram(model, samples, { path: "token", ...options });
  expect(new Set(gram.forecast.paths.values())).toEqual(new Set(["token"]));
  const differences = await verifyGram(model, samples, gram, [...samples.keys()]);
  expect(differences).toHaveLength(parameterShapes(model.config).length + 1);
  return Math.max(...differences.map(({ error }) => error));
}

test.each(GOLDEN_MODELS)("Gram of %s, in total and of every parameter", async (name) => {
  const { folder, samples, gram, layers } = readGolden(name);
  const { model } = await loadPolicy(launcher, folder, { requiresGrad: true });
  const result = await perSampleGram(model, samples, { path: "token" });
  for (const [parameter, expected] of Object.entries(layers)) {
    const actual = result.layers.get(parameter) as Float64Array;
    expect.soft(relativeError(actual, expected.flat()), parameter).toBeLessThan(1e-5);
  }
  expect(relativeError(result.gram, gram.flat())).toBeLessThan(1e-5);
});

describe("against one backward pass for each sample", () => {
  test.each([1, 2, 33])("%i samples, tied", async (count) => {
    expect(await worstLayer(couplingPolicy(launcher), drawSamples(count))).toBeLessThan(1e-5);
  });

  test.each([1, 2, 33])("%i samples, untied", async (count) => {
    expect(await worstLayer(couplingPolicy(launcher, untied), drawSamples(count))).toBeLessThan(1e-5);
  });

  test("blocks of single samples", async () => {
    const few = { pieceBytes: 4096 };
    expect(await worstLayer(couplingPolicy(launcher), drawSamples(5, 9), few)).toBeLessThan(1e-5);
    expect(await worstLayer(couplingPolicy(launcher, untied), drawSamples(5, 9), few)).toBeLessThan(1e-5);
  });

  test("widths that are no multiple of four", async () => {
    const odd = { hidden_size: 30, num_attention_heads: 3, num_key_value_heads: 1, intermediate_size: 37 };
    expect(await worstLayer(couplingPolicy(launcher, odd), drawSamples(6))).toBeLessThan(1e-5);
  });

  test.each([true, false])("a head in tiles, tied: %s", async (tie_word_embeddings) => {
    const { change, samples } = drawWide();
    const model = couplingPolicy(launcher, { ...change, tie_word_embeddings });
    const gram = await perSampleGram(model, samples, { path: "token" });
    for (const { name, error } of await verifyGram(model, samples, gram, [0, 5]))
      expect(error, name).toBeLessThan(1e-4);
    model.parameters.release();
  });

  test("kernels for GPUs", async () => {
    expect(await worstLayer(couplingPolicy(gpuFamily), drawSamples(6))).toBeLessThan(1e-5);
  });

  test.runIf(runtime.facts.features.has("shader-f16"))("mixed precision", async () => {
    expect(await worstLayer(couplingPolicy(launcher, {}, true), drawSamples(6))).toBeLessThan(1e-2);
  });
});

test("the gradient of the batch comes with it, with any coefficients", async () => {
  const model = couplingPolicy(launcher);
  const samples = drawSamples(5);
  const { parameters } = model;
  const coefficients = [1, -2, 0.5, 0, 3];
  const names = [...parameters.slots.keys()];
  parameters.clearGradients();
  addBatchGradient(
    model,
    samples.map((sample, s) => {
      const weights = sample.weights ?? sample.tokens.slice(sample.responseStart).map(() => 1);
      return { ...sample, weights: weights.map((weight) => weight * coefficients[s]) };
    }),
  );
  const expected = await Promise.all(names.map((name) => parameters.readGradient(name)));
  parameters.clearGradients();
  await perSampleGram(model, samples, { coefficients, path: "token" });
  for (const [at, name] of names.entries())
    expect(relativeError(await parameters.readGradient(name), expected[at]), name).toBeLessThan(1e-5);
});

test("the memory that is forecast is kept, and blocks of passes give the same Gram", async () => {
  const model = couplingPolicy(launcher);
  const samples = drawSamples(12, 50);
  await perSampleGram(model, samples);
  const before = runtime.buffers.liveBytes;
  runtime.buffers.resetPeak();
  const whole = await perSampleGram(model, samples, { path: "token", pieceBytes: 2 ** 16 });
  expect(runtime.buffers.peakBytes - before).toBeLessThan(whole.forecast.bytes);
  expect(runtime.buffers.liveBytes).toBe(before);
  const budgetBytes = Math.floor(0.8 * whole.forecast.bytes);
  const parts = await perSampleGram(model, samples, { path: "token", budgetBytes });
  expect(parts.forecast.passes.length).toBeGreaterThan(1);
  expect(relativeError(parts.gram, whole.gram)).toBeLessThan(1e-5);
});

test("frozen weights beside trained biases, and the other way round", async () => {
  const whole = await perSampleGram(couplingPolicy(launcher), drawSamples(5), { path: "token" });
  for (const trains of [/bias/, /qkv_proj.weight|down/]) {
    const model = couplingPolicy(launcher, {}, false, (name) => trains.test(name));
    const { layers } = await perSampleGram(model, drawSamples(5), { path: "token" });
    expect(layers.size).toBeGreaterThan(3);
    for (const [name, gram] of layers)
      expect(relativeError(gram, whole.layers.get(name) as Float64Array), name).toBeLessThan(1e-5);
  }
});

/** Random factors of samples of these lengths, the same for a sample whatever is before it. */
function drawFactors(lengths: readonly number[], seeds: readonly number[], width: number): Float32Array {
  return Float32Array.from(
    lengths.flatMap((length, s) => {
      const random = new Random(100 * width + seeds[s]);
      return Array.from({ length: length * width }, () => random.normal());
    }),
  );
}

async function pairsOf(
  lengths: readonly number[],
  seeds: readonly number[],
  I: number,
  O: number,
  most = 64,
) {
  const [input, gradient] = [drawFactors(lengths, seeds, I), drawFactors(lengths, seeds, O)];
  const offsets = [0];
  for (const length of lengths) offsets.push(offsets[offsets.length - 1] + length);
  const S = lengths.length;
  const N = offsets[S];
  const workspace = new Workspace(launcher);
  const gram = Tensor.zeros(runtime, [1, S, S], "gram");
  const pairs: TokenPairs = {
    input: Tensor.from(runtime, input, [N, I]),
    gradient: Tensor.from(runtime, gradient, [N, O]),
    inputOffset: workspace.table([0, I]),
    partOffset: workspace.table([0, O]),
    isAligned: I % 4 === 0 && O % 4 === 0,
    offsets: workspace.table(offsets),
    gram,
    places: [0],
  };
  const blocks = tokenBlocks(offsets, most);
  for (const [at, a] of blocks.entries())
    for (const b of blocks.slice(at)) tokenPairsInto(workspace, pairs, a, b);
  const values = Array.from((await gram.read()) as Float32Array);
  workspace.release();
  return { values, expected: tokenPairsReference(input, gradient, offsets) };
}

test.each([
  [32, 20],
  [7, 1],
])("a pair's entry has the same bits whatever is beside it, a of width %i and d of %i", async (I, O) => {
  const [lengths, seeds] = [
    [5, 17, 1, 33, 8, 2, 40],
    [0, 1, 2, 3, 4, 5, 6],
  ];
  const S = lengths.length;
  const { values, expected } = await pairsOf(lengths, seeds, I, O);
  expect(relativeError(values, expected)).toBeLessThan(1e-5);
  expect((await pairsOf(lengths, seeds, I, O, 1)).values).toEqual(values);
  for (const [i, j] of [
    [0, 1],
    [2, 6],
    [3, 3],
    [1, 5],
  ]) {
    const few = await pairsOf([lengths[i], lengths[j]], [seeds[i], seeds[j]], I, O);
    expect(few.values[1], `${i} ${j}`).toBe(values[i * S + j]);
    expect(few.values[0]).toBe(values[i * S + i]);
    expect(few.values[2]).toBe(few.values[1]);
  }
});

describe("which path is chosen", () => {
  const choose = (T: number, O: number, I: number, hasGradient = true, S = 32) =>
    cheaperPath({ S, N: S * T, O, I, hasGradient });

  test("by the length of samples beside the widths: T^2 below 2 O I / (O + I), about", () => {
    expect([4, 16, 22, 23, 128].map((T) => choose(T, 512, 512))).toEqual([
      "token",
      "token",
      "token",
      "product",
      "product",
    ]);
    expect([11, 12].map((T) => choose(T, 128, 128))).toEqual(["token", "product"]);
    // of many samples little more than half of the pairs of gradients are multiplied: T^2 below O I / (O + I)
    expect([29, 30].map((T) => choose(T, 1024, 4096, true, 512))).toEqual(["token", "product"]);
    expect([41, 42].map((T) => choose(T, 1024, 4096, true, 32))).toEqual(["token", "product"]);
  });

  test("without the gradient of the batch longer samples take it: no sum over all tokens is needed then", () => {
    expect(choose(30, 512, 512, false, 4)).toBe("token");
    expect(choose(30, 512, 512, true, 4)).toBe("product");
  });

  test("matrix by matrix, the head by its scored rows; all as asked for", async () => {
    const config = { ...presetConfig("nano", 4096), ...untied };
    const paths = planPaths(config, { S: 4, N: 4 * 60, R: 4 }, true);
    expect(paths.get("lm_head.weight")).toBe("token");
    expect(paths.get("model.layers.0.mlp.down_proj.weight")).toBe("product");
    expect(paths.has("model.embed_tokens.weight")).toBe(false);
    expect(new Set(planPaths(config, { S: 4, N: 4, R: 4 }, true, "product").values())).toEqual(
      new Set(["product"]),
    );
    const model = couplingPolicy(launcher);
    const short = [1, 2, 3].map((token) => ({ tokens: [token, token + 1, 7], responseStart: 1 }));
    const chosen = await perSampleGram(model, short);
    expect(new Set(chosen.forecast.paths.values())).toEqual(new Set(["token"]));
    expect(chosen).toEqual(await perSampleGram(model, short, { path: "token" }));
  });
});
