/** What leaving one sample out of an update does to the others: the prediction, and how well it holds. */
import { ArgumentError } from "../../core/errors.js";
import { requireGram } from "./checks.js";
import { pearson, spearman } from "./correlation.js";
import { type InfluenceOptions, sampleScales } from "./influence.js";

/**
 * First-order difference in the change of every log-probability when sample `left` is taken out of the update and all else,
 * the normaliser included, stays: -eta w_i A_i K_ij for i = left.
 * @returns [N]
 * @throws ArgumentError for sizes that differ or a sample that does not exist
 * @source ours
 */
export function leaveOneOutPrediction(
  gram: ArrayLike<number>,
  advantages: ArrayLike<number>,
  left: number,
  options: InfluenceOptions = {},
): Float64Array {
  const count = advantages.length;
  requireGram(gram, count);
  if (!(Number.isInteger(left) && left >= 0 && left < count)) {
    throw new ArgumentError(
      `[coupling] no such sample to leave out: got ${left}, expected 0 to ${count - 1}. Pass an index of the batch.`,
    );
  }
  const scale = sampleScales(advantages, options)[left];
  // 0 - x: an absent influence is 0, not -0
  return Float64Array.from({ length: count }, (_, j) => 0 - scale * gram[left * count + j]);
}

/** Predicted against realised changes. */
export interface Agreement {
  readonly count: number;
  /** Pearson's r; null when one side is constant. */
  readonly correlation: number | null;
  readonly rankCorrelation: number | null;
  /** Share of the changes that are not 0 whose sign was predicted; null without one. */
  readonly signAgreement: number | null;
  /** Least-squares slope through 0 of realised over predicted: 1 where first order is enough; null when all predicted are 0. */
  readonly slope: number | null;
}

/** How well predicted changes of log-probability agree with measured ones. */
export function agreement(predicted: ArrayLike<number>, realised: ArrayLike<number>): Agreement {
  const correlation = pearson(predicted, realised);
  const moved = Array.from(realised, (_, i) => i).filter((i) => realised[i] !== 0);
  const same = moved.filter((i) => Math.sign(realised[i]) === Math.sign(predicted[i]));
  let [products, squares] = [0, 0];
  for (let i = 0; i < predicted.length; i++) {
    products += predicted[i] * realised[i];
    squares += predicted[i] ** 2;
  }
  return {
    count: predicted.length,
    correlation,
    rankCorrelation: spearman(predicted, realised),
    signAgreement: moved.length === 0 ? null : same.length / moved.length,
    slope: squares === 0 ? null : products / squares,
  };
}
