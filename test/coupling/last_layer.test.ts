/** Last-layer quantities against explicit gradients of the output matrix. */
import { expect, test } from "vitest";
import { Random } from "../../src/core/random.js";
import { quantile } from "../../src/core/statistics.js";
import { influence } from "../../src/coupling/analysis/influence.js";
import { gwhes, type LastLayerSample, lastLayerGram, nthr } from "../../src/coupling/analysis/last_layer.js";

const V = 7;
const C = 4;

/** A sample of T tokens under a random output matrix, and the gradient of its log-probability by that matrix. */
function draw(
  random: Random,
  T: number,
): { sample: LastLayerSample; gradient: Float64Array; byToken: Float64Array[] } {
  const weight = new Random(99);
  const W = Array.from({ length: V * C }, () => weight.normal());
  const tokens = Array.from({ length: T }, () => random.integer(V));
  const hidden = Array.from({ length: T * C }, () => random.normal());
  const logProb = (matrix: readonly number[], t: number) => {
    const z = Array.from({ length: V }, (_, v) =>
      Array.from({ length: C }, (_, c) => matrix[v * C + c] * hidden[t * C + c]).reduce((a, b) => a + b),
    );
    const sum = Math.log(z.reduce((total, value) => total + Math.exp(value), 0));
    return z.map((value) => value - sum);
  };
  // central differences: independent of the formula under test
  const byToken = tokens.map((token, t) =>
    Float64Array.from(W, (_, k) => {
      const moved = (by: number) =>
        logProb(
          W.map((value, at) => (at === k ? value + by : value)),
          t,
        )[token];
      return (moved(1e-5) - moved(-1e-5)) / 2e-5;
    }),
  );
  const distributions = tokens.map((_, t) => ({
    ids: Array.from({ length: V }, (_, v) => v),
    probabilities: logProb(W, t).map(Math.exp),
  }));
  const gradient = byToken.reduce((sum, part) => sum.map((value, k) => value + part[k]));
  return { sample: { tokens, hidden, distributions }, gradient, byToken };
}

const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, k) => sum + value * b[k], 0);
const random = new Random(1);
const drawn = [3, 1, 4, 2, 2].map((T) => draw(random, T));
const samples = drawn.map(({ sample }) => sample);

test("the Gram of the output matrix", () => {
  const gram = lastLayerGram(samples);
  drawn.forEach((a, i) => {
    drawn.forEach((b, j) => {
      expect(gram[i * samples.length + j]).toBeCloseTo(dot(a.gradient, b.gradient), 7);
    });
  });
});

test("tokens beyond the likeliest count as impossible", () => {
  const short = (sample: LastLayerSample): LastLayerSample => ({
    ...sample,
    distributions: sample.distributions.map(({ ids, probabilities }) => ({
      ids: Array.from(ids).filter((v) => v % 2 === 0),
      probabilities: Array.from(probabilities).filter((_, v) => v % 2 === 0),
    })),
  });
  const zeroed = (sample: LastLayerSample): LastLayerSample => ({
    ...sample,
    distributions: sample.distributions.map(({ ids, probabilities }) => ({
      ids,
      probabilities: Array.from(probabilities, (value, v) => (v % 2 === 0 ? value : 0)),
    })),
  });
  const [a, b] = [lastLayerGram(samples.map(short)), lastLayerGram(samples.map(zeroed))];
  a.forEach((value, k) => {
    expect(value).toBeCloseTo(b[k], 12);
  });
});

test("token scores of punished answers are products with the positives' summed gradient", () => {
  const [positives, negatives] = [drawn.slice(0, 2), drawn.slice(2)];
  const summed = positives
    .map(({ gradient }) => gradient)
    .reduce((a, b) => a.map((value, k) => value + b[k]));
  const means = positives.map(({ gradient, byToken }) => dot(gradient, summed) / byToken.length);
  // a threshold in the middle of the punished tokens
  const all = negatives.flatMap(({ byToken }) => byToken.map((gradient) => dot(gradient, summed)));
  const beta = quantile(all, 0.45) / Math.min(...means);
  const scores = nthr(
    positives.map(({ sample }) => sample),
    negatives.map(({ sample }) => sample),
    beta,
  );
  negatives.forEach(({ byToken }, i) => {
    byToken.forEach((gradient, t) => {
      expect(scores.negatives[i][t]).toBeCloseTo(dot(gradient, summed), 7);
    });
  });
  expect(scores.threshold).toBeCloseTo(beta * Math.min(...means), 7);
  scores.selected.forEach((places, i) => {
    const above = [...scores.negatives[i].keys()].filter((t) => scores.negatives[i][t] > scores.threshold);
    expect(places).toEqual(above);
  });
  const chosen = scores.selected.flat().length;
  expect(chosen).toBeGreaterThan(0);
  expect(chosen).toBeLessThan(all.length);
  expect(() => nthr([], [])).toThrow(/no positive sample/);
});

test("GWHES is minus the influence on the good answers under scaled advantages", () => {
  const share = 2 / 5;
  const spread = Math.sqrt(share * (1 - share));
  const advantages = [1, 1, 0, 0, 0].map((outcome) => (outcome - share) / spread);
  const { total } = influence(lastLayerGram(samples), advantages, { weights: [1, 1, 1, 1, 1] });
  expect(gwhes(samples.slice(0, 2), samples.slice(2))).toBeCloseTo(-(total[0] + total[1]), 10);
  expect(gwhes(samples, [])).toBeNull();
});

test("what does not fit is told", () => {
  const [sample] = samples;
  expect(() => lastLayerGram([{ ...sample, tokens: [] }])).toThrow(/an answer is empty/);
  expect(() => lastLayerGram([{ ...sample, hidden: [1, 2, 3, 4] }])).toThrow(/got 4 values for 3 tokens/);
  expect(() => lastLayerGram([sample, { ...samples[1], hidden: [1] }])).toThrow(/differ in width: got 4, 1/);
  expect(() => lastLayerGram([{ ...sample, distributions: [] }])).toThrow(/distributions has the wrong size/);
});
