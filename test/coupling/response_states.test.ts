/** Hidden states and probabilities of answers, against the trainer's own log-probabilities and Gram. */
import { expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Random } from "../../src/core/random.js";
import { lastLayerGram } from "../../src/coupling/analysis/last_layer.js";
import { perSampleGram } from "../../src/coupling/gram.js";
import { decisionStates, responseStates } from "../../src/coupling/ground_truth/response_states.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { testRuntime } from "../support/runtime.js";
import { drawnSamples } from "../support/tiny_model.js";

const launcher = new Launcher(await testRuntime());
// a head of its own: its Gram is that of the last layer and nothing else
const config = presetConfig("nano", 23, { tie_word_embeddings: false });
const model = new Qwen2Model(launcher, config, new FlatParameters(launcher.runtime, storedShapes(config)));
model.initialise(Random.of(5));
const samples = drawnSamples(6).map(({ tokens, responseStart }) => ({ tokens, responseStart }));
const { layers, logProbs } = await perSampleGram(model, samples);

test.each([4096, 1])(
  "the last layer's Gram and log-probabilities, %i tokens a pass",
  async (tokensPerPass) => {
    const states = await responseStates(model, samples, { tokensPerPass });
    const expected = layers.get("lm_head.weight") as Float64Array;
    const scale = Math.max(...expected.map(Math.abs));
    lastLayerGram(states).forEach((value, at) => {
      expect(Math.abs(value - expected[at])).toBeLessThan(1e-4 * scale);
    });
    states.forEach(({ tokens, distributions }, i) => {
      const sum = Array.from(tokens).reduce(
        (total, token, t) => total + Math.log(distributions[t].probabilities[token]),
        0,
      );
      expect(sum).toBeCloseTo(logProbs[i], 3);
    });
  },
);

test("the state after an answer is the one that would predict the next token", async () => {
  const longer = samples.map(({ tokens, responseStart }) => ({ tokens: [...tokens, 3], responseStart }));
  const [states, further] = [await responseStates(model, samples), await responseStates(model, longer)];
  const C = config.hidden_size;
  states.forEach(({ after, tokens }, i) => {
    const next = Array.from(further[i].hidden).slice(tokens.length * C);
    next.forEach((value, c) => {
      expect(after[c]).toBeCloseTo(value, 4);
    });
  });
});

test("the likeliest tokens alone", async () => {
  const [whole] = await responseStates(model, samples);
  const [some] = await responseStates(model, samples, { likeliest: 3 });
  const all = Array.from(whole.distributions[0].probabilities);
  const best = all
    .slice()
    .sort((a, b) => b - a)
    .slice(0, 3);
  expect(Array.from(some.distributions[0].probabilities).sort((a, b) => b - a)).toEqual(best);
  const ids = Array.from(some.distributions[0].ids);
  expect(ids).toEqual(ids.slice().sort((a, b) => a - b));
  expect(ids.map((id) => all[id])).toEqual(Array.from(some.distributions[0].probabilities));
});

test("a temperature divides the logits; the state before acting predicts the first token", async () => {
  const [whole, warm] = [
    await responseStates(model, samples),
    await responseStates(model, samples, { temperature: 2 }),
  ];
  const p = Array.from(whole[0].distributions[0].probabilities, Math.sqrt);
  const sum = p.reduce((total, value) => total + value, 0);
  Array.from(warm[0].distributions[0].probabilities).forEach((value, id) => {
    expect(value).toBeCloseTo(p[id] / sum, 10);
  });
  const C = config.hidden_size;
  for (const tokensPerPass of [4096, 1]) {
    const states = await decisionStates(model, samples, tokensPerPass);
    expect(states.length).toBe(samples.length);
    states.forEach((state, s) => {
      Array.from(state).forEach((value, c) => {
        expect(value).toBeCloseTo(whole[s].hidden[c], 4);
      });
      expect(state.length).toBe(C);
    });
  }
  expect([await decisionStates(model, []), await responseStates(model, [])]).toEqual([[], []]);
});
