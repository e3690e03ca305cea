/** Which rows of an update are worth a forward and backward pass, and which of them say the same. */
import type { PolicyRow } from "../rows.js";

/** A row to compute, in the place of every row with its prompt and answer. */
export interface SelectedRow {
  /** Its place among the rows given. */
  readonly index: number;
  /** Mean advantage of the rows it stands for, weighted as the loss weighs them. */
  readonly advantage: number;
  /** Loss weight of each answer token: the sum over those rows. */
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

interface Pile {
  readonly index: number;
  /** Sum of the advantages. */
  total: number;
  weighted: number;
  readonly weights: number[];
}

/**
 * Joins rows of equal prompt and answer, which early steps of a group's episodes often are: their gradients differ by a
 * factor only, so one pass over their sum gives the same update. Then leaves out rows with next to no gradient.
 * @param weights loss weights of the answer tokens, row by row; rows of weight 0 are left out
 * @returns in the order in which the rows first come
 * @source ours
 */
export function selectRows(
  rows: readonly PolicyRow[],
  weights: readonly ArrayLike<number>[],
  { everyRowMatters, linear, skipBelow }: SelectionOptions,
): SelectedRow[] {
  const piles = new Map<string, Pile>();
  rows.forEach(({ prompt, answer, advantage }, index) => {
    const weight = weights[index][0];
    if (!(weight > 0)) return;
    const sign = linear ? 0 : Math.sign(advantage);
    const key = `${sign} ${prompt.join()} ${answer.join()}`;
    const pile = piles.get(key);
    if (!pile) {
      piles.set(key, {
        index,
        total: advantage,
        weighted: weight * advantage,
        weights: Array.from(weights[index]),
      });
      return;
    }
    pile.total += advantage;
    pile.weighted += weight * advantage;
    pile.weights.forEach((_, t) => {
      pile.weights[t] += weights[index][t];
    });
  });
  const selected: SelectedRow[] = [];
  for (const { index, total, weighted, weights: sums } of piles.values()) {
    const bound = gradientBound(total, rows[index].sampledLogProbs);
    if (!everyRowMatters && (bound === 0 || bound < skipBelow)) continue;
    selected.push({ index, advantage: weighted / sums[0], weights: sums });
  }
  return selected;
}

/**
 * |A| sqrt(sum_t (1 - p_t)^2) over the answer's tokens. The derivative of log p by the logits has a norm between 1 - p and
 * sqrt(2) (1 - p): sure tokens hardly move the policy, whatever their advantage.
 */
export function gradientBound(advantage: number, logProbs: readonly number[]): number {
  return Math.abs(advantage) * Math.hypot(...logProbs.map((value) => 1 - Math.exp(value)));
}
