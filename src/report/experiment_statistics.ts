/** Intervals and paired differences over the seeds of an experiment. */
import { Random } from "../core/random.js";
import { mean, quantile, standardDeviation, wilsonInterval } from "../core/statistics.js";
import {
  type ExperimentResult,
  type SplitResult,
  WITH_INSTRUCTIONS,
  type WinCount,
} from "./experiment_rows.js";

/** A mean with its 95 % interval. */
export interface Estimate {
  readonly value: number;
  /** Null where the data tell nothing about it. */
  readonly low: number | null;
  readonly high: number | null;
  readonly seeds: number;
}

/** Student's t, two-sided 95 %, by degrees of freedom from 1 on. @source any table of the distribution */
const T95 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131,
  2.12, 2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
];
const Z95 = 1.959964;

function tQuantile(freedom: number): number {
  // first terms of the expansion around the normal quantile: right to 0.001 from 31 degrees on
  return T95[freedom - 1] ?? Z95 + (Z95 ** 3 + Z95) / (4 * freedom);
}

/** Mean of one value a seed with Student's t interval; no interval for a single seed. */
export function tEstimate(values: readonly number[]): Estimate {
  const value = mean(values);
  const seeds = values.length;
  if (seeds < 2) return { value, low: null, high: null, seeds };
  const half = (tQuantile(seeds - 1) * standardDeviation(values)) / Math.sqrt(seeds);
  return { value, low: value - half, high: value + half, seeds };
}

/**
 * Success with its 95 % interval. One seed: Wilson's, about its episodes. Several seeds: Student's t over the seeds' shares, about
 * other seeds of training, cut to 0 to 1 and nowhere inside Wilson's interval about the episodes, which all seeds have in common:
 * seeds that agree by chance, such as none that ever wins, would claim to be sure.
 * @param counts one for each seed; those without episodes are left out
 */
export function successEstimate(counts: readonly WinCount[]): Estimate | undefined {
  const played = counts.filter(({ episodes }) => episodes > 0);
  if (played.length === 0) return undefined;
  if (played.length === 1) {
    const [{ wins, episodes }] = played;
    const { share, low, high } = wilsonInterval(wins, episodes);
    return { value: share, low, high, seeds: 1 };
  }
  const { value, low, high, seeds } = tEstimate(played.map(({ wins, episodes }) => wins / episodes));
  const episodes = mean(played.map((count) => count.episodes));
  const once = wilsonInterval(value * episodes, episodes);
  return {
    value,
    low: Math.max(0, Math.min(low as number, once.low)),
    high: Math.min(1, Math.max(high as number, once.high)),
    seeds,
  };
}

/** Resamples of a bootstrap interval. */
const RESAMPLES = 10_000;

/**
 * Mean of differences, one a seed, with a percentile bootstrap interval over seeds: the same numbers give the same interval. No
 * interval for a single seed. With few seeds it is too narrow (with five, about 85 % for what is called 95 %).
 */
function bootstrapEstimate(differences: readonly number[]): Estimate {
  const seeds = differences.length;
  const value = mean(differences);
  if (seeds < 2) return { value, low: null, high: null, seeds };
  const random = Random.of(0, "bootstrap", seeds);
  const means = Float64Array.from({ length: RESAMPLES }, () => {
    let sum = 0;
    for (let i = 0; i < seeds; i++) sum += random.pick(differences);
    return sum / seeds;
  });
  return { value, low: quantile(means, 0.025), high: quantile(means, 0.975), seeds };
}

/** The results of each cell, in the order of their first appearance, seeds in the order of the file. */
export function byCell(results: readonly ExperimentResult[]): Map<string, ExperimentResult[]> {
  const cells = new Map<string, ExperimentResult[]>();
  for (const result of results) cells.set(result.cell, [...(cells.get(result.cell) ?? []), result]);
  return cells;
}

export function splitOf(result: ExperimentResult, split: string, mode: string): SplitResult | undefined {
  return result.splits.find((one) => one.split === split && one.mode === mode);
}

/** The success of a result in a mode; where it was not played with instructions, without them. */
export function successOf(result: ExperimentResult, split: string, mode: string): number | undefined {
  const found = splitOf(result, split, mode) ?? splitOf(result, split, mode.replace(WITH_INSTRUCTIONS, ""));
  return found?.success;
}

/**
 * A number of a cell minus that of its baseline with the same seed.
 * @param numberOf the number; seeds for which either is missing are left out
 * @returns undefined without a common seed
 */
export function pairedDifference(
  own: readonly ExperimentResult[],
  baseline: readonly ExperimentResult[],
  numberOf: (result: ExperimentResult) => number | null | undefined,
): Estimate | undefined {
  const differences = own.flatMap((result) => {
    const other = baseline.find(({ seed }) => seed === result.seed);
    const [a, b] = [numberOf(result), other && numberOf(other)];
    return typeof a === "number" && typeof b === "number" ? [a - b] : [];
  });
  return differences.length === 0 ? undefined : bootstrapEstimate(differences);
}

export function hasMode({ splits }: ExperimentResult, mode: string): boolean {
  return splits.some((one) => one.mode === mode);
}

/** Splits and modes in the order of their first appearance. */
export function evaluated(results: readonly ExperimentResult[]): { splits: string[]; modes: string[] } {
  const all = results.flatMap(({ splits }) => splits);
  return {
    splits: [...new Set(all.map(({ split }) => split))],
    modes: [...new Set(all.map(({ mode }) => mode))],
  };
}
