/** Token-level remedies, selection of groups, overlong answers, KL in the reward. */
import { describe, expect, test } from "vitest";
import type { LastLayerSample } from "../../src/coupling/analysis/last_layer.js";
import { answerKl, rewardsWithKl } from "../../src/rl/advantages/kl_reward.js";
import { overlongPenalty, selectGroups } from "../../src/rl/advantages/selection.js";
import {
  conflictTokenWeights,
  type NthrOptions,
  nthrEta,
  nthrTokenWeights,
} from "../../src/rl/advantages/token_weights.js";

describe("conflict tokens", () => {
  const row = (advantage: number, answer: number[], group = 0) => ({ advantage, answer, group });

  test("equal tokens at equal positions of opposite signs: amplified above, skipped below", () => {
    const rows = [row(1, [5, 6, 7]), row(-0.5, [5, 8, 7, 9]), row(0, [5, 6]), row(-1, [6, 5])];
    const weights = conflictTokenWeights(rows).map((values) => [...values]);
    expect(weights).toEqual([
      [2, 1, 2],
      [0, 1, 0, 1],
      [1, 1],
      [1, 1],
    ]);
    const own = conflictTokenWeights(rows, { positive: 1, negative: 0.5 }).map((values) => [...values]);
    expect(own[1]).toEqual([0.5, 1, 0.5, 1]);
  });

  test("answers of other groups, and of one sign only, have no conflict", () => {
    expect(conflictTokenWeights([row(1, [5]), row(-1, [5], 1), row(2, [5])]).map(([value]) => value)).toEqual(
      [1, 1, 1],
    );
  });
});

describe("NTHR", () => {
  /** One token after one hidden state. */
  const answer = (id: number, hidden: number[]): LastLayerSample => ({
    tokens: [id],
    hidden,
    distributions: [{ ids: [0, 1, 2], probabilities: [0.4, 0.4, 0.2] }],
  });

  test("tokens of punished answers that pull good answers down are spared", () => {
    const positives = [answer(0, [1, 0]), answer(0, [1, 0.5])];
    // the same token in the same place; the same token elsewhere; another token
    const negative: LastLayerSample = {
      tokens: [0, 0, 1],
      hidden: [1.5, 0.2, 0, -1, 1, 0],
      distributions: Array.from({ length: 3 }, () => positives[0].distributions[0]),
    };
    const weights = (options: NthrOptions, good = positives) =>
      nthrTokenWeights(good, [negative], options).map((values) => [...values]);
    expect(weights({})).toEqual([[0, 1, 1]]);
    expect(weights({ eta: 0.25 })).toEqual([[0.25, 1, 1]]);
    expect(weights({ beta: 10 })).toEqual([[1, 1, 1]]);
    expect(weights({}, [])).toEqual([[1, 1, 1]]);
    // two of three are good: 2 |0.5 - 2/3|
    expect(weights({ eta: null })[0][0]).toBeCloseTo(1 / 3, 12);
    expect([nthrEta(0.5), nthrEta(0.875), nthrEta(0)]).toEqual([0, 0.75, 1]);
  });
});

describe("dynamic sampling", () => {
  const group = (id: number, ...outcomes: number[]) => outcomes.map((outcome) => ({ group: id, outcome }));

  test("keeps groups with contrast, in order, up to as many as wanted", () => {
    const sampled = [
      ...group(4, 1, 0),
      ...group(2, 0, 0),
      ...group(7, 10),
      ...group(1, 0, 0, 5),
      ...group(3, 1, 2),
    ];
    expect(selectGroups(sampled, 2)).toEqual({ kept: [4, 1], dropped: [2, 7], missing: 0 });
    expect(selectGroups(sampled, 5)).toEqual({ kept: [4, 1, 3], dropped: [2, 7], missing: 2 });
    expect(selectGroups([], 1)).toEqual({ kept: [], dropped: [], missing: 1 });
    expect(() => selectGroups(sampled, 0)).toThrow(/wanted is out of range/);
  });

  test("overlong answers lose evenly over the buffer", () => {
    expect([5, 8, 9, 10, 12].map((length) => overlongPenalty(length, 10, 2))).toEqual([0, 0, 0.5, 1, 1]);
    expect(() => overlongPenalty(1, 10, 0)).toThrow(/buffer is out of range/);
    expect(() => overlongPenalty(1, 10, 11)).toThrow(/buffer is out of range/);
  });
});

describe("KL in the reward", () => {
  test("estimates add up over the tokens of an answer", () => {
    const answer = { logProbs: [-1, -2], referenceLogProbs: [-1.5, -1] };
    expect(answerKl(answer, "k1")).toBeCloseTo(0.5 - 1, 12);
    expect(answerKl(answer, "k2")).toBeCloseTo(0.125 + 0.5, 12);
    expect(answerKl(answer, "k3")).toBeCloseTo(Math.exp(-0.5) + 0.5 - 1 + Math.E - 1 - 1, 12);
    expect(() => answerKl({ logProbs: [0], referenceLogProbs: [] }, "k1")).toThrow(/differ in length/);
  });

  test("a step loses its own KL, an episode that of all its steps", () => {
    const row = { group: 0, episode: 0, outcome: 10, stepReward: 1, kl: 2 };
    const rows = [row, { ...row, stepReward: 0, kl: 4 }, { ...row, episode: 1, kl: 1 }];
    expect(rewardsWithKl(rows, 0.5)).toEqual([
      { outcome: 7, stepReward: 0 },
      { outcome: 7, stepReward: -2 },
      { outcome: 9.5, stepReward: 0.5 },
    ]);
  });
});
