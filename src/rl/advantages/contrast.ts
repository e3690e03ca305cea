/** Comparing the members of one statistic group with each other: the one place where means and spreads are taken. */
import { allEqual, mean, standardDeviation } from "../../core/statistics.js";
import type { ResolvedOptions } from "./options.js";

/** What members are compared by: a reward, and an amount taken from it. */
export interface Scored {
  readonly reward: number;
  readonly penalty: number;
}

/** A member's deviation from its group, in the two parts that it is made of. */
export interface Deviation {
  readonly reward: number;
  readonly penalty: number;
}

export interface Contrast {
  /** Deviation of a member, or of another row that is held against the same members. */
  of(member: Scored): Deviation;
}

/** No contrast: everybody gets exactly 0. */
export const NO_CONTRAST: Contrast = { of: () => ({ reward: 0, penalty: 0 }) };

/** Standard deviation as the options say; 0 of fewer than two values, and of equal ones. */
export function spread(values: readonly number[], std: ResolvedOptions["std"]): number {
  const unbiased = standardDeviation(values);
  return std === "unbiased" ? unbiased : unbiased * Math.sqrt(Math.max(0, values.length - 1) / values.length);
}

/**
 * A_i = (score_i - mean score) / divisor with score = reward - penalty, as the sum of the two parts
 * (reward_i - mean reward) / divisor and (mean penalty - penalty_i) / divisor. A single member and members of equal
 * scores have no contrast; equality is tested on the values themselves, since a mean may not round to them.
 * @param divisor of the scores of the members; `isDead` tells that their rewards are all equal
 */
export function contrast(
  members: readonly Scored[],
  divisor: (scores: readonly number[], isDead: boolean) => number,
): Contrast {
  const rewards = members.map(({ reward }) => reward);
  const penalties = members.map(({ penalty }) => penalty);
  const scores = members.map(({ reward, penalty }) => reward - penalty);
  // one alone is equal to all
  if (allEqual(scores)) return NO_CONTRAST;
  const isDead = allEqual(rewards);
  const scale = divisor(scores, isDead);
  const rewardCentre = isDead ? rewards[0] : mean(rewards);
  const penaltyCentre = allEqual(penalties) ? penalties[0] : mean(penalties);
  return {
    of: ({ reward, penalty }) => ({
      reward: (reward - rewardCentre) / scale,
      penalty: (penaltyCentre - penalty) / scale,
    }),
  };
}
