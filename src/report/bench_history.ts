/** How the figures of measurements went from run to run. */
import { groupBy } from "../core/group_by.js";
import type { BenchReport, Passport } from "./bench_report.js";
import { type BenchRow, rowKey } from "./bench_rows.js";

/** One measurement at one time. */
export interface HistoryPoint {
  readonly row: BenchRow;
  readonly passport: Passport;
}

/** One measurement over time, oldest first. */
export interface History {
  readonly key: string;
  readonly points: readonly HistoryPoint[];
}

/**
 * Every measurement of ours and of peers that succeeded, from several files, their earlier rows among them. A run that stands in
 * two files counts once.
 */
export function histories(reports: readonly BenchReport[]): History[] {
  const passports: Readonly<Record<string, Passport>> = Object.assign(
    {},
    ...reports.map((report) => report.passports),
  );
  const rows = reports
    .flatMap((report) => [...report.rows, ...(report.earlier ?? [])])
    .filter(({ medianMs }) => medianMs !== undefined);
  return [...groupBy(rows, rowKey)].map(([key, own]) => {
    const byRun = new Map(own.map((row) => [row.run ?? "", row]));
    const points = [...byRun.values()].map((row) => ({ row, passport: passports[row.run ?? ""] ?? {} }));
    const dateOf = ({ row, passport }: HistoryPoint) => String(passport.date ?? row.run ?? "");
    return { key, points: points.sort((a, b) => dateOf(a).localeCompare(dateOf(b))) };
  });
}
