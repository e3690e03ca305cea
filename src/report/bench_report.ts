/** A saved benchmark: rows of one or several runs, and what is needed to repeat each run. */
import { z } from "zod";
import { DataError } from "../core/errors.js";
import { type BenchRow, benchRowSchema, kernelRates, peakRows, rowKey } from "./bench_rows.js";

/** Command, commit, adapter, driver, preset, peaks and more of one run. */
export type Passport = Readonly<Record<string, unknown>>;

export interface BenchReport {
  /** By the names that rows carry as `run`. */
  readonly passports: Readonly<Record<string, Passport>>;
  readonly rows: readonly BenchRow[];
}

const passportSchema = z.record(z.string(), z.unknown());
const rowsSchema = z.array(benchRowSchema);
const reportSchema = z.looseObject({
  passports: z.record(z.string(), passportSchema).default({}),
  rows: rowsSchema,
});
const standaloneSchema = z.array(benchRowSchema.extend({ passport: passportSchema.optional() }));

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

/** GFLOP/s or GB/s of each peak, by name: `copy 64 MiB f32`. */
function peakFigures(rows: readonly BenchRow[]): Readonly<Record<string, number>> {
  const figures = peakRows(rows).map((row) => {
    const rates = kernelRates(row);
    const rate = row.shape.startsWith("copy") ? rates?.gbps : rates?.gflops;
    return [`${row.shape} ${row.dtype}`, Number((rate ?? 0).toPrecision(4))];
  });
  return Object.fromEntries(figures);
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
  if (!Array.isArray(result.data)) return { passports: result.data.passports, rows: result.data.rows };
  const passports: Record<string, Passport> = {};
  const rows = result.data.map(({ passport, ...row }) => {
    if (passport) passports[row.run ?? runName(passport)] = passport;
    return passport && row.run === undefined ? { ...row, run: runName(passport) } : row;
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

/** Some rows of a report, with the passports that they need. */
export function withRows(
  { passports }: Pick<BenchReport, "passports">,
  rows: readonly BenchRow[],
): BenchReport {
  const needed = new Set(rows.map(({ run }) => run));
  const kept = Object.entries(passports).filter(([name]) => needed.has(name));
  return { passports: Object.fromEntries(kept), rows };
}

/** Each row with its passport inside, as `--json` prints them. */
export function standaloneRows({ passports, rows }: BenchReport): (BenchRow & { passport?: Passport })[] {
  return rows.map((row) => {
    const passport = passports[row.run ?? ""];
    return passport ? { ...row, passport } : row;
  });
}

/** Rows of each adapter apart, in the order of their first rows: figures of two adapters never share a table. */
export function byAdapter(rows: readonly BenchRow[]): ReadonlyMap<string, readonly BenchRow[]> {
  const groups = new Map<string, BenchRow[]>();
  for (const row of rows) groups.set(row.adapter, [...(groups.get(row.adapter) ?? []), row]);
  return groups;
}
