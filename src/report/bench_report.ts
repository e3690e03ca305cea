/** A saved benchmark: rows of one or several runs, and what is needed to repeat each run. */
import { z } from "zod";
import { DataError } from "../core/errors.js";
import { groupBy } from "../core/group_by.js";
import { type BenchRow, benchRowSchema, kernelRates, peakRows, rowKey } from "./bench_rows.js";

/** Command, commit, adapter, driver, preset, peaks and more of one run. */
export type Passport = Readonly<Record<string, unknown>>;

export interface BenchReport {
  /** By the names that rows carry as `run`. */
  readonly passports: Readonly<Record<string, Passport>>;
  readonly rows: readonly BenchRow[];
  /** Of a saved file: rows that newer ones took the place of, newest first. */
  readonly earlier?: readonly BenchRow[];
}

const passportSchema = z.record(z.string(), z.unknown());
const rowsSchema = z.array(benchRowSchema);
const reportSchema = z.looseObject({
  passports: z.record(z.string(), passportSchema).default({}),
  rows: rowsSchema,
  earlier: rowsSchema.optional(),
});
const standaloneSchema = z.array(
  benchRowSchema.extend({
    passport: passportSchema.optional(),
    peaks: z.unknown().optional(),
    tuning: z.unknown().optional(),
  }),
);

/** Rows of one run with its passport, which the peaks measured in it are added to. */
export function runReport(passport: Passport, rows: readonly BenchRow[]): BenchReport {
  const run = runName(passport);
  const { preset } = passport;
  const stamp = { run, ...(typeof preset === "string" && { preset }) };
  return {
    passports: { [run]: { ...passport, peaks: peakFigures(rows) } },
    rows: rows.map((row) => ({ ...row, ...stamp })),
  };
}

/** The moment of its start names a run. */
function runName({ date }: Passport): string {
  return typeof date === "string" ? date : "undated";
}

/** GFLOP/s and GB/s of each kind of peak, by name: `copy f32`, `fma f32`. Of several, as of matrix shapes, the highest. */
function peakFigures(rows: readonly BenchRow[]): Passport {
  const peaks: Record<string, { gflops: number; gbps: number }> = {};
  for (const row of peakRows(rows)) {
    const name = `${row.shape.split(" ")[0]} ${row.dtype}`;
    const rates = kernelRates(row) ?? { gflops: 0, gbps: 0 };
    if (!peaks[name] || rates.gflops > peaks[name].gflops) peaks[name] = rates;
  }
  return peaks;
}

/**
 * Reads what `bench --save` or `bench --json` wrote: an object with passports and rows, or an array of rows that may hold
 * their passport themselves.
 * @param json what `JSON.parse` gave
 * @param file name for messages
 * @throws DataError naming the first field that is wrong
 */
export function parseBenchReport(json: unknown, file: string): BenchReport {
  const result = Array.isArray(json) ? standaloneSchema.safeParse(json) : reportSchema.safeParse(json);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw new DataError(
      `[${file}] not a benchmark: got ${issue.message} at ${issue.path.join(".") || "the top"}, expected what \`uncouple bench --save\` writes. Choose such a file.`,
    );
  }
  if (!Array.isArray(result.data)) {
    const { passports, rows, earlier } = result.data;
    return { passports, rows, ...(earlier !== undefined && { earlier }) };
  }
  const passports: Record<string, Passport> = {};
  const rows = result.data.map(({ passport, peaks, tuning, ...row }) => {
    if (!passport) return row;
    const run = row.run ?? runName(passport);
    passports[run] = {
      ...passport,
      ...(peaks !== undefined && { peaks }),
      ...(tuning !== undefined && { tuning }),
    };
    return { ...row, run };
  });
  return { passports, rows };
}

/** Several as one: a measurement that two of them have is taken from the first. Passports that no row needs are left out. */
export function mergeReports(reports: readonly BenchReport[]): BenchReport {
  const rows = new Map<string, BenchRow>();
  for (const row of reports.flatMap((report) => report.rows)) {
    if (!rows.has(rowKey(row))) rows.set(rowKey(row), row);
  }
  return withRows({ passports: Object.assign({}, ...reports.map(({ passports }) => passports).reverse()) }, [
    ...rows.values(),
  ]);
}

/** Name of the newest run of some rows, which is its date; empty where none has a name. */
export function newestRun(rows: readonly BenchRow[]): string {
  return rows.reduce((newest, { run = "" }) => (run > newest ? run : newest), "");
}

/** Earlier rows of one measurement that a file keeps. */
const KEPT_EARLIER = 20;

/**
 * A saved report after a new run: its rows take the place of older ones, which are kept as `earlier`, so that the file tells how
 * a figure went from commit to commit. Rows of the very same run are simply replaced.
 */
export function replaceRows(saved: BenchReport, report: BenchReport): BenchReport {
  const { passports, rows } = mergeReports([report, saved]);
  const inForce = new Map(rows.map((row) => [rowKey(row), row]));
  const replaced = saved.rows.filter((row) => {
    const now = inForce.get(rowKey(row));
    return now !== row && now?.run !== row.run && row.error === undefined;
  });
  const earlier = [...groupBy([...replaced, ...(saved.earlier ?? [])], rowKey).values()].flatMap((own) =>
    own.slice(0, KEPT_EARLIER),
  );
  if (earlier.length === 0) return { passports, rows };
  const known = { ...saved.passports, ...passports };
  const needed = withRows({ passports: known }, [...rows, ...earlier]);
  return { passports: needed.passports, rows, earlier };
}

/** Some rows of a report, with the passports that they need. */
export function withRows(
  { passports }: Pick<BenchReport, "passports">,
  rows: readonly BenchRow[],
): BenchReport {
  const needed = new Set(rows.map(({ run }) => run));
  const kept = Object.entries(passports).filter(([name]) => needed.has(name));
  return { passports: Object.fromEntries(kept), rows };
}

/** A row that needs no other to be judged: with the peaks of its run, the kernel choices in force and the passport. */
export type StandaloneRow = BenchRow & {
  readonly peaks?: unknown;
  readonly tuning?: unknown;
  readonly passport?: Passport;
};

/** Rows as `--json` prints them. */
export function standaloneRows({ passports, rows }: BenchReport): StandaloneRow[] {
  return rows.map((row) => {
    const whole = passports[row.run ?? ""];
    if (!whole) return row;
    const { peaks, tuning, ...passport } = whole;
    return { ...row, peaks, ...(tuning !== undefined && { tuning }), passport };
  });
}

/** Rows of each adapter apart, in the order of their first rows: figures of two adapters never share a table. */
export function byAdapter(rows: readonly BenchRow[]): ReadonlyMap<string, readonly BenchRow[]> {
  return groupBy(rows, ({ adapter }) => adapter);
}
