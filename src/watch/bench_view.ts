/** From saved benchmarks to what is shown of them. Pure. */
import { groupBy } from "../core/group_by.js";
import { type HistoryPoint, histories } from "../report/bench_history.js";
import { newestRun, type Passport, withRows } from "../report/bench_report.js";
import type { BenchRow } from "../report/bench_rows.js";
import { tablesOf } from "../report/bench_tables.js";
import { rooflinePoints, roofsOf } from "../report/roofline.js";
import {
  BENCH_FIGURES,
  type BenchAdapter,
  type BenchFigure,
  type BenchHistory,
  type BenchRun,
  type BenchView,
} from "./api.js";
import type { ReadBenchmarks } from "./bench_folder.js";

/** Which figures are looked at. */
export interface BenchPlace {
  readonly adapter: string;
  readonly preset: string;
}

const isAt =
  ({ adapter, preset }: BenchPlace) =>
  (row: BenchRow) =>
    row.adapter === adapter && (row.preset ?? "") === preset;

/** Adapters and presets, the one measured last first. */
export function benchAdapters({ newest }: ReadBenchmarks): BenchAdapter[] {
  const places = groupBy(newest.rows, ({ adapter, preset = "" }) => JSON.stringify([adapter, preset]));
  return [...places.values()]
    .map((rows) => ({
      adapter: rows[0].adapter,
      preset: rows[0].preset ?? "",
      measurements: rows.length,
      newest: newestRun(rows),
    }))
    .sort((a, b) => b.newest.localeCompare(a.newest) || a.adapter.localeCompare(b.adapter));
}

/** @returns undefined when nothing was measured there */
export function benchView(read: ReadBenchmarks, place: BenchPlace): BenchView | undefined {
  const { newest, reports } = read;
  const rows = newest.rows.filter(isAt(place));
  if (rows.length === 0) return undefined;
  const { gbps, ceilings } = roofsOf(rows);
  const { passports } = withRows(newest, rows);
  return {
    tables: tablesOf(rows),
    points: rooflinePoints(rows).map(({ row: { op, direction, shape, dtype }, intensity, gflops }) => ({
      ...{ op, direction, shape, dtype, intensity, gflops },
    })),
    gbps,
    ceilings,
    runs: Object.entries(passports).map(([run, passport]) => ({ run, ...runFacts(passport) })),
    histories: histories(reports)
      .filter(({ points }) => points.length > 1 && isAt(place)(points[0].row))
      .map(({ key, points }) => ({ key, points: points.length, ...nameOf(points[0].row) })),
  };
}

function nameOf({ op, direction, shape, dtype, implementation }: BenchRow) {
  const own = implementation === "uncouple" ? "" : `, ${implementation}`;
  return { op, text: `${direction}, ${shape}, ${dtype}${own}` };
}

const text = (value: unknown) => (typeof value === "string" ? value : "");

function runFacts(passport: Passport): Omit<BenchRun, "run"> {
  const { commit, dirty, command, driver, cpu, loadAverage } = passport;
  return {
    commit: `${text(commit).slice(0, 10)}${dirty === true ? " with changes" : ""}`,
    command: text(command),
    driver: text(driver),
    cpu: text(cpu),
    load: typeof loadAverage === "number" ? loadAverage : null,
  };
}

/** @returns undefined when there is no measurement of that name */
export function benchHistory({ reports }: ReadBenchmarks, key: string): BenchHistory | undefined {
  const found = histories(reports).find((one) => one.key === key);
  return found && { key, points: found.points.map(historyPoint) };
}

function historyPoint({ row, passport }: HistoryPoint): BenchHistory["points"][number] {
  const { commit, load } = runFacts(passport);
  const figures = Object.fromEntries(BENCH_FIGURES.map((name) => [name, row[name] ?? null]));
  return {
    ...{ run: row.run ?? "", commit, load, p10Ms: row.p10Ms ?? null, p90Ms: row.p90Ms ?? null },
    ...(figures as Record<BenchFigure, number | null>),
  };
}
