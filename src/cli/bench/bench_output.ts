/** What becomes of a benchmark's rows: console, files, pictures, tables in texts. */
import { readFile } from "node:fs/promises";
import Table from "cli-table3";
import { ConfigError } from "../../core/errors.js";
import { beforeWork } from "../../host/files/before_work.js";
import { writeFileAtomic } from "../../host/files/files.js";
import { checkFileWritable } from "../../host/files/writable.js";
import { checkMarks, fillDocument } from "../../report/bench_document.js";
import { benchPageSvg } from "../../report/bench_page.js";
import { profiledRows, wholeProfile } from "../../report/bench_profile.js";
import { type BenchReport, byAdapter, standaloneRows } from "../../report/bench_report.js";
import type { BenchRow } from "../../report/bench_rows.js";
import { benchCsv, benchMarkdown, figureColumns, NAME_COLUMNS } from "../../report/bench_text.js";
import { rooflineSvg } from "../../report/roofline.js";
import { slopeLines } from "../../report/scaling.js";
import { scalingSvg } from "../../report/scaling_picture.js";
import type { Terminal } from "../kit/terminal.js";
import { checkSavePlace, saveReport } from "./bench_save.js";

export interface OutputOptions {
  readonly json?: true;
  readonly csv?: true;
  readonly markdown?: true;
  /** A path, or true for the adapter's own file. */
  readonly save?: string | true;
  readonly svg?: string;
  readonly roofline?: string;
  readonly curves?: string;
  readonly into?: readonly string[];
}

/** Prints the rows in the form that was asked for; a table without any. */
export function printReport(
  report: BenchReport,
  { json, csv, markdown }: OutputOptions,
  terminal: Terminal,
): void {
  const { rows } = report;
  if (json) terminal.printJson(standaloneRows(report));
  else if (csv) terminal.print(benchCsv(rows));
  else if (markdown) terminal.print(benchMarkdown(rows));
  else {
    for (const [adapter, own] of byAdapter(rows)) terminal.print(`${adapter}\n${renderRows(own)}`);
    for (const row of profiledRows(rows))
      terminal.print(`${row.direction} ${row.shape}\n${renderProfile(row)}`);
  }
  for (const own of byAdapter(rows).values())
    for (const line of slopeLines(own)) terminal.info(`slope of ${line}`);
}

/** Minutes of measuring are lost where their files cannot be written. @throws ConfigError before them */
export async function checkOutputs({ save, svg, roofline, curves, into = [] }: OutputOptions): Promise<void> {
  await beforeWork(async () => {
    if (save) await checkSavePlace(save);
    for (const path of [svg, roofline, curves, ...into])
      if (path !== undefined) await checkFileWritable(path);
    for (const path of into) checkMarks(await readFile(path, "utf8"), path);
  });
}

/** Writes the files that were asked for and says where they are. */
export async function writeReport(
  report: BenchReport,
  { save, svg, roofline, curves, into = [] }: OutputOptions,
  terminal: Terminal,
): Promise<void> {
  if (save) for (const path of await saveReport(report, save)) terminal.info(`wrote ${path}`);
  const write = async (path: string, content: string) => {
    await writeFileAtomic(path, content);
    terminal.info(`wrote ${path}`);
  };
  const pictures = [
    [svg, benchPageSvg],
    [roofline, rooflineSvg],
    [curves, scalingSvg],
  ] as const;
  for (const [path, draw] of pictures) {
    if (!path) continue;
    checkOneAdapter(report);
    await write(path, `${draw(report)}\n`);
  }
  for (const path of into) await write(path, fillDocument(await readFile(path, "utf8"), report, path));
}

function checkOneAdapter({ rows }: BenchReport): void {
  const adapters = [...byAdapter(rows).keys()];
  if (adapters.length <= 1) return;
  throw new ConfigError(
    `[bench] one picture shows one adapter: got rows of ${adapters.join(", ")}, expected those of one. Name fewer files with --from.`,
  );
}

function renderProfile(row: ReturnType<typeof profiledRows>[number]): string {
  const { titles, body } = wholeProfile(row);
  const table = new Table({ head: [...titles], style: { head: [], border: [], compact: true } });
  for (const cells of body) table.push([...cells]);
  return table.toString();
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
