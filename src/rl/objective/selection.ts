/** Which rows of an update are worth a forward and backward pass, and which of them say the same. */
import type { Row } from "../rows.js";

/** A row to compute, in the place of every row with its prompt and answer. */
export interface SelectedRow {
  /** Its place among the rows given. */
  readonly index: number;
  /** Per answer token: mean advantage of the rows it stands for, weighted as the loss weighs them. */
  readonly advantages: readonly number[];
  /** Per answer token: loss weight, the sum over those rows. */
  readonly weights: readonly number[];
}

export interface SelectionOptions {
  /** Every row moves the parameters, whatever its advantage: there is a KL or entropy term. */
  readonly everyRowMatters: boolean;
  /**
   * The importance ratio is 1 throughout, so the loss is linear in the advantage and rows of opposite signs may be added.
   * Otherwise clipping treats the signs differently, and only rows of equal sign are joined.
   */
  readonly linear: boolean;
  /** Rows are left out when `gradientBound` is below it; 0 leaves out those that cannot move a parameter. */
  readonly skipBelow: number;
}

/** Rows of equal prompt and answer. Per answer token: sums over them. */
interface Joined {
  readonly index: number;
  /** Advantage times the row's own token weight. */
  readonly pushes: number[];
  /** Advantage times loss weight. */
  readonly weighted: number[];
  readonly weights: number[];
}

/** A row's own factor of a token: its weight where its mask counts it. */
export function tokenFactor({ mask, weight }: Pick<Row, "mask" | "weight">, t: number): number {
  return (mask?.[t] ?? 1) > 0 ? (weight?.[t] ?? 1) : 0;
}

/**
 * Joins rows of equal prompt and answer, which early steps of a group's episodes often are: their gradients differ by a
 * factor only, so one pass over their sum gives the same update. Then leaves out rows with next to no gradient.
 * @param weights loss weights of the answer tokens, row by row; rows without a positive one are left out
 * @returns in the order in which the rows first come
 * @source ours
 */
export function selectRows(
  rows: readonly Row[],
  weights: readonly ArrayLike<number>[],
  { everyRowMatters, linear, skipBelow }: SelectionOptions,
): SelectedRow[] {
  const joined = new Map<string, Joined>();
  rows.forEach((row, index) => {
    const own = Array.from(weights[index]);
    if (!own.some((weight) => weight > 0)) return;
    const { prompt, answer, advantage = 0 } = row;
    const key = `${linear ? 0 : Math.sign(advantage)} ${prompt.join()} ${answer.join()}`;
    const known = joined.get(key);
    const pushes = own.map((_, t) => advantage * tokenFactor(row, t));
    const weighted = own.map((weight) => weight * advantage);
    if (!known) {
      joined.set(key, { index, pushes, weighted, weights: own });
      return;
    }
    own.forEach((weight, t) => {
      known.pushes[t] += pushes[t];
      known.weighted[t] += weighted[t];
      known.weights[t] += weight;
    });
  });
  const selected: SelectedRow[] = [];
  for (const { index, pushes, weighted, weights: sums } of joined.values()) {
    const bound = gradientBound(pushes, rows[index].logProbs);
    if (!everyRowMatters && (bound === 0 || bound < skipBelow)) continue;
    const advantages = weighted.map((sum, t) => (sums[t] > 0 ? sum / sums[t] : 0));
    selected.push({ index, advantages, weights: sums });
  }
  return selected;
}

/**
 * sqrt(sum_t A_t^2 (1 - p_t)^2) over the answer's tokens. The derivative of log p by the logits has a norm between 1 - p and
 * sqrt(2) (1 - p): sure tokens hardly move the policy, whatever their advantage.
 * @param pushes A_t
 * @param logProbs log p_t as sampled; absent: nothing is known, p counts as 0
 */
export function gradientBound(pushes: readonly number[], logProbs: readonly number[] | undefined): number {
  return Math.hypot(...pushes.map((push, t) => push * (logProbs ? 1 - Math.exp(logProbs[t]) : 1)));
}
