/** Benchmark rows as CSV, as a Markdown table, and as cells of any other table. */
import { byAdapter } from "./bench_report.js";
import type { BenchRow } from "./bench_rows.js";
import { csvLine } from "./csv.js";

interface Column {
  readonly title: string;
  readonly text: (row: BenchRow) => string;
}

const percent = (share: number | undefined) => (share === undefined ? "" : (100 * share).toFixed(1));
/** Four digits. */
export const figure = (value: number | undefined) =>
  value === undefined ? "" : Number(value.toPrecision(4)).toString();
const mebibytes = (bytes: number | undefined) => (bytes === undefined ? "" : figure(bytes / 2 ** 20));

/** Columns that say which row it is. */
export const NAME_COLUMNS: readonly Column[] = [
  { title: "op", text: ({ op }) => op },
  { title: "direction", text: ({ direction }) => direction },
  { title: "shape", text: ({ shape }) => shape },
  { title: "dtype", text: ({ dtype }) => dtype },
  { title: "preset", text: ({ preset = "" }) => preset },
  { title: "implementation", text: ({ implementation }) => implementation },
];

/** Milliseconds by phase, in the order of time. */
const phaseTimes = ({ phases = {} }: BenchRow) =>
  Object.entries(phases)
    .map(([name, time]) => `${name} ${figure(time)}`)
    .join(", ");

export const FIGURE_COLUMNS: readonly Column[] = [
  { title: "median ms", text: ({ medianMs }) => figure(medianMs) },
  { title: "p10", text: ({ p10Ms }) => figure(p10Ms) },
  { title: "p90", text: ({ p90Ms }) => figure(p90Ms) },
  { title: "GPU ms", text: ({ gpuMs }) => figure(gpuMs) },
  { title: "GFLOP/s", text: ({ gflops }) => figure(gflops) },
  { title: "GB/s", text: ({ gbps }) => figure(gbps) },
  { title: "% of FMA", text: ({ fmaShare }) => percent(fmaShare) },
  { title: "% of copy", text: ({ copyShare }) => percent(copyShare) },
  { title: "% of matrix", text: ({ matrixShare }) => percent(matrixShare) },
  { title: "tokens/s", text: ({ tokensPerSecond }) => figure(tokensPerSecond) },
  { title: "dispatches", text: ({ dispatches }) => figure(dispatches) },
  { title: "encode ms", text: ({ encodeMs }) => figure(encodeMs) },
  { title: "live MiB", text: ({ bytesLive }) => mebibytes(bytesLive) },
  { title: "peak MiB", text: ({ bytesPeak }) => mebibytes(bytesPeak) },
  { title: "attention MiB", text: ({ attentionBytes }) => mebibytes(attentionBytes) },
  { title: "log-prob MiB", text: ({ logProbBytes }) => mebibytes(logProbBytes) },
  { title: "working MiB", text: ({ workingBytes }) => mebibytes(workingBytes) },
  { title: "over plain", text: ({ ratio }) => figure(ratio) },
  { title: "peak over plain", text: ({ peakRatio }) => figure(peakRatio) },
  { title: "cold ms", text: ({ coldMs }) => figure(coldMs) },
  { title: "phases, ms", text: phaseTimes },
  { title: "pipelines", text: ({ pipelines }) => figure(pipelines) },
  { title: "ms without timestamps", text: ({ unprofiledMs }) => figure(unprofiledMs) },
  { title: "% slower", text: ({ slowdown }) => percent(slowdown) },
];

/** The columns of figures that at least one of the rows fills; at least the first, where errors stand. */
export function figureColumns(rows: readonly BenchRow[]): readonly Column[] {
  return FIGURE_COLUMNS.filter(({ text }, index) => index === 0 || rows.some((row) => text(row) !== ""));
}

/** A GitHub table, or one for each adapter; a row without numbers has its error in the first column of figures. */
export function benchMarkdown(rows: readonly BenchRow[]): string {
  const adapters = byAdapter(rows);
  if (adapters.size <= 1) return rowsTable(rows);
  return [...adapters].map(([adapter, own]) => `### ${adapter}\n\n${rowsTable(own)}`).join("\n\n");
}

function rowsTable(rows: readonly BenchRow[]): string {
  const figures = figureColumns(rows);
  const columns = [...NAME_COLUMNS, ...figures];
  const body = rows.map((row) => {
    if (row.error === undefined) return columns.map(({ text }) => text(row));
    const names = NAME_COLUMNS.map(({ text }) => text(row));
    return [...names, row.error, ...figures.slice(1).map(() => "")];
  });
  const titles = columns.map(({ title }) => title);
  return markdownTable(titles, body, NAME_COLUMNS.length);
}

/** A table as texts: titles, and cells of each row. */
export interface TableCells {
  readonly titles: readonly string[];
  readonly body: readonly (readonly string[])[];
  /** Columns from the left that hold words; the others hold numbers. */
  readonly names: number;
}

/** A GitHub table. @param names columns from the left that hold words; the others hold numbers */
export function markdownTable(
  titles: readonly string[],
  body: readonly (readonly string[])[],
  names: number,
): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => oneLine(cell).replaceAll("|", "\\|")).join(" | ")} |`;
  const rule = titles.map((_, index) => (index < names ? "---" : "---:"));
  return [line(titles), line(rule), ...body.map(line)].join("\n");
}

/** Fields in this order first; whatever else rows carry comes after. */
const CSV_FIELDS: readonly (keyof BenchRow)[] = [
  "op",
  "direction",
  "implementation",
  "version",
  "shape",
  "dtype",
  "adapter",
  "preset",
  "run",
  "medianMs",
  "p10Ms",
  "p90Ms",
  "gflops",
  "gbps",
];

/** RFC 4180: a head line of field names, then a line for each row, numbers unrounded. */
export function benchCsv(rows: readonly BenchRow[]): string {
  const fields = new Set<string>(CSV_FIELDS);
  for (const row of rows) for (const field of Object.keys(row)) fields.add(field);
  const lines = rows.map((row) => [...fields].map((field) => cellText(row[field])));
  return [[...fields], ...lines].map(csvLine).join("\r\n");
}

function cellText(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (Array.isArray(value) && value.every((one) => typeof one !== "object")) return value.join(" ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ");
}
