/** Saved benchmarks: one file for each adapter, in which a new measurement takes the place of an older one, which is kept beside. */
import { join } from "node:path";
import { groupBy } from "../../core/group_by.js";
import { writeFileAtomic } from "../../host/files/files.js";
import { jsonText, readOptionalJsonFile } from "../../host/files/json_file.js";
import { checkFileWritable, checkWritable } from "../../host/files/writable.js";
import { type BenchReport, parseBenchReport, replaceRows, withRows } from "../../report/bench_report.js";
import type { BenchRow } from "../../report/bench_rows.js";

const RESULTS = join("bench", "results");

/**
 * Puts rows into files, those in place of which they come beside as earlier ones.
 * @param save a path, or true for the adapters' own files in bench/results
 * @returns paths of the files
 * @throws DataError when a file is there that is no benchmark
 */
export async function saveReport(report: BenchReport, save: string | true): Promise<string[]> {
  const groups = groupBy(report.rows, (row) => (save === true ? adapterFile(report, row) : save));
  for (const [path, rows] of groups) {
    const json = await readOptionalJsonFile(path);
    const own = withRows(report, rows);
    const saved = json === undefined ? own : replaceRows(parseBenchReport(json, path), own);
    await writeFileAtomic(path, jsonText(saved));
  }
  return [...groups.keys()];
}

/** @throws what keeps `saveReport` from writing there */
export async function checkSavePlace(save: string | true): Promise<void> {
  if (save === true) return checkWritable(RESULTS);
  await checkFileWritable(save);
  const json = await readOptionalJsonFile(save);
  if (json !== undefined) parseBenchReport(json, save);
}

/** Software adapters by what they are, GPUs by their device's name. */
function adapterFile({ passports }: BenchReport, { run, adapter }: BenchRow): string {
  const { kind, adapter: device } = passports[run ?? ""] ?? {};
  const isSoftware = kind === "lavapipe" || kind === "swiftshader";
  const words = String(isSoftware ? kind : device || adapter).toLowerCase();
  const name = words.replaceAll(/[^a-z0-9_.]+/g, "-").replaceAll(/^-+|-+$/g, "") || "adapter";
  return join(RESULTS, `${name}.json`);
}
