import { describe, expect, test } from "vitest";
import {
  directAdvantage,
  judgeQuality,
  sampledAdvantages,
  verdictEntropy,
  verdictReward,
} from "../../src/rl/gcd/verdicts.js";
import { afterUpdate, WEIGHT_START, weightOf } from "../../src/rl/gcd/weight.js";

/** Gradient by the logits of E[(reward - mean) / sigma log pi], summed over all tokens. */
function expectedGradient(probabilities: readonly number[], label: number, standardise: boolean): number[] {
  const p = probabilities[label];
  const sigma = standardise ? Math.sqrt(p * (1 - p)) : 1;
  return probabilities.map((_, logit) =>
    probabilities.reduce((sum, pi, token) => {
      const advantage = (Number(token === label) - p) / sigma;
      return sum + pi * advantage * (Number(token === logit) - probabilities[logit]);
    }, 0),
  );
}

describe("verdicts", () => {
  test("one row of the right verdict has the exact expected gradient over all tokens", () => {
    const probabilities = [0.2, 0.1, 0.45, 0.25];
    for (const label of [0, 1]) {
      for (const standardise of [true, false]) {
        const advantage = directAdvantage(probabilities[label], "grpo", standardise);
        const exact = expectedGradient(probabilities, label, standardise);
        exact.forEach((value, logit) => {
          const ours = advantage * (Number(logit === label) - probabilities[logit]);
          expect(ours).toBeCloseTo(value, 3);
        });
      }
    }
  });

  test("cross entropy has a gradient where the verdict is never right, GRPO nearly none; mixed is between", () => {
    expect(directAdvantage(1e-8, "ce", true)).toBe(1);
    expect(directAdvantage(1e-8, "grpo", true)).toBeLessThan(1e-3);
    expect(directAdvantage(0.5, "mixed", false)).toBeCloseTo(0.75, 12);
    // a spread of 0 divides by 1e-4
    expect(directAdvantage(1, "grpo", true)).toBeCloseTo(10_000, 6);
  });

  test("four sampled verdicts of which one is wrong", () => {
    const rewards = (["good", "good", "good", "bad"] as const).map((said) => verdictReward(said, "good", 0));
    [0.5, 0.5, 0.5, -1.5].forEach((value, at) => {
      expect(sampledAdvantages(rewards, true)[at]).toBeCloseTo(value, 3);
    });
    expect(sampledAdvantages([1, 1, 1], true)).toEqual([0, 0, 0]);
    expect(sampledAdvantages([1, 0], false)).toEqual([0.5, -0.5]);
    expect(verdictReward(undefined, "bad", 0.25)).toBe(-0.25);
  });

  test("balanced accuracy does not reward one answer to everything", () => {
    const answers = [
      { label: "good", said: "good" },
      { label: "good", said: "good" },
      { label: "good", said: "good" },
      { label: "bad", said: "good" },
    ] as const;
    expect(judgeQuality(answers)).toEqual({
      balancedAccuracy: 0.5,
      recall: { good: 1, bad: 0 },
      questions: 4,
    });
    // a wrong answer counts for the class that was asked about
    const [right, , , wrong] = answers;
    const mixed = [right, right, { label: "good", said: "bad" }, { label: "bad", said: "bad" }] as const;
    expect(judgeQuality(mixed)).toMatchObject({ recall: { good: 2 / 3, bad: 1 } });
    expect(judgeQuality([right, wrong, { label: "bad", said: undefined }])).toMatchObject({
      recall: { good: 1, bad: 0 },
    });
    expect(judgeQuality(answers.slice(0, 3))).toBeUndefined();
    expect(judgeQuality(answers.slice(3))).toBeUndefined();
  });

  test("entropy of a verdict: the mass of other tokens is left out", () => {
    expect(verdictEntropy({ good: 0.2, bad: 0.2 })).toBeCloseTo(Math.LN2, 12);
    expect(verdictEntropy({ good: 0.3, bad: 0 })).toBe(0);
  });
});

test("lambda rises, stays, ends when the judge is good, and comes back when it is not", () => {
  const options = { lambda: 0.5, warmup: 2, stopAbove: 0.9, patience: 2 };
  let state = WEIGHT_START;
  const weights = [0.5, 0.95, 0.95, 0.95, 0.6, 0.6].map((accuracy) => {
    const weight = weightOf(state, options);
    state = afterUpdate(state, accuracy, options);
    return weight;
  });
  expect(weights).toEqual([0.25, 0.5, 0.5, 0, 0, 0.5]);
  expect(weightOf(WEIGHT_START, { ...options, warmup: 0 })).toBe(0.5);
  // never with 1, and not where the accuracy is the limit itself
  expect(afterUpdate(WEIGHT_START, 1, { ...options, stopAbove: 1 })).toEqual({ updates: 1, solved: 0 });
});
