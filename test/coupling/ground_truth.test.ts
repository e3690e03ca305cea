/** Predictions by the Gram against steps that were really made. */
import { describe, expect, test } from "vitest";
import { Random } from "../../src/core/random.js";
import { influence } from "../../src/coupling/analysis/influence.js";
import { agreement, leaveOneOutPrediction } from "../../src/coupling/analysis/leave_one_out.js";
import { directions } from "../../src/coupling/directions.js";
import { perSampleGram } from "../../src/coupling/gram.js";
import {
  backwardOf,
  pushesOf,
  readGradients,
  readValues,
  weightedLogProbs,
} from "../../src/coupling/ground_truth/passes.js";
import {
  leaveOneOutChanges,
  optimiserStepChanges,
  plainStepChanges,
  rateFor,
} from "../../src/coupling/ground_truth/real_steps.js";
import { separateGradients } from "../../src/coupling/separate.js";
import { relativeError } from "../../src/coupling/verify.js";
import { Launcher } from "../../src/kernels/index.js";
import { AdamW } from "../../src/optim/adamw.js";
import { couplingPolicy, drawSamples } from "../support/coupling_policy.js";
import { testRuntime } from "../support/runtime.js";
import { drawnSamples, tinyModel } from "../support/tiny_model.js";

const launcher = new Launcher(await testRuntime());
const model = tinyModel(launcher);
const count = 10;
const samples = drawnSamples(count);
const random = Random.of(7, "advantages");
const advantages = samples.map(() => random.normal());
const weights = samples.map(() => random.uniform() / count);
const coefficients = advantages.map((advantage, i) => weights[i] * advantage);
const step = { model, samples, coefficients };
const gradients = await separateGradients(model, samples);
const { gram, layers } = await perSampleGram(model, samples);

test("layers add up to the whole, and the gradient of a batch is the sum of its samples'", async () => {
  const sums = [...layers.values()].reduce((sum, layer) => sum.map((value, at) => value + layer[at]));
  sums.forEach((value, at) => {
    expect(value).toBeCloseTo(gram[at], 10);
  });
  expect([...layers.keys()]).toContain("model.layers.1.self_attn.k_proj.bias");
  // two passes of few tokens each
  backwardOf(model, samples, coefficients, 50);
  const batch = await readGradients(model);
  const { total } = influence(gram, advantages, { weights });
  pushesOf(gradients, batch).forEach((value, j) => {
    expect(value).toBeCloseTo(total[j], 4);
  });
});

describe("plain gradient steps", () => {
  test("changes of log-probability are as predicted, and the weights are put back", async () => {
    const before = await readValues(model);
    const { total } = influence(gram, advantages, { weights });
    const rate = rateFor(total, 0.01);
    const realised = await plainStepChanges(step, rate);
    const found = agreement(
      total.map((value) => rate * value),
      realised,
    );
    expect(found.correlation).toBeGreaterThan(0.999);
    expect(found.slope).toBeCloseTo(1, 1);
    for (const [name, values] of await readValues(model)) expect(values).toEqual(before.get(name));
  });

  test("leaving one sample out changes the others as predicted", async () => {
    const { total } = influence(gram, advantages, { weights });
    const rate = rateFor(total, 0.02);
    const whole = await plainStepChanges(step, rate);
    const [predicted, realised]: [number[], number[]] = [[], []];
    for (const left of [0, 3, 8]) {
      const changes = await leaveOneOutChanges(step, rate, left, whole);
      predicted.push(...leaveOneOutPrediction(gram, advantages, left, { weights, learningRate: rate }));
      realised.push(...changes);
    }
    const found = agreement(predicted, realised);
    expect(found.rankCorrelation).toBeGreaterThan(0.99);
    expect(found.correlation).toBeGreaterThan(0.999);
    expect(found.count).toBe(3 * count);
  });
});

test("through AdamW's own update, the products with what it did are the prediction; the raw Gram is a proxy", async () => {
  const optimizer = new AdamW({
    parameters: model.parameters,
    launcher,
    lr: 1,
    weightDecay: 0.1,
    maxGradNorm: 1,
  });
  const { changes, update } = await optimiserStepChanges(step, optimizer, 2e-5);
  const exact = agreement(pushesOf(gradients, update), changes);
  expect(exact.correlation).toBeGreaterThan(0.999);
  expect(exact.slope).toBeCloseTo(1, 1);
  const proxy = agreement(influence(gram, advantages, { weights }).total, changes);
  expect(proxy.correlation).toBeGreaterThan(0.3);
  expect(proxy.correlation).toBeLessThan(exact.correlation as number);
  optimizer.release();
});

test("log-probabilities do not depend on how samples are put into passes", async () => {
  const together = await weightedLogProbs(model, samples);
  const apart = await weightedLogProbs(model, samples, 1);
  together.forEach((value, j) => {
    expect(value).toBeCloseTo(apart[j], 5);
  });
});

test("frozen parameters: steps move the trained ones alone, as the Gram of these predicts", async () => {
  const partly = couplingPolicy(launcher, {}, false, (name) => /gate_up|bias|norm/.test(name));
  const some = drawSamples(6);
  const factors = some.map((_, i) => (i % 2 === 0 ? 0.2 : -0.1));
  const frozen = await partly.parameters.read("model.embed_tokens.weight");
  const { gram: own, layers: trained } = await perSampleGram(partly, some);
  const total = some.map((_, j) => factors.reduce((sum, factor, i) => sum + factor * own[i * 6 + j], 0));
  const rate = rateFor(total, 0.01);
  const changes = await plainStepChanges({ model: partly, samples: some, coefficients: factors }, rate);
  const found = agreement(
    total.map((value) => rate * value),
    changes,
  );
  expect(found.correlation).toBeGreaterThan(0.999);
  expect(found.slope).toBeCloseTo(1, 1);
  backwardOf(partly, some, factors);
  expect([...(await readGradients(partly)).keys()].sort()).toEqual([...trained.keys()].sort());
  expect(await partly.parameters.read("model.embed_tokens.weight")).toEqual(frozen);
  // dot products with directions: the same samples, no direction is asked for where nothing is trained
  const asked: string[] = [];
  const { dots, squares } = await directions(partly, some, [
    (name) => {
      asked.push(name);
      return partly.parameters.get(name).grad;
    },
  ]);
  expect(relativeError(dots, total)).toBeLessThan(1e-4);
  expect(
    relativeError(
      squares,
      some.map((_, j) => own[j * 6 + j]),
    ),
  ).toBeLessThan(1e-5);
  expect(asked).not.toContain("model.embed_tokens.weight");
});

test("a policy with nothing to train is refused, whatever is asked for", async () => {
  const frozen = couplingPolicy(launcher, {}, false, false);
  const some = drawSamples(2);
  const refusal = /parameters are frozen: got requiresGrad false, .* Load the policy with/;
  await expect(perSampleGram(frozen, some)).rejects.toThrow(refusal);
  await expect(directions(frozen, some, [])).rejects.toThrow(refusal);
  await expect(separateGradients(frozen, some)).rejects.toThrow(refusal);
  expect(() => backwardOf(frozen, some, [1, 1])).toThrow(refusal);
  await expect(plainStepChanges({ model: frozen, samples: some, coefficients: [1, 1] }, 1)).rejects.toThrow(
    refusal,
  );
});
