/** What an experiment knows of each of its runs: one file each, so that several processes can work on one experiment. */
import { join } from "node:path";
import { z } from "zod";
import { ConfigError, DataError } from "../../core/errors.js";
import type { ExperimentResult } from "../../report/experiment_rows.js";
import { writeFileAtomic } from "../files/files.js";
import { jsonText, readOptionalJsonFile } from "../files/json_file.js";
import { EXPERIMENT_FILES, type PlannedRun } from "./plan.js";

const FORMAT = 1;

const recordSchema = z.strictObject({
  format: z.literal(FORMAT),
  state: z.enum(["begun", "failed", "done"]),
  config_sha256: z.string(),
  /** Null before the start itself is made. */
  start_sha256: z.string().nullable(),
  error: z.string().optional(),
  result: z.looseObject({ cell: z.string(), seed: z.int() }).optional(),
});

/** `begun` also stays behind when a process is killed. */
export type RunRecord = Omit<z.output<typeof recordSchema>, "format" | "result"> & {
  readonly result?: ExperimentResult;
};

function fileOf(out: string, id: string): string {
  return join(out, EXPERIMENT_FILES.records, `${id}.json`);
}

/** @returns undefined for a run that was never begun. @throws DataError when the record is malformed */
export async function readRecord(
  out: string,
  { id }: Pick<PlannedRun, "id">,
): Promise<RunRecord | undefined> {
  const file = fileOf(out, id);
  const json = await readOptionalJsonFile(file);
  if (json === undefined) return undefined;
  const result = recordSchema.safeParse(json);
  if (result.success) return json as unknown as RunRecord;
  const { path, message } = result.error.issues[0];
  throw new DataError(
    `[${file}] record of a cell is malformed: got ${message} at ${path.join(".") || "its root"}, expected a record of ` +
      `format ${FORMAT}. Remove the file; the cell's run folder stays.`,
  );
}

export async function writeRecord(
  out: string,
  { id }: Pick<PlannedRun, "id">,
  record: RunRecord,
): Promise<void> {
  await writeFileAtomic(fileOf(out, id), jsonText({ format: FORMAT, ...record }));
}

/**
 * Checks that a run stays what it was when it was begun.
 * @throws ConfigError when its settings or the start have changed since
 */
export function checkSame(
  out: string,
  { id, configSha256 }: Pick<PlannedRun, "id" | "configSha256">,
  { config_sha256, start_sha256 }: RunRecord,
  start: string | null,
): void {
  const changed: [what: string, was: string, is: string][] = [];
  if (config_sha256 !== configSha256) changed.push(["settings", config_sha256, configSha256]);
  if (start !== null && start_sha256 !== null && start_sha256 !== start) {
    changed.push(["weights of the start", start_sha256, start]);
  }
  if (changed.length === 0) return;
  const texts = changed.map(
    ([what, was, is]) => `${what} ${short(is)} where it was begun with ${short(was)}`,
  );
  throw new ConfigError(
    `[${id}] run is not the one that was begun: got ${texts.join(" and ")}, expected the same. Put them back, choose ` +
      `another --out, or remove ${fileOf(out, id)} and ${join(out, EXPERIMENT_FILES.runs, id)}.`,
  );
}

export function short(sha256: string): string {
  return sha256.slice(0, 12);
}
