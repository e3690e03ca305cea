/** Benchmark rows as CSV, as a Markdown table, and as cells of any other table. */
import type { BenchRow } from "./bench_rows.js";

interface Column {
  readonly title: string;
  readonly text: (row: BenchRow) => string;
}

const percent = (share: number | undefined) => (share === undefined ? "" : (100 * share).toFixed(1));
const figure = (value: number | undefined) =>
  value === undefined ? "" : Number(value.toPrecision(4)).toString();
const mebibytes = (bytes: number | undefined) => (bytes === undefined ? "" : figure(bytes / 2 ** 20));

/** Columns that say which row it is. */
export const NAME_COLUMNS: readonly Column[] = [
  { title: "op", text: ({ op }) => op },
  { title: "direction", text: ({ direction }) => direction },
  { title: "shape", text: ({ shape }) => shape },
  { title: "dtype", text: ({ dtype }) => dtype },
  { title: "implementation", text: ({ implementation }) => implementation },
];

const FIGURE_COLUMNS: readonly Column[] = [
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
  { title: "% slower", text: ({ slowdown }) => percent(slowdown) },
];

/** The columns of figures that at least one of the rows fills; at least the first, where errors stand. */
export function figureColumns(rows: readonly BenchRow[]): readonly Column[] {
  return FIGURE_COLUMNS.filter(({ text }, index) => index === 0 || rows.some((row) => text(row) !== ""));
}

/** A GitHub table; a row without numbers has its error in the first column of figures. */
export function benchMarkdown(rows: readonly BenchRow[]): string {
  const figures = figureColumns(rows);
  const columns = [...NAME_COLUMNS, ...figures];
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const body = rows.map((row) => {
    if (row.error === undefined) return line(columns.map(({ text }) => text(row)));
    const names = NAME_COLUMNS.map(({ text }) => text(row));
    const blanks = figures.slice(1).map(() => "");
    return line([...names, oneLine(row.error), ...blanks]);
  });
  const rule = columns.map((_, index) => (index < NAME_COLUMNS.length ? "---" : "---:"));
  return [line(columns.map(({ title }) => title)), line(rule), ...body].join("\n");
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
  const lines = rows.map((row) => [...fields].map((field) => quoted(row[field])).join(","));
  return [[...fields].join(","), ...lines].join("\r\n");
}

function quoted(value: unknown): string {
  const text = value === undefined ? "" : Array.isArray(value) ? value.join(" ") : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ");
}
