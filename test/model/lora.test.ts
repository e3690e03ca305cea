/** Adapters against the same formulas in float64: log-probabilities, gradients of the factors, each sample's own. */
import { expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Tape } from "../../src/autograd/tape.js";
import { Random } from "../../src/core/random.js";
import { directions } from "../../src/coupling/directions.js";
import { type GramOptions, perSampleGram } from "../../src/coupling/gram.js";
import { relativeError } from "../../src/coupling/verify.js";
import { Launcher } from "../../src/kernels/index.js";
import { LoraAdapter } from "../../src/model/lora.js";
import { checkRank, type LoraConfig } from "../../src/model/lora_config.js";
import { packSequences } from "../../src/model/packing.js";
import { parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { referenceModel, releaseReference } from "../../src/rl/loop/policy_state.js";
import { scoreSequences } from "../../src/rl/update/score.js";
import { ALL_TARGETS, float64Lora, loraPolicy } from "../support/lora_policy.js";
import { referenceConfig, referenceScore } from "../support/reference_qwen2.js";
import { testRuntime } from "../support/runtime.js";
import { differentiate, scaled, total } from "../support/scalars.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);
const SEQUENCES = [
  [3, 1, 4, 1, 5, 9],
  [2, 6, 5],
];
const packed = packSequences(SEQUENCES);
const places = Uint32Array.from(
  SEQUENCES.flatMap((tokens, s) => tokens.slice(1).map((_, t) => packed.offsets[s] + t)),
);
const targets = Uint32Array.from(SEQUENCES.flatMap((tokens) => tokens.slice(1)));
type Adapted = Qwen2Model & { readonly adapter: LoraAdapter };

/** Gradients of the sum over log-probabilities of token t times t + 1. */
async function gradientsOf(
  model: Qwen2Model,
  recompute = false,
  dropoutSeed?: number,
): Promise<Map<string, Float32Array>> {
  const { trained } = model;
  trained.clearGradients();
  const tape = new Tape(model.launcher, { activations: model.activations, recompute });
  const hidden = model.hidden(tape, model.batch(tape, packed), { dropoutSeed });
  const { log_prob } = model.score(tape, hidden, places, targets);
  tape.backward([[log_prob, tape.input(Float32Array.from(targets, (_, t) => t + 1))]]);
  tape.release();
  const gradients = new Map<string, Float32Array>();
  for (const { name } of trained.named)
    if (trained.isTrainable(name)) gradients.set(name, await trained.readGradient(name));
  return gradients;
}

async function expectedGradients(model: Adapted): Promise<Map<string, number[]>> {
  const { factors, weights } = await float64Lora(model);
  const scores = SEQUENCES.map((tokens) => referenceScore(referenceConfig(model.config), weights, tokens));
  const all = scores.flatMap(({ logProbs }) => logProbs);
  differentiate(total(all.map((logProb, t) => scaled(logProb, t + 1))));
  return new Map([...factors].map(([name, values]) => [name, values.map(({ grad }) => grad)]));
}

test("log-probabilities and gradients of all factors are those of W + s B A in float64", async () => {
  const model = loraPolicy(launcher);
  const { weights } = await float64Lora(model);
  const scores = await scoreSequences(model, SEQUENCES);
  SEQUENCES.forEach((tokens, s) => {
    const { logProbs } = referenceScore(referenceConfig(model.config), weights, tokens);
    logProbs.forEach(({ value }, t) => {
      expect(scores[s].logProbs[t]).toBeCloseTo(value, 4);
    });
  });
  const expected = await expectedGradients(model);
  expect(expected.size).toBe(2 * 7 * 2);
  const gradients = await gradientsOf(model);
  expect([...gradients.keys()]).toEqual([...expected.keys()]);
  for (const [name, gradient] of expected)
    expect(relativeError(gradients.get(name) as Float32Array, gradient), name).toBeLessThan(2e-5);
});

test("Gram of the factors' gradients is that of each sample's own in float64, by factor and in total", async () => {
  const model = loraPolicy(launcher);
  const samples = [
    { tokens: [3, 1, 4, 1, 5], responseStart: 2 },
    { tokens: [9, 2, 6], responseStart: 1, weights: [0.5, -2] },
    { tokens: [3, 1, 4, 7], responseStart: 3 },
  ];
  const expected = new Map<string, number[]>();
  const own: Map<string, number[]>[] = [];
  for (const { tokens, responseStart, weights } of samples) {
    const { factors, weights: changed } = await float64Lora(model);
    const { logProbs } = referenceScore(referenceConfig(model.config), changed, tokens);
    const response = logProbs.slice(responseStart - 1);
    differentiate(total(response.map((logProb, t) => scaled(logProb, weights?.[t] ?? 1))));
    own.push(new Map([...factors].map(([name, values]) => [name, values.map(({ grad }) => grad)])));
  }
  const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, x, k) => sum + x * b[k], 0);
  for (const name of own[0].keys()) {
    const gradients = own.map((one) => one.get(name) as number[]);
    expected.set(
      name,
      gradients.flatMap((a) => gradients.map((b) => dot(a, b))),
    );
  }
  for (const path of ["product", "token"] as const) {
    const { layers, gram } = await perSampleGram(model, samples, { path });
    expect([...layers.keys()]).toEqual([...expected.keys()]);
    for (const [name, values] of expected)
      expect(relativeError(layers.get(name) as Float64Array, values), `${path} ${name}`).toBeLessThan(2e-5);
    const sums = gram.map((_, at) => [...expected.values()].reduce((sum, values) => sum + values[at], 0));
    expect(relativeError(gram, sums)).toBeLessThan(2e-5);
  }
});

test("what a Gram or directions take beside the policy is forecast when the changed weights are there", async () => {
  const samples = SEQUENCES.map((tokens) => ({ tokens, responseStart: 1 }));
  for (const measure of [
    perSampleGram,
    (model: Qwen2Model, chosen: typeof samples, options: GramOptions) =>
      directions(model, chosen, [], options),
  ]) {
    const model = loraPolicy(launcher);
    let before = 0;
    const onForecast = () => {
      before = runtime.buffers.liveBytes;
    };
    await measure(model, samples, { onForecast });
    const changed = storedShapes(model.config).map(
      ({ name }) => model.adapter.weight(name)?.range.bytes ?? 0,
    );
    expect(runtime.buffers.liveBytes - before).toBeLessThan(changed.reduce((a, b) => a + b) / 2);
    model.release();
  }
});

test("the reference policy is the model below, bit for bit, and shares its memory", async () => {
  const model = loraPolicy(launcher);
  const plain = new Qwen2Model(launcher, model.config, model.parameters);
  const below = await scoreSequences(plain, SEQUENCES);
  expect(await scoreSequences(model, SEQUENCES)).not.toEqual(below);
  const live = runtime.buffers.liveBytes;
  const reference = await referenceModel(model, undefined);
  expect(runtime.buffers.liveBytes).toBe(live);
  expect(await scoreSequences(reference, SEQUENCES)).toEqual(below);
  releaseReference(reference, model);
  // a new adapter changes nothing
  model.adapter.initialise(Random.of(1, "adapter"));
  expect(await scoreSequences(model, SEQUENCES)).toEqual(below);
  plain.release();
});

test("plain ops, layers computed again, and a part of the targets give the same gradients", async () => {
  const model = loraPolicy(launcher);
  const all = await gradientsOf(model);
  expect(await gradientsOf(model, true)).toEqual(all);
  const unfused = await gradientsOf(loraPolicy(launcher, { fused: false }));
  for (const [name, gradient] of all)
    expect(relativeError(unfused.get(name) as Float32Array, gradient), name).toBeLessThan(2e-5);
  // B of some matrices alone, of a model in which nothing else has an adapter: others do not change what they are
  const some: LoraConfig = { ...ALL_TARGETS, targets: ["k_proj", "up_proj"] };
  const part = loraPolicy(launcher, { lora: some, requiresGrad: (name) => name.includes("lora_B") });
  const expected = await expectedGradients(part);
  const found = await gradientsOf(part);
  expect([...found.keys()]).toEqual([...expected.keys()].filter((name) => name.includes("lora_B")));
  for (const [name, gradient] of found)
    expect(relativeError(gradient, expected.get(name) as number[]), name).toBeLessThan(2e-5);
});

test("dropout: without a mask the formula beside the weights, with one the same bits by the same seed", async () => {
  const some: LoraConfig = {
    ...ALL_TARGETS,
    targets: ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
  };
  // below the least uniform number: nothing is left out
  const none = loraPolicy(launcher, { lora: { ...some, dropout: 1e-9 } });
  const expected = await gradientsOf(none);
  const beside = await gradientsOf(none, false, 1);
  expect(beside).not.toEqual(expected);
  for (const [name, gradient] of expected)
    expect(relativeError(beside.get(name) as Float32Array, gradient), name).toBeLessThan(2e-5);

  const most = loraPolicy(launcher, { lora: { ...some, dropout: 0.9 } });
  const masked = await gradientsOf(most, false, 7);
  expect(await gradientsOf(most, true, 7)).toEqual(masked);
  expect(await gradientsOf(most, false, 8)).not.toEqual(masked);
  // columns of A that belong to inputs left out everywhere have no gradient: masks differ from matrix to matrix
  const zeros = (target: string) => {
    const values = masked.get(`base_model.model.model.layers.0.${target}.lora_A.weight`) as Float32Array;
    return [...values.keys()].filter((at) => values[at] === 0).join();
  };
  expect(zeros("self_attn.q_proj")).not.toBe("");
  expect(zeros("self_attn.q_proj")).not.toBe(zeros("self_attn.v_proj"));
  // without a seed, as in sampling and measuring, nothing is left out
  expect(await gradientsOf(most)).toEqual(expected);
});

test("an adapter on bf16 weights has the values, gradients and export of one on the same weights in f32", async () => {
  for (const some of [ALL_TARGETS, { ...ALL_TARGETS, targets: ["v_proj", "down_proj"] } as const]) {
    const merged = loraPolicy(launcher, { isRounded: true, lora: some });
    const beside = loraPolicy(launcher, { isRounded: true, lora: some, storage: "bf16" });
    expect([merged.adapter.isMerged, beside.adapter.isMerged]).toEqual([true, false]);
    const scores = await scoreSequences(beside, SEQUENCES);
    (await scoreSequences(merged, SEQUENCES)).forEach(({ logProbs }, s) => {
      expect(relativeError(scores[s].logProbs, logProbs)).toBeLessThan(2e-5);
    });
    const gradients = await gradientsOf(beside);
    for (const [name, gradient] of await gradientsOf(merged))
      expect(relativeError(gradients.get(name) as Float32Array, gradient), name).toBeLessThan(2e-5);
    expect(await gradientsOf(beside, true)).toEqual(gradients);
    for (const { name } of parameterShapes(merged.config))
      expect(relativeError(await beside.read(name), await merged.read(name)), name).toBeLessThan(1e-6);
  }
});

test("nothing is left of a released model", async () => {
  const live = runtime.buffers.liveBytes;
  const model = loraPolicy(launcher);
  await gradientsOf(model);
  model.release();
  model.parameters.release();
  expect(runtime.buffers.liveBytes).toBe(live);
});

test.runIf(runtime.facts.features.has("shader-f16"))("mixed precision", async () => {
  const model = loraPolicy(launcher, { storage: "f16" });
  const expected = await expectedGradients(loraPolicy(launcher));
  const gradients = await gradientsOf(model);
  for (const [name, gradient] of expected)
    expect(relativeError(gradients.get(name) as Float32Array, gradient), name).toBeLessThan(2e-2);
});

test("a trainable model below, and a rank above the matrix, are refused", () => {
  const { config } = loraPolicy(launcher);
  const trainable = new FlatParameters(runtime, storedShapes(config));
  expect(() => new LoraAdapter(launcher, trainable, config, ALL_TARGETS)).toThrow(/Freeze it/);
  trainable.release();
  expect(() => checkRank(config, { rank: 9, targets: ["k_proj"] })).toThrow(
    /\[lora\.rank\].*got 9 for model\.layers\.0\.self_attn\.k_proj\.weight \[8, 16\], expected at most 8/,
  );
});
