/** A KL penalty in the reward instead of the loss. */
import { ArgumentError } from "../../core/errors.js";
import { groupBy } from "../../core/group_by.js";
import type { Identity } from "./table.js";

/** Estimates per token, with d = reference - policy log-probability: -d, d^2 / 2, exp(d) - d - 1. */
export type KlEstimate = "k1" | "k2" | "k3";

/** Log-probabilities of an answer's tokens, natural logarithms, both by the same pass of the trainer. */
export interface ScoredAnswer {
  /** Under the policy that sampled. */
  readonly logProbs: ArrayLike<number>;
  readonly referenceLogProbs: ArrayLike<number>;
}

/**
 * Sum over an answer's tokens of an estimate of KL(policy || reference).
 * @throws ArgumentError when the two differ in length
 * @source Schulman 2020
 */
export function answerKl({ logProbs, referenceLogProbs }: ScoredAnswer, estimate: KlEstimate): number {
  if (logProbs.length !== referenceLogProbs.length) {
    throw new ArgumentError(
      `[kl_reward] log-probabilities differ in length: got ${logProbs.length} and ${referenceLogProbs.length}, expected ` +
        "one of each a token. Score the same answer.",
    );
  }
  let sum = 0;
  for (let t = 0; t < logProbs.length; t++) {
    const d = referenceLogProbs[t] - logProbs[t];
    if (estimate === "k1") sum -= d;
    else if (estimate === "k2") sum += (d * d) / 2;
    else sum += Math.expm1(d) - d;
  }
  return sum;
}

/** Mean of the estimate over all tokens of some answers; 0 of none. */
export function meanTokenKl(answers: readonly ScoredAnswer[], estimate: KlEstimate): number {
  const tokens = answers.reduce((sum, { logProbs }) => sum + logProbs.length, 0);
  const kl = answers.reduce((sum, answer) => sum + answerKl(answer, estimate), 0);
  return tokens === 0 ? 0 : kl / tokens;
}

/** Rewards of a row, and the KL of its answer. */
export interface RewardedRow {
  readonly group: Identity;
  readonly episode: Identity;
  readonly outcome: number;
  readonly stepReward: number;
  readonly kl: number;
}

/**
 * Rewards with the KL penalty in them: a step's reward loses `coefficient` times the KL of its answer, and the outcome of an
 * episode loses what all its steps lose, so that every row of an episode still has one outcome.
 * @returns columns for `estimateAdvantages`, in the order of the rows
 * @source verl: algorithm.use_kl_in_reward, for an answer; the sum over the steps of an episode is ours
 */
export function rewardsWithKl(
  rows: readonly RewardedRow[],
  coefficient: number,
): { readonly outcome: number; readonly stepReward: number }[] {
  const episodes = groupBy(rows, ({ group, episode }) => JSON.stringify([group, episode]));
  const lost = new Map<string, number>();
  for (const [key, steps] of episodes)
    lost.set(
      key,
      steps.reduce((sum, { kl }) => sum + kl, 0),
    );
  return rows.map(({ group, episode, outcome, stepReward, kl }) => ({
    outcome: outcome - coefficient * (lost.get(JSON.stringify([group, episode])) as number),
    stepReward: stepReward - coefficient * kl,
  }));
}
