/** Means, spreads, quantiles and intervals of shares, in float64. */
import { ArgumentError } from "./errors.js";

/** Arithmetic mean; 0 of nothing. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return values.length === 0 ? 0 : sum / values.length;
}

/** Unbiased (N - 1) standard deviation; exactly 0 of one value, of nothing, and of equal values. */
export function standardDeviation(values: ArrayLike<number>): number {
  if (allEqual(values)) return 0;
  const centre = mean(values);
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += (values[i] - centre) ** 2;
  return Math.sqrt(squares / (values.length - 1));
}

/** Whether all values are the same number: then there is no spread, which rounding in a mean may hide. */
export function allEqual(values: ArrayLike<number>): boolean {
  for (let i = 1; i < values.length; i++) if (values[i] !== values[0]) return false;
  return true;
}

/**
 * Quantile by linear interpolation between the two nearest order statistics, as numpy and R (type 7) do by default.
 * @param share 0 = smallest, 0.5 = median, 1 = largest
 * @throws ArgumentError for no values, or a share outside 0 to 1
 */
export function quantile(values: ArrayLike<number>, share: number): number {
  if (values.length === 0 || !(share >= 0 && share <= 1)) {
    throw new ArgumentError(
      `[statistics] quantile is not defined: got share ${share} of ${values.length} values, expected a share from 0 to ` +
        "1 of at least one value. Pass values.",
    );
  }
  const sorted = Float64Array.from(values).sort();
  const position = share * (sorted.length - 1);
  const below = Math.floor(position);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (position - below) * (sorted[above] - sorted[below]);
}

/** A share of successes with the limits that it lies between. */
export interface ShareInterval {
  readonly share: number;
  readonly low: number;
  readonly high: number;
}

/** Two-sided 95 % quantile of the normal distribution. */
const Z95 = 1.959963984540054;

/**
 * A share with its Wilson score interval: keeps inside 0 to 1 and is right for few trials and for shares near 0 and 1.
 * @param trials 0 gives share 0 and the whole range
 * @param z normal quantile; default for 95 %
 * @source Wilson 1927
 */
export function wilsonInterval(successes: number, trials: number, z = Z95): ShareInterval {
  if (!(successes >= 0 && successes <= trials)) {
    throw new ArgumentError(
      `[statistics] share is impossible: got ${successes} successes of ${trials}, expected 0 to ${trials}. Count again.`,
    );
  }
  if (trials === 0) return { share: 0, low: 0, high: 1 };
  const share = successes / trials;
  const scale = 1 + z ** 2 / trials;
  const centre = (share + z ** 2 / (2 * trials)) / scale;
  const half = (z / scale) * Math.sqrt((share * (1 - share)) / trials + z ** 2 / (4 * trials ** 2));
  // at the ends the limits are 0 and 1 exactly, but for rounding
  return {
    share,
    low: successes === 0 ? 0 : Math.max(0, centre - half),
    high: successes === trials ? 1 : Math.min(1, centre + half),
  };
}

/** Wins of so many episodes. */
interface Count {
  readonly wins: number;
  readonly episodes: number;
}

/**
 * Difference of two independent shares, `of` minus `from`, with an interval made of the two Wilson intervals.
 * @source Newcombe 1998, Statistics in Medicine 17:873, method 10
 */
export function differenceInterval(of: Count, from: Count, z = Z95) {
  const [a, b] = [wilsonInterval(of.wins, of.episodes, z), wilsonInterval(from.wins, from.episodes, z)];
  const difference = a.share - b.share;
  return {
    difference,
    low: difference - Math.hypot(a.share - a.low, b.high - b.share),
    high: difference + Math.hypot(a.high - a.share, b.share - b.low),
  };
}
