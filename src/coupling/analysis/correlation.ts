/** Correlation of two lists of numbers: of values, and of ranks. */
import { allEqual, mean } from "../../core/statistics.js";
import { requireFinite, requireLength } from "./checks.js";

/**
 * Pearson's r = sum (a - mean a)(b - mean b) / sqrt(sum (a - mean a)^2 sum (b - mean b)^2).
 * @returns null for fewer than two values, or when one list is constant
 * @throws ArgumentError for lists of different length and numbers that are not finite
 */
export function pearson(a: ArrayLike<number>, b: ArrayLike<number>): number | null {
  requireLength("the second list", b, a.length);
  requireFinite("the first list", a);
  requireFinite("the second list", b);
  if (a.length < 2 || allEqual(a) || allEqual(b)) return null;
  const [centreA, centreB] = [mean(a), mean(b)];
  let [products, squaresA, squaresB] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    products += (a[i] - centreA) * (b[i] - centreB);
    squaresA += (a[i] - centreA) ** 2;
    squaresB += (b[i] - centreB) ** 2;
  }
  return Math.max(-1, Math.min(1, products / (Math.sqrt(squaresA) * Math.sqrt(squaresB))));
}

/** Spearman's rank correlation: Pearson's r of the ranks, equal values sharing the mean of their ranks. Null as `pearson`. */
export function spearman(a: ArrayLike<number>, b: ArrayLike<number>): number | null {
  return pearson(ranks(a), ranks(b));
}

/** Ranks from 1 on, smallest first; equal values share the mean of the ranks they take up. */
export function ranks(values: ArrayLike<number>): Float64Array {
  requireFinite("a list", values);
  const order = Array.from(values, (_, i) => i).sort((i, j) => values[i] - values[j]);
  const result = new Float64Array(values.length);
  for (let first = 0; first < order.length; ) {
    let end = first + 1;
    while (end < order.length && values[order[end]] === values[order[first]]) end++;
    for (let at = first; at < end; at++) result[order[at]] = (first + 1 + end) / 2;
    first = end;
  }
  return result;
}
