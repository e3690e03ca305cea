/** Writes what an experiment has found so far: one line a finished run, and a report of tables and pictures. */
import { join } from "node:path";
import { experimentCharts } from "../../report/experiment_charts.js";
import type { ExperimentResult } from "../../report/experiment_rows.js";
import { type ExperimentHead, experimentMarkdown } from "../../report/experiment_table.js";
import { writeFilesAtomic } from "../files/files.js";
import { jsonLine } from "../files/json_lines.js";
import { readCouplingRecord } from "./coupling.js";
import { EXPERIMENT_FILES, type ExperimentPlan } from "./plan.js";
import { readRecord } from "./records.js";

/** @returns results of all finished runs, the start first, cells in the order of the file whatever order they ran in */
export async function readResults(plan: ExperimentPlan): Promise<ExperimentResult[]> {
  const results: ExperimentResult[] = [];
  for (const run of [plan.start, ...plan.cells]) {
    const record = await readRecord(plan.out, run);
    if (!record?.result) continue;
    const measured = await readCouplingRecord(plan, run, record.result.start_sha256);
    results.push({ ...record.result, ...(measured && { coupling: measured.numbers }) });
  }
  return results;
}

/** Writes `results.jsonl`, `report.md` and the pictures anew. */
export async function writeReport(plan: ExperimentPlan): Promise<void> {
  const results = await readResults(plan);
  const head = await headOf(plan);
  const files: [name: string, text: string][] = [
    [EXPERIMENT_FILES.file, plan.text],
    [EXPERIMENT_FILES.results, results.map(jsonLine).join("")],
    [EXPERIMENT_FILES.report, experimentMarkdown(results, head)],
    ...[...experimentCharts(results)].map(([name, svg]): [string, string] => [`${name}.svg`, svg]),
  ];
  await writeFilesAtomic(files.map(([name, text]) => [join(plan.out, name), text]));
}

async function headOf({ name, content, out, cells }: ExperimentPlan): Promise<ExperimentHead> {
  const failures: { id: string; message: string }[] = [];
  for (const cell of cells) {
    const record = await readRecord(out, cell);
    if (record?.state === "failed") failures.push({ id: cell.id, message: record.error ?? "" });
  }
  return {
    name,
    description: content.description,
    splits: Object.fromEntries(
      Object.entries(content.splits).map(([split, { meaning }]) => [split, meaning]),
    ),
    planned: cells.length,
    failures,
  };
}
