/** A benchmark held against an earlier one of the same adapter. */
import { ConfigError } from "../core/errors.js";
import { type BenchRow, rowKey } from "./bench_rows.js";

/** Rows with `baselineMs` and `slowdown`, and those of ours that are slower than allowed or fail now. */
export interface Comparison {
  readonly rows: readonly BenchRow[];
  readonly compared: number;
  readonly slower: readonly BenchRow[];
}

/**
 * Compares medians of rows that both have: same op, direction, shape, dtype, implementation and adapter.
 * @param failAbove share by which a row of ours may be slower, for example 0.1
 * @throws ConfigError when the two have no row of ours in common
 */
export function compareWithBaseline(
  rows: readonly BenchRow[],
  baseline: readonly BenchRow[],
  failAbove: number,
): Comparison {
  const known = new Map(
    baseline.filter(({ medianMs }) => medianMs !== undefined).map((row) => [rowKey(row), row]),
  );
  const slower: BenchRow[] = [];
  let compared = 0;
  const annotated = rows.map((row) => {
    const before = known.get(rowKey(row))?.medianMs;
    if (before === undefined || row.op === "peak") return row;
    const own = row.implementation === "uncouple";
    if (own) compared++;
    const slowdown = row.medianMs === undefined ? undefined : row.medianMs / before - 1;
    const result = { ...row, baselineMs: before, slowdown };
    // a row that had a number and has none now is no improvement
    if (own && (slowdown === undefined || slowdown > failAbove)) slower.push(result);
    return result;
  });
  if (compared === 0) {
    const adapters = new Set(baseline.map(({ adapter }) => adapter));
    throw new ConfigError(
      `[bench] the baseline has no row in common with this run: got rows of ${[...adapters].join(", ") || "nothing"}, expected some of ${rows[0]?.adapter ?? "this adapter"} at the same shapes. Choose a baseline of this adapter, and the same filter and --quick.`,
    );
  }
  return { rows: annotated, compared, slower };
}

/**
 * A share from text such as `10%` or `10`.
 * @throws ConfigError for anything else
 */
export function parsePercentage(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*%?$/.exec(text.trim());
  if (match) return Number(match[1]) / 100;
  throw new ConfigError(
    `[bench] ${option} is wrong: got "${text}", expected a percentage such as 10%. Correct it.`,
  );
}

/** One line on a row that became slower. */
export function describeSlower({
  op,
  direction,
  shape,
  medianMs,
  baselineMs,
  slowdown,
  error,
}: BenchRow): string {
  const what = `${op} ${direction} at ${shape}`;
  if (slowdown === undefined || medianMs === undefined) return `${what}: ${error ?? "no number"}`;
  return `${what}: ${medianMs.toPrecision(4)} ms after ${baselineMs?.toPrecision(4)} ms, ${(100 * slowdown).toFixed(1)} % slower`;
}
