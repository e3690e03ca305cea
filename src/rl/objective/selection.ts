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
  /** Places of the rows that it stands for, itself among them. */
  readonly members: readonly number[];
  /** Per answer token: how many of them count it, of which the statistics are means. */
  readonly counts: readonly number[];
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
  readonly members: number[];
  /** Advantage times the row's own token weight. */
  readonly pushes: number[];
  /** Advantage times loss weight. */
  readonly weighted: number[];
  /** The same without its sign. */
  readonly magnitudes: number[];
  readonly weights: number[];
  readonly counts: number[];
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
    const own = weights[index];
    if (!Array.from(own).some((weight) => weight > 0)) return;
    const { prompt, answer, advantage = 0 } = row;
    const key = `${linear ? 0 : Math.sign(advantage)} ${prompt.join()} ${answer.join()}`;
    const sums = joined.get(key) ?? emptySums(answer.length);
    joined.set(key, sums);
    sums.members.push(index);
    for (let t = 0; t < answer.length; t++) {
      sums.pushes[t] += advantage * tokenFactor(row, t);
      sums.weighted[t] += own[t] * advantage;
      sums.magnitudes[t] += Math.abs(own[t] * advantage);
      sums.weights[t] += own[t];
      sums.counts[t] += Number(own[t] > 0);
    }
  });
  const selected: SelectedRow[] = [];
  for (const { members, pushes, weighted, magnitudes, weights: sums, counts } of joined.values()) {
    const [index] = members;
    const advantages = weighted.map((sum, t) =>
      isRounding(sum, magnitudes[t], members.length) ? 0 : sum / sums[t],
    );
    const bound = advantages.some((value) => value !== 0) ? gradientBound(pushes, rows[index].logProbs) : 0;
    if (!everyRowMatters && (bound === 0 || bound < skipBelow)) continue;
    selected.push({ index, advantages, weights: sums, members, counts });
  }
  return selected;
}

function emptySums(length: number): Joined {
  const zeros = () => new Array<number>(length).fill(0);
  return {
    members: [],
    pushes: zeros(),
    weighted: zeros(),
    magnitudes: zeros(),
    weights: zeros(),
    counts: zeros(),
  };
}

/**
 * Whether a sum of `count` numbers is 0 but for rounding: within the error that adding them in float64 can make. What is left
 * of opposite advantages would otherwise be a gradient of some 1e-17, which AdamW makes full steps of.
 * @param magnitude sum of the numbers without their signs
 */
function isRounding(sum: number, magnitude: number, count: number): boolean {
  return Math.abs(sum) <= count * Number.EPSILON * magnitude;
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
