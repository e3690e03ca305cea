/** What becomes of a benchmark's rows: console, files, pictures. */
import { join } from "node:path";
import Table from "cli-table3";
import { writeFileAtomic } from "../host/files.js";
import { jsonText } from "../host/json_file.js";
import { benchPageSvg } from "../report/bench_page.js";
import { type BenchReport, type BenchRow, standaloneRows } from "../report/bench_rows.js";
import { benchCsv, benchMarkdown, figureColumns, NAME_COLUMNS } from "../report/bench_text.js";
import { rooflineSvg } from "../report/roofline.js";
import type { Terminal } from "./terminal.js";

export interface OutputOptions {
  readonly filter?: string;
  readonly json?: true;
  readonly csv?: true;
  readonly markdown?: true;
  /** A path, or true for the adapter's own file. */
  readonly save?: string | true;
  readonly svg?: string;
  readonly roofline?: string;
}

/** Prints the rows in the form that was asked for; a table without any. */
export function printRows(
  report: BenchReport,
  { json, csv, markdown }: OutputOptions,
  terminal: Terminal,
): void {
  const { rows } = report;
  if (json) terminal.printJson(standaloneRows(report));
  else if (csv) terminal.print(benchCsv(rows));
  else if (markdown) terminal.print(benchMarkdown(rows));
  else terminal.print(renderRows(rows));
}

/** Writes the files that were asked for and says where they are. */
export async function writeReport(
  report: BenchReport,
  options: OutputOptions,
  terminal: Terminal,
): Promise<void> {
  const { svg, roofline } = options;
  const saved = await saveReport(report, options);
  if (saved) terminal.info(`wrote ${saved}`);
  const write = async (path: string, content: string) => {
    await writeFileAtomic(path, content);
    terminal.info(`wrote ${path}`);
  };
  if (svg) await write(svg, `${benchPageSvg(report)}\n`);
  if (roofline) await write(roofline, `${rooflineSvg(report)}\n`);
}

/** Writes the JSON file, where one was asked for. @returns its path */
export async function saveReport(report: BenchReport, options: OutputOptions): Promise<string | undefined> {
  const { save } = options;
  if (!save) return undefined;
  const path = save === true ? defaultPath(report, options) : save;
  await writeFileAtomic(path, jsonText(report));
  return path;
}

/** One file for each adapter, and for each filter, so that a partial run replaces no whole one. */
function defaultPath({ passport, rows }: BenchReport, { filter }: OutputOptions): string {
  const { kind, adapter } = passport;
  const name =
    kind === "lavapipe" || kind === "swiftshader" ? kind : String(adapter || rows[0]?.adapter || "adapter");
  const words = [filter, name].filter(Boolean).join("-").toLowerCase();
  return join(
    "bench",
    "results",
    `${words.replaceAll(/[^a-z0-9_.]+/g, "-").replaceAll(/^-+|-+$/g, "")}.json`,
  );
}

function renderRows(rows: readonly BenchRow[]): string {
  const figures = figureColumns(rows);
  const head = [...NAME_COLUMNS, ...figures].map(({ title }) => title);
  const table = new Table({ head, style: { head: [], border: [], compact: true } });
  for (const row of rows) {
    const names = NAME_COLUMNS.map(({ text }) => text(row));
    const cells = row.error
      ? [{ content: row.error, colSpan: Math.max(1, figures.length) }]
      : figures.map(({ text }) => text(row));
    table.push([...names, ...cells]);
  }
  return table.toString();
}
