/** Records of a run that goes on: what is missing from them is told, and those of later updates are dropped. */
import { copyFile, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "../../core/logger.js";
import { pathExists } from "../files/files.js";
import { dropRowsAfter, readJsonLines } from "../files/json_lines.js";
import { stepOfName } from "./checkpoints.js";
import { RUN_FILES } from "./run_info.js";

/**
 * Drops every record of updates after `step` from a run folder.
 * @param keepCopies keeps the rows as they were beside, since a checkpoint is passed over or gone
 * @throws DataError when a line is broken: nothing is changed then
 */
export async function dropRecordsAfter(
  folder: string,
  step: number,
  { keepCopies, logger }: { readonly keepCopies: boolean; readonly logger: Logger },
): Promise<void> {
  const recorded = [RUN_FILES.metrics, RUN_FILES.evaluations, RUN_FILES.alerts].map((file) =>
    join(folder, file),
  );
  // a line that is broken is said before anything is changed
  const [metrics] = await Promise.all(recorded.map((file) => readJsonLines(file)));
  warnOfMissingRows(recorded[0], metrics, step, logger);
  for (const rows of recorded) {
    if (keepCopies) await keepCopy(rows);
    await dropRowsAfter(rows, step);
  }
  for (const name of [RUN_FILES.rollouts, RUN_FILES.transcripts])
    await dropFilesAfter(join(folder, name), step, keepCopies);
}

/** Training goes on without them, but what reads the records later would take them for whole. */
function warnOfMissingRows(file: string, rows: readonly unknown[], step: number, logger: Logger): void {
  const counts = new Map<unknown, number>();
  for (const row of rows) {
    const of = typeof row === "object" && row !== null && "step" in row ? row.step : undefined;
    counts.set(of, (counts.get(of) ?? 0) + 1);
  }
  const updates = Array.from({ length: Math.max(0, step) }, (_, index) => index + 1);
  const wrong = (what: string, steps: readonly number[]) =>
    steps.length === 0 ? [] : [`${what} ${steps.slice(0, 10).join(", ")}${steps.length > 10 ? ", ..." : ""}`];
  const found = [
    ...wrong(
      "none of updates",
      updates.filter((of) => !counts.has(of)),
    ),
    ...wrong(
      "several of updates",
      updates.filter((of) => (counts.get(of) ?? 0) > 1),
    ),
  ];
  if (found.length === 0) return;
  logger.warn(
    `[${file}] rows are not those of the updates done: got ${found.join(" and ")}, expected one for each of ${step}. ` +
      "The run goes on; its records stay as they are.",
  );
}

/** Keeps rows that are about to be dropped because a checkpoint is passed over or gone. */
async function keepCopy(file: string): Promise<void> {
  if (await pathExists(file)) await copyFile(file, await asideName(file));
}

/** A name beside that nothing has yet. */
async function asideName(file: string): Promise<string> {
  for (let number = 1; ; number++) {
    const name = `${file}.set_aside${number === 1 ? "" : `.${number}`}`;
    if (!(await pathExists(name))) return name;
  }
}

/** Drops the files of later updates, which name their update. */
async function dropFilesAfter(folder: string, step: number, keepCopies: boolean): Promise<void> {
  if (!(await pathExists(folder))) return;
  for (const file of await readdir(folder)) {
    const of = stepOfName(file.replace(/\.jsonl$/, ""));
    const path = join(folder, file);
    if (file.endsWith(".partial")) await rm(path);
    else if (of === undefined || of <= step) continue;
    else if (keepCopies) await rename(path, await asideName(path));
    else await rm(path);
  }
}
