/** What the last layer says of real policies, against the gradients of their output matrix. */
import { expect, test } from "vitest";
import { lastLayerGram } from "../../src/coupling/analysis/last_layer.js";
import { perSampleGram } from "../../src/coupling/gram.js";
import { decisionStates, lastLayerSamples } from "../../src/coupling/last_layer_samples.js";
import { loadPolicy } from "../../src/host/model/policy_folder.js";
import { Launcher } from "../../src/kernels/index.js";
import { readGolden } from "../support/golden.js";
import { testRuntime } from "../support/runtime.js";

const launcher = new Launcher(await testRuntime());
const { folder, samples, layers } = readGolden("qwen2-untied");
const { model } = await loadPolicy(launcher, folder, { requiresGrad: true });
const { hidden_size: C, vocab_size: V } = model.config;

function worst(got: ArrayLike<number>, wanted: ArrayLike<number>): number {
  const largest = Array.from(wanted).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return (
    Array.from(got).reduce((most, value, at) => Math.max(most, Math.abs(value - wanted[at])), 0) / largest
  );
}

test("the Gram of the output matrix is that of the gradients, from outside and from our own backward pass", async () => {
  const gram = lastLayerGram(await lastLayerSamples(model, samples));
  expect(worst(gram, layers["lm_head.weight"].flat())).toBeLessThan(1e-5);
  const own = (await perSampleGram(model, samples)).layers.get("lm_head.weight") as Float64Array;
  expect(worst(gram, own)).toBeLessThan(1e-4);
});

test("batches change nothing, fewer tokens only what they leave out", async () => {
  const whole = await lastLayerSamples(model, samples);
  expect(whole.map(({ tokens }) => [...Array.from(tokens)])).toEqual(
    samples.map(({ tokens, responseStart }) => tokens.slice(responseStart)),
  );
  const alone = await lastLayerSamples(model, samples, { tokensPerBatch: 1 });
  alone.forEach((sample, s) => {
    expect(worst(sample.hidden, whole[s].hidden)).toBeLessThan(1e-5);
  });
  const few = await lastLayerSamples(model, samples, { topK: 3 });
  few.forEach(({ distributions }, s) => {
    distributions.forEach(({ ids, probabilities }, t) => {
      const all = whole[s].distributions[t];
      const likeliest = [...Array(V).keys()]
        .sort((a, b) => all.probabilities[b] - all.probabilities[a])
        .slice(0, 3)
        .sort((a, b) => a - b);
      expect([...Array.from(ids)]).toEqual(likeliest);
      expect([...Array.from(probabilities)]).toEqual(likeliest.map((id) => all.probabilities[id]));
      expect(Array.from(all.probabilities).reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 12);
    });
  });
  // a high temperature makes all tokens alike
  const [hot] = await lastLayerSamples(model, samples.slice(0, 1), { temperature: 1e6 });
  expect(Math.max(...Array.from(hot.distributions[0].probabilities))).toBeCloseTo(1 / V, 4);
});

test("the state before acting is the one that predicts the first token of the answer", async () => {
  const states = await decisionStates(model, samples, 1);
  const whole = await lastLayerSamples(model, samples);
  states.forEach((state, s) => {
    expect(state.length).toBe(C);
    expect(worst(state, Array.from(whole[s].hidden).slice(0, C))).toBeLessThan(1e-5);
  });
  expect(await decisionStates(model, [])).toEqual([]);
});

test("samples and options that do not fit are named", async () => {
  await expect(lastLayerSamples(model, [{ tokens: [1], responseStart: 1 }])).rejects.toThrow(
    /sample 0.*zero response/,
  );
  await expect(lastLayerSamples(model, samples, { topK: 0 })).rejects.toThrow(
    /out of range: got temperature 1 and topK 0/,
  );
  await expect(lastLayerSamples(model, samples, { temperature: 0 })).rejects.toThrow(/out of range/);
});
