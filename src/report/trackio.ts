/**
 * Numbers of a run as the CSV file that Trackio imports: a header, a column `step`, a column `timestamp`, and one column a metric.
 * @source Trackio, documentation of `import_csv` and "Storage Schema"
 */
import { csvLine } from "./csv.js";

/** Numbers of one step. */
export interface TrackioRow {
  /** Unix time in seconds. */
  readonly time: number;
  readonly step: number;
  readonly values: Readonly<Record<string, number>>;
}

/** @returns the whole file; a number that a step lacks is an empty cell */
export function trackioCsv(rows: readonly TrackioRow[]): string {
  const names = [...new Set(rows.flatMap(({ values }) => Object.keys(values)))].filter(
    (name) => !["step", "timestamp"].includes(name.toLowerCase()),
  );
  const lines = rows.map(({ time, step, values }) => [
    String(step),
    new Date(1000 * time).toISOString(),
    ...names.map((name) => (name in values ? String(values[name]) : "")),
  ]);
  return [["step", "timestamp", ...names], ...lines].map((cells) => `${csvLine(cells)}\n`).join("");
}
