/** The linear classifier in the place of the policy's words: its beginning, its thoughts, its step, and what a checkpoint holds. */
import { expect, test } from "vitest";
import { Random } from "../../src/core/random.js";
import { decisionStates } from "../../src/coupling/ground_truth/response_states.js";
import { Launcher } from "../../src/kernels/index.js";
import { AdamW } from "../../src/optim/adamw.js";
import { ValueHead } from "../../src/rl/gcd/value_head.js";
import { policyObjective } from "../../src/rl/objective/policy.js";
import type { Row } from "../../src/rl/rows.js";
import { Learner } from "../../src/rl/update/learner.js";
import { lossOptions, unplaced } from "../support/rows.js";
import { testRuntime } from "../support/runtime.js";
import { tinyModel } from "../support/tiny_model.js";

const launcher = new Launcher(await testRuntime());
const model = tinyModel(launcher);
const C = model.config.hidden_size;
const WEIGHT = "value_head.weight";
const prompts = [
  [3, 1, 4],
  [1, 5],
  [9, 2, 6, 5],
];
const hidden = await decisionStates(
  model,
  prompts.map((prompt) => ({ tokens: [...prompt, 0], responseStart: prompt.length })),
);

const open = (maxGradNorm = 0) => new ValueHead(model, { seed: 4, learningRate: 0.01, maxGradNorm });
type Saved = Readonly<Record<string, readonly number[]>>;
const saved = async (head: ValueHead) => (await head.save()) as Saved;

/** Probability of good after each prompt: softmax of the two products with the last hidden state. */
function thoughts(weight: readonly number[]): number[] {
  const product = (state: Float32Array, of: number) =>
    state.reduce((sum, value, c) => sum + value * weight[of * C + c], 0);
  return hidden.map((state) => 1 / (1 + Math.exp(product(state, 1) - product(state, 0))));
}

test("begins with small drawn weights, and thinks the softmax of their products with the last hidden state", async () => {
  const live = launcher.runtime.buffers.liveBytes;
  const head = open();
  const random = Random.of(4, WEIGHT);
  const weight = (await saved(head))[WEIGHT];
  expect(weight).toEqual(Array.from({ length: 2 * C }, () => Math.fround(0.02 * random.normal())));
  const expected = thoughts(weight);
  for (const budget of [1, 4096]) {
    const found = await head.probabilities(prompts, budget);
    found.forEach(({ good, bad }, at) => {
      expect(good).toBeCloseTo(expected[at], 5);
      expect(bad).toBeCloseTo(1 - expected[at], 5);
    });
    expect(found).toHaveLength(3);
  }
  head.release();
  expect(launcher.runtime.buffers.liveBytes).toBe(live);
});

const questions = prompts.map(
  (prompt, at): Row => ({
    ...unplaced,
    kind: "classification",
    prompt,
    answer: [at],
    advantage: 1,
    logProbs: [-1],
  }),
);
// the second answer is bad
const labelOf = ({ answer }: Row) => (answer[0] === 1 ? ("bad" as const) : ("good" as const));

test("learns by the cross entropy of the labels, cleared before each update, as fast as the step says", async () => {
  const head = open();
  const optimizer = new AdamW({ parameters: model.parameters, launcher, lr: 0 });
  const learner = new Learner(model, optimizer, 4096);
  const options = { ...lossOptions({}, { coefficient: 3 }), head: { classifier: head, labelOf } };
  const before = (await saved(head))[WEIGHT];
  const good = thoughts(before);
  // dL/dW[k] = sum_i (p_ik - [k is the label]) h_i, times coefficient over questions: 1
  const gradient = [0, 1].flatMap((of) =>
    Array.from({ length: C }, (_, c) =>
      hidden.reduce((sum, state, i) => {
        const p = of === 0 ? good[i] : 1 - good[i];
        return sum + (p - Number((i === 1 ? 1 : 0) === of)) * state[c];
      }, 0),
    ),
  );
  const update = async () => {
    head.clearGradient();
    await learner.update(policyObjective(questions, {}, options), 0);
  };
  // what is not cleared would count twice
  await update();
  await update();
  head.step(0.25);
  const state = await saved(head);
  const moments = state[`exp_avg.${WEIGHT}`];
  gradient.forEach((value, at) => {
    expect(moments[at]).toBeCloseTo(0.1 * value, 4);
    // the first step of AdamW moves each weight by the learning rate
    if (Math.abs(value) > 1e-3)
      expect(state[WEIGHT][at] - before[at]).toBeCloseTo(-0.25 * Math.sign(value), 3);
  });
  await expectResume(head);
  for (const one of [head, optimizer]) one.release();
});

/** Another one that was given its checkpoint makes the same step. */
async function expectResume(head: ValueHead): Promise<void> {
  const kept = JSON.parse(JSON.stringify(await head.save()));
  const other = new ValueHead(model, { seed: 5, learningRate: 0.01, maxGradNorm: 0 });
  expect((await saved(other))[WEIGHT]).not.toEqual(kept[WEIGHT]);
  other.restore(kept);
  expect(await saved(other)).toEqual(kept);
  for (const one of [head, other]) {
    one.clearGradient();
    one.step(0.5);
  }
  expect(await saved(other)).toEqual(await saved(head));
  const missing = /\[gcd\] value_head.weight is missing from the checkpoint/;
  for (const wrong of [{}, null]) expect(() => other.restore(wrong)).toThrow(missing);
  // a moment that is missing is told by the optimiser
  const { [WEIGHT]: weight, counter } = kept;
  expect(() => other.restore({ [WEIGHT]: weight })).toThrow("got 0 values for counter");
  expect(() => other.restore({ [WEIGHT]: weight, counter })).toThrow("got 0 values for exp_avg");
  other.release();
}

test("the norm of its gradient is clipped", async () => {
  const norms: number[] = [];
  for (const maxGradNorm of [0, 1e-3]) {
    const head = open(maxGradNorm);
    const optimizer = new AdamW({ parameters: model.parameters, launcher, lr: 0 });
    const options = { ...lossOptions({}, { coefficient: 3 }), head: { classifier: head, labelOf } };
    head.clearGradient();
    await new Learner(model, optimizer, 4096).update(policyObjective(questions, {}, options), 0);
    head.step(0.25);
    norms.push(Math.hypot(...(await saved(head))[`exp_avg.${WEIGHT}`]));
    for (const one of [head, optimizer]) one.release();
  }
  expect(norms[0]).toBeGreaterThan(1e-3);
  expect(norms[1]).toBeCloseTo(1e-4, 6);
});
