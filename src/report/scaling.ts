/** How time and memory grow with one size, as slopes on logarithmic axes: 0 constant, 1 linear, 2 quadratic. */
import { groupBy } from "../core/group_by.js";
import type { BenchRow } from "./bench_rows.js";

/** Figures of a row that have a curve, and what they are called. */
export const MEASURES = {
  medianMs: "time",
  bytesPeak: "peak memory",
  attentionBytes: "attention memory",
  logProbBytes: "log-prob memory",
  workingBytes: "working memory",
} as const;

type Measure = keyof typeof MEASURES;

export interface Point {
  readonly size: number;
  readonly value: number;
}

/** One figure over one size, everything else fixed. */
export interface Curve {
  readonly subject: string;
  readonly axis: string;
  readonly measure: Measure;
  /** By ascending size. */
  readonly points: readonly Point[];
  readonly slope: number;
}

/**
 * Exponent p of the power law value ~ size^p that is nearest: the least-squares slope of log(value) over log(size).
 * @param points sizes and values above 0
 * @returns NaN for fewer than two different sizes
 */
export function logLogSlope(points: readonly Point[]): number {
  const logs = points.map(({ size, value }) => [Math.log(size), Math.log(value)] as const);
  const mean = (index: 0 | 1) => logs.reduce((sum, pair) => sum + pair[index], 0) / logs.length;
  const [x, y] = [mean(0), mean(1)];
  const covariance = logs.reduce((sum, [a, b]) => sum + (a - x) * (b - y), 0);
  const variance = logs.reduce((sum, [a]) => sum + (a - x) ** 2, 0);
  return covariance / variance;
}

/** Every curve that rows of op `scaling` have at least two points of. @param rows of one adapter and preset */
export function scalingCurves(rows: readonly BenchRow[]): Curve[] {
  const groups = groupBy(scalingRows(rows), ({ subject, axis }) => `${subject} | ${axis}`);
  return [...groups.values()].flatMap((group) => {
    const { subject = "", axis = "" } = group[0];
    const curves = (Object.keys(MEASURES) as Measure[]).map((measure) => {
      const points = pointsOf(group, measure);
      return { subject, axis, measure, points, slope: logLogSlope(points) };
    });
    return curves.filter(({ points }) => points.length > 1);
  });
}

function pointsOf(rows: readonly BenchRow[], measure: Measure): Point[] {
  const points = rows.map((row) => ({ size: row.size ?? 0, value: row[measure] ?? 0 }));
  return points.filter(({ size, value }) => size > 0 && value > 0).sort((a, b) => a.size - b.size);
}

function scalingRows(rows: readonly BenchRow[]): BenchRow[] {
  return rows.filter(({ op, error }) => op === "scaling" && error === undefined);
}

/** Curves of one subject over one size, by `training_step over T` and the like. @param rows of one adapter and preset */
export function curvesByName(rows: readonly BenchRow[]): ReadonlyMap<string, readonly Curve[]> {
  return groupBy(scalingCurves(rows), ({ subject, axis }) => `${subject} over ${axis}`);
}

/** `training_step over T: time 1.02, peak memory 0.71`, a line for each subject and axis. */
export function slopeLines(rows: readonly BenchRow[]): string[] {
  return [...curvesByName(rows)].map(([name, curves]) => {
    const slopes = curves.map(({ measure, slope }) => `${MEASURES[measure]} ${slopeText(slope)}`);
    return `${name}: ${slopes.join(", ")}`;
  });
}

/** Two decimals; no minus sign before nothing. */
export function slopeText(slope: number): string {
  return slope.toFixed(2).replace(/^-(0\.00)$/, "$1");
}
