/** The Gram of per-sample gradients against values from outside, and against one backward pass for each sample. */
import { describe, expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { directions } from "../../src/coupling/directions.js";
import { type GramOptions, perSampleGram } from "../../src/coupling/gram.js";
import type { CouplingSample } from "../../src/coupling/samples.js";
import { addBatchGradient } from "../../src/coupling/separate.js";
import { diagnoseAlone, LEAST_COSINE, relativeError, verifyGram } from "../../src/coupling/verify.js";
import { loadPolicy } from "../../src/host/model/policy_folder.js";
import { Launcher } from "../../src/kernels/index.js";
import type { Qwen2Config } from "../../src/model/config.js";
import { parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { couplingPolicy, drawSamples as draw, V } from "../support/coupling_policy.js";
import { GOLDEN_MODELS, readGolden } from "../support/golden.js";
import { gpuFamilyRuntime, testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);
const gpuFamily = new Launcher(await gpuFamilyRuntime());
const build = (change: Partial<Qwen2Config> = {}, { owner = launcher, half = false } = {}) =>
  couplingPolicy(owner, change, half);
async function worstLayer(model: Qwen2Model, samples: readonly CouplingSample[], options: GramOptions = {}) {
  const gram = await perSampleGram(model, samples, options);
  const differences = await verifyGram(model, samples, gram, [...samples.keys()]);
  expect(differences).toHaveLength(parameterShapes(model.config).length + 1);
  return Math.max(...differences.map(({ error }) => error));
}

test.each(GOLDEN_MODELS)("Gram of %s, in total and of every parameter", async (name) => {
  const { folder, samples, gram, layers } = readGolden(name);
  const { model } = await loadPolicy(launcher, folder, { requiresGrad: true });
  const result = await perSampleGram(model, samples);
  expect([...result.layers.keys()].sort()).toEqual(Object.keys(layers).sort());
  for (const [parameter, expected] of Object.entries(layers)) {
    const actual = result.layers.get(parameter) as Float64Array;
    expect.soft(relativeError(actual, expected.flat()), parameter).toBeLessThan(1e-5);
  }
  expect(relativeError(result.gram, gram.flat())).toBeLessThan(1e-5);
});

describe("against one backward pass for each sample", () => {
  test.each([1, 2, 33])("%i samples, tied", async (count) => {
    expect(await worstLayer(build(), draw(count))).toBeLessThan(1e-5);
  });

  test.each([1, 5])("%i samples, untied", async (count) => {
    expect(await worstLayer(build({ tie_word_embeddings: false }), draw(count))).toBeLessThan(1e-5);
  });

  test("pieces of few rows, and a tied head that is too large to keep", async () => {
    const few = { pieceBytes: 4096 };
    expect(await worstLayer(build(), draw(5), few)).toBeLessThan(1e-5);
    expect(await worstLayer(build({ tie_word_embeddings: false }), draw(5), few)).toBeLessThan(1e-5);
  });

  test("widths that are no multiple of four", async () => {
    const odd = { hidden_size: 30, num_attention_heads: 3, num_key_value_heads: 1, intermediate_size: 37 };
    expect(await worstLayer(build(odd), draw(6))).toBeLessThan(1e-5);
  });

  test("kernels for GPUs", async () => {
    expect(await worstLayer(build({}, { owner: gpuFamily }), draw(6))).toBeLessThan(1e-5);
    const few = { pieceBytes: 4096 };
    expect(await worstLayer(build({}, { owner: gpuFamily }), draw(6), few)).toBeLessThan(1e-5);
  });

  test.each(["CPU adapters", "GPUs"])("tiles beside the diagonal, kernels for %s", async (kind) => {
    const model = build({}, { owner: kind === "GPUs" ? gpuFamily : launcher });
    const samples = draw(70);
    const gram = await perSampleGram(model, samples, { path: "product" });
    for (const { name, error } of await verifyGram(model, samples, gram, [0, 31, 32, 69]))
      expect(error, name).toBeLessThan(1e-5);
    for (const values of gram.layers.values())
      for (let i = 0; i < 70; i++)
        for (let j = 0; j < i; j++) expect(values[70 * i + j]).toBe(values[70 * j + i]);
  });

  test.runIf(runtime.facts.features.has("shader-f16"))("mixed precision", async () => {
    expect(await worstLayer(build({}, { half: true }), draw(6))).toBeLessThan(1e-2);
  });
});

test("pairs of blocks in a small budget give the Gram of all samples at once, and keep the budget", async () => {
  const model = build();
  const samples = draw(12, 50);
  const whole = await perSampleGram(model, samples, { pieceBytes: 2 ** 16 });
  const budgetBytes = Math.floor(0.8 * whole.forecast.bytes);
  const before = runtime.buffers.liveBytes;
  runtime.buffers.resetPeak();
  const parts = await perSampleGram(model, samples, { budgetBytes });
  expect(runtime.buffers.peakBytes - before).toBeLessThan(budgetBytes);
  expect(runtime.buffers.liveBytes).toBe(before);
  expect(parts.forecast.passes.length).toBeGreaterThan(1);
  expect(relativeError(parts.gram, whole.gram)).toBeLessThan(1e-5);
  for (const [name, values] of whole.layers)
    expect(relativeError(parts.layers.get(name) as Float64Array, values), name).toBeLessThan(1e-5);
  await expect(perSampleGram(model, samples, { budgetBytes: 1000 })).rejects.toThrow(
    /budget too small: got 1000 bytes, expected at least \d+ .* sample \d+/,
  );
});

test("the gradient of the batch falls out of the same pass, with any coefficients", async () => {
  const model = build();
  const samples = draw(7);
  const { parameters } = model;
  const names = [...parameters.slots.keys()];
  const coefficients = [1, -2, 0.5, 0, 3, -1, 0.25];
  parameters.clearGradients();
  addBatchGradient(
    model,
    samples.map((sample, s) => {
      const weights = sample.weights ?? sample.tokens.slice(sample.responseStart).map(() => 1);
      return { ...sample, weights: weights.map((weight) => weight * (coefficients[s] as number)) };
    }),
  );
  const expected = await Promise.all(names.map((name) => parameters.readGradient(name)));
  for (const options of [{}, { pieceBytes: 4096 }]) {
    parameters.clearGradients();
    await perSampleGram(model, samples, { coefficients, ...options });
    for (const [at, name] of names.entries()) {
      const actual = await parameters.readGradient(name);
      expect(relativeError(actual, expected[at] as Float32Array), name).toBeLessThan(1e-5);
    }
  }
  parameters.clearGradients();
  await perSampleGram(model, samples);
  expect(await parameters.readGradient("model.norm.weight")).toEqual(new Float32Array(32));
});

test("the same bits again, and a sample's own entries whatever is beside it", async () => {
  const model = build();
  const samples = draw(9);
  const gram = await perSampleGram(model, samples);
  expect(await perSampleGram(model, samples)).toEqual(gram);
  for (const { sample, inBatch, alone, cosine } of await diagnoseAlone(model, samples, [0, 4, 8])) {
    expect(cosine).toBeGreaterThan(LEAST_COSINE);
    expect(Math.abs(alone / inBatch - 1)).toBeLessThan(1e-5);
    expect(Math.abs(inBatch / (gram.gram[sample * 9 + sample] as number) - 1)).toBeLessThan(1e-5);
  }
});

test("log-probabilities come along", async () => {
  const model = build();
  const [first, second] = draw(2) as [CouplingSample, CouplingSample];
  const plain = { tokens: first.tokens, responseStart: first.responseStart };
  const { logProbs } = await perSampleGram(model, [plain, second]);
  const doubled = { ...plain, weights: plain.tokens.slice(plain.responseStart).map(() => 2) };
  const twice = await perSampleGram(model, [doubled, second]);
  expect(logProbs[0]).toBeLessThan(0);
  expect(twice.logProbs[0]).toBeCloseTo(2 * (logProbs[0] as number), 4);
});

test("frozen parameters are left out, the others are what they were", async () => {
  const model = build();
  const samples = draw(5);
  const whole = await perSampleGram(model, samples);
  const trains = (name: string) => /bias|gate_up|layers.1.*norm/.test(name);
  const parameters = new FlatParameters(runtime, storedShapes(model.config), { requiresGrad: trains });
  for (const { name } of parameterShapes(model.config))
    parameters.load(name, await model.parameters.read(name));
  const partly = new Qwen2Model(launcher, model.config, parameters);
  const { layers } = await perSampleGram(partly, samples, { coefficients: samples.map(() => 1) });
  const expected = [...whole.layers.keys()].filter((name) =>
    /bias|gate_proj|up_proj|layers.1.*norm/.test(name),
  );
  expect([...layers.keys()]).toEqual(expected);
  for (const [name, gram] of layers)
    expect(relativeError(gram, whole.layers.get(name) as Float64Array), name).toBeLessThan(1e-5);
});

test("bad samples are refused by name, with a cure", async () => {
  const model = build();
  const good = { tokens: [1, 2, 3], responseStart: 1 };
  const refused: [CouplingSample, RegExp][] = [
    [{ tokens: [1, V], responseStart: 1 }, /sample 1: token 1 is not in the vocabulary: got id 83/],
    [{ tokens: [1, 2], responseStart: 2 }, /sample 1: zero response tokens/],
    [{ tokens: [1, 2], responseStart: 0 }, /sample 1: responseStart is out of range: got 0/],
    [{ tokens: Array(9000).fill(1), responseStart: 1 }, /sample 1: too long: got 9000 tokens/],
    [{ ...good, weights: [1] }, /sample 1: weights of wrong length: got 1, expected 2/],
    [{ ...good, weights: [1, Number.NaN] }, /sample 1: weight 1 is not finite/],
    [{ ...good, weights: [1e39, 1] }, /sample 1: weight 0 is not finite: got 1e\+39, .* up to 3.4e38/],
  ];
  for (const [sample, message] of refused)
    await expect(perSampleGram(model, [good, sample])).rejects.toThrow(message);
  await expect(perSampleGram(model, [])).rejects.toThrow("no samples");
  await expect(perSampleGram(model, [good], { coefficients: [1, 2] })).rejects.toThrow("expected 1");
  const frozen = new FlatParameters(runtime, storedShapes(model.config), { requiresGrad: false });
  const policy = new Qwen2Model(launcher, model.config, frozen);
  await expect(perSampleGram(policy, [good])).rejects.toThrow("frozen");
});

test("what is not finite is refused, naming the sample: log-probabilities, and gradients too large for a number", async () => {
  const model = build({ tie_word_embeddings: false });
  const untouched = { tokens: [1, 2, 3], responseStart: 1 };
  const large = { tokens: [5, 2, 3], responseStart: 1, weights: [1e30, 1e30] };
  for (const path of ["product", "token"] as const)
    await expect(perSampleGram(model, [untouched, large], { path })).rejects.toThrow(
      /sample 1: its gradient of \S+ is not finite: got a squared norm of Infinity.* lower the sample's weights/,
    );
  await expect(directions(model, [untouched, large], [])).rejects.toThrow(
    /sample 1: its gradient of \S+ is not finite/,
  );
  // what overflows in backward reaches the sample beside it, which is not to blame
  const larger = { ...large, weights: [3e38, 3e38] };
  await expect(perSampleGram(model, [untouched, larger])).rejects.toThrow(/sample 1: its gradient of/);
  const values = await model.parameters.read("model.embed_tokens.weight");
  model.parameters.load("model.embed_tokens.weight", values.fill(Number.NaN, 32 * 7, 32 * 8));
  const touched = { tokens: [7, 2, 3], responseStart: 1 };
  await expect(perSampleGram(model, [untouched, touched])).rejects.toThrow(
    /sample 1: its log-probability is not finite: got NaN.* leave the sample out/,
  );
});
