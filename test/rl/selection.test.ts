import { describe, expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { aggregationWeights } from "../../src/core/aggregation.js";
import { Random } from "../../src/core/random.js";
import { mean } from "../../src/core/statistics.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { AdamW } from "../../src/optim/adamw.js";
import { estimateAdvantages } from "../../src/rl/advantages/estimate.js";
import { policyObjective, policyStatistics } from "../../src/rl/objective/policy.js";
import { gradientBound, selectRows, tokenFactor } from "../../src/rl/objective/selection.js";
import type { Row } from "../../src/rl/rows.js";
import { Learner } from "../../src/rl/update/learner.js";
import { lossOptions, unplaced } from "../support/rows.js";
import { testRuntime } from "../support/runtime.js";

const row = (prompt: number[], answer: number[], advantage: number, logProb = -0.7): Row => ({
  ...unplaced,
  prompt,
  answer,
  advantage,
  logProbs: answer.map(() => logProb),
});
const weightsOf = (rows: readonly Row[]) =>
  aggregationWeights(
    "token_mean",
    rows.map(({ answer, mask }) => mask ?? answer.map(() => 1)),
  );
const linear = { everyRowMatters: false, linear: true, skipBelow: 0 };

describe("rows that are selected", () => {
  test("equal rows become one, with the sum of their weights and the mean of their advantages", () => {
    const rows = [row([1, 2], [3], 2), row([1], [2, 3], 1), row([1, 2], [3], -0.5), row([1, 2], [4], 1)];
    const selected = selectRows(rows, weightsOf(rows), linear);
    expect(selected.map(({ index }) => index)).toEqual([0, 1, 3]);
    expect(selected[0].advantages[0]).toBeCloseTo(0.75, 6);
    expect(selected[0].weights[0]).toBeCloseTo(2 / 5, 6);
    expect(selected[1].weights).toHaveLength(2);
    expect(selected.map(({ members, counts }) => [members, counts])).toEqual([
      [[0, 2], [2]],
      [[1], [1, 1]],
      [[3], [1]],
    ]);
  });

  test("a joined row counts each token as often as its rows do", () => {
    const masked = { ...row([1], [2, 3], 1), mask: [0, 1] };
    const rows = [row([1], [2, 3], 1), masked, row([1], [2, 3], 1)];
    expect(selectRows(rows, weightsOf(rows), linear)[0].counts).toEqual([2, 3]);
  });

  test("rows of opposite signs stay apart where clipping tells them apart", () => {
    const rows = [row([1], [3], 2), row([1], [3], -1), row([1], [3], 1)];
    const selected = selectRows(rows, weightsOf(rows), { ...linear, linear: false });
    expect(selected.map(({ index, advantages }) => [index, advantages[0]])).toEqual([
      [0, 1.5],
      [1, -1],
    ]);
  });

  test("rows that cancel, count for nothing or have no advantage are left out, unless every row matters", () => {
    const rows = [row([1], [3], 1), row([1], [3], -1), row([2], [3], 0), { ...row([4], [3], 1), mask: [0] }];
    expect(selectRows(rows, weightsOf(rows), linear)).toEqual([]);
    const all = selectRows(rows, weightsOf(rows), { ...linear, everyRowMatters: true });
    expect(all.map(({ index }) => index)).toEqual([0, 2]);
  });

  test("what only rounding leaves of opposite advantages is nothing, however large they were", () => {
    for (const size of [1, 1234567]) {
      const rows = [0.1, 0.2, -0.3].map((advantage) => row([1], [3], advantage * size));
      const weights = rows.map(() => [1]);
      const left = rows.reduce((sum, { advantage = 0 }) => sum + advantage, 0);
      expect(left).not.toBe(0);
      expect(selectRows(rows, weights, linear)).toEqual([]);
      const [all] = selectRows(rows, weights, { ...linear, everyRowMatters: true });
      expect(all.advantages).toEqual([0]);
    }
    // small and real
    const [small] = selectRows([row([1], [3], 1e-12)], [[1]], linear);
    expect(small.advantages[0]).toBeCloseTo(1e-12, 24);
  });

  test("tokens that a mask leaves out push nothing; a row on the bound is kept", () => {
    expect([0, 1].map((t) => tokenFactor({ mask: [0, 1], weight: [2, 3] }, t))).toEqual([0, 3]);
    expect([tokenFactor({}, 0), tokenFactor({ weight: [2] }, 0), tokenFactor({ mask: [1] }, 0)]).toEqual([
      1, 2, 1,
    ]);
    // all that counts is sure
    const sure = { ...row([1], [2, 3], 1), mask: [0, 1], logProbs: [-9, 0] };
    expect(selectRows([sure], [[0, 1]], linear)).toEqual([]);
    const unknown = { ...row([1], [3], 0.5), logProbs: undefined };
    expect(selectRows([unknown], [[1]], { ...linear, skipBelow: 0.5 })).toHaveLength(1);
    expect(selectRows([unknown], [[1]], { ...linear, skipBelow: 0.51 })).toEqual([]);
  });

  test("a row counts where one of its tokens does, though the others cancel", () => {
    const rows = [row([1], [2, 3], 1), { ...row([1], [2, 3], -1), mask: [0, 1] }];
    const [kept, ...rest] = selectRows(
      rows,
      [
        [1, 1],
        [0, 1],
      ],
      linear,
    );
    expect(kept).toMatchObject({ index: 0, advantages: [1, 0], members: [0, 1], counts: [1, 2] });
    expect(rest).toEqual([]);
  });

  test("sure rows fall below the bound", () => {
    expect(gradientBound([-2, -2], [Math.log(0.7), Math.log(0.6)])).toBeCloseTo(2 * Math.hypot(0.3, 0.4), 12);
    const rows = [row([1], [3], 1, Math.log(0.99)), row([2], [3], 1, Math.log(0.5))];
    const selected = selectRows(rows, weightsOf(rows), { ...linear, skipBelow: 0.05 });
    expect(selected.map(({ index }) => index)).toEqual([1]);
  });
});

const binomial = (n: number, k: number, p: number): number => {
  let ways = 1;
  for (let i = 0; i < k; i++) ways = (ways * (n - i)) / (i + 1);
  return ways * p ** k * (1 - p) ** (n - k);
};

/**
 * What `skipBelow` costs: one decision, at which the policy does the sure thing with p = 0.97, in groups of 8 episodes that reach
 * it with other histories, so that no two rows are equal. The sure thing succeeds in 10 %, the other in 13 %: the policy
 * gradient must make it less likely.
 * @returns exact expectation of the derivative by the logit of the sure thing, of one group
 */
function pushOfSureThing(skipBelow: number): number {
  const [sure, success, otherSuccess, size] = [0.97, 0.1, 0.13, 8];
  let push = 0;
  for (let others = 0; others <= size; others++) {
    for (let wins = 0; wins <= size - others; wins++) {
      for (let otherWins = 0; otherWins <= others; otherWins++) {
        const chance =
          binomial(size, others, 1 - sure) *
          binomial(size - others, wins, success) *
          binomial(others, otherWins, otherSuccess);
        const isSure = (episode: number) => episode >= others;
        const outcome = (episode: number) =>
          Number(isSure(episode) ? episode - others < wins : episode < otherWins);
        const { total } = estimateAdvantages(
          Array.from({ length: size }, (_, episode) => ({
            ...unplaced,
            episode,
            outcome: outcome(episode),
            stepReward: 0,
            valid: true,
          })),
          { algo: "grpo" },
        );
        const rows = Array.from(total, (advantage, episode) =>
          row([episode], [1], advantage, Math.log(isSure(episode) ? sure : 1 - sure)),
        );
        for (const { index, advantages } of selectRows(rows, weightsOf(rows), { ...linear, skipBelow }))
          push += chance * advantages[0] * (isSure(index) ? 1 - sure : -sure);
      }
    }
  }
  return push;
}

test("leaving sure rows out is biased: it keeps their rare successes alone, and turns the gradient around", () => {
  const [all, biased] = [pushOfSureThing(0), pushOfSureThing(0.05)];
  expect(all).toBeLessThan(-0.005);
  expect(biased).toBeGreaterThan(0.005);
});

test("statistics of joined rows are those of every row by itself", async () => {
  const launcher = new Launcher(await testRuntime());
  const config = presetConfig("nano", 16);
  const parameters = new FlatParameters(launcher.runtime, storedShapes(config));
  const model = new Qwen2Model(launcher, config, parameters);
  model.initialise(Random.of(1, "weights"));
  const optimizer = new AdamW({ parameters, launcher, lr: 0 });
  const rows = [row([1, 2], [3, 4], 1), row([1, 2], [3, 4], 2), row([5], [6], 1), row([1, 2], [3, 4], 3)];
  const reference = rows.map(({ answer }) => Float32Array.from(answer, (token) => -0.5 * token));
  const learner = new Learner(model, optimizer, 4096);
  const scores = await learner.score(rows, 1);
  const old = scores.map((values) => values.map((value) => value - 0.4));
  const objective = policyObjective(rows, { old, reference }, lossOptions({ beta: 0.1, clipHigh: 0.2 }));
  expect(objective.selected).toHaveLength(2);
  const { policy } = policyStatistics((await learner.update(objective, 0)).stats);
  const gaps = rows.flatMap((_, r) => [...scores[r]].map((value, t) => reference[r][t] - value));
  expect(policy.tokens).toBe(7);
  expect(policy.referenceKl).toBeCloseTo(mean(gaps.map((d) => Math.expm1(d) - d)), 4);
  expect(policy.approximateKl).toBeCloseTo(Math.exp(0.4) - 1 - 0.4, 4);
  expect(policy.clipFractionHigh).toBe(1);
  optimizer.release();
  model.release();
  parameters.release();
});

const options = lossOptions({});

test("one pass over the sum of equal rows gives the gradient of all of them", async () => {
  const launcher = new Launcher(await testRuntime());
  const config = presetConfig("nano", 16);
  const gradientOf = async (rows: readonly Row[]) => {
    const model = new Qwen2Model(
      launcher,
      config,
      new FlatParameters(launcher.runtime, storedShapes(config)),
    );
    model.initialise(Random.of(1, "weights"));
    const optimizer = new AdamW({ parameters: model.parameters, launcher, lr: 0 });
    const objective = policyObjective(rows, {}, options);
    await new Learner(model, optimizer, 4096).update(objective, 0);
    const computedRows = objective.rows.length;
    const gradient = Array.from(await model.parameters.readGradient("model.layers.0.mlp.up_proj.weight"));
    optimizer.release();
    model.release();
    model.parameters.release();
    return { computedRows, gradient };
  };
  const same = (advantage: number) => row([1, 2, 3], [4, 5], advantage);
  const joined = await gradientOf([same(1), same(-0.25), same(2), row([1, 2], [3], -1)]);
  expect(joined.computedRows).toBe(2);
  // the same sum, from rows that differ in a token of which the gradient does not depend: none are joined
  const apart = [
    await gradientOf([same(1), row([1, 2], [3], -1)]),
    await gradientOf([same(-0.25), row([1, 2], [3], -1)]),
    await gradientOf([same(2), row([1, 2], [3], -1)]),
    await gradientOf([row([1, 2], [3], -1)]),
  ];
  // each call divides by its own number of answer tokens: 3, 3, 3 and 1; all together have 7
  const [first, second, third, last] = apart.map(({ gradient }) => gradient);
  const largest = Math.max(...joined.gradient.map(Math.abs));
  joined.gradient.forEach((value, i) => {
    const sum = (3 * (first[i] + second[i] + third[i]) - 2 * last[i]) / 7;
    expect(Math.abs(value - sum)).toBeLessThan(1e-5 * largest + 1e-7);
  });
});
