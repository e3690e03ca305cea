/** Where things lie in a run folder, and what its `run.json` says. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { DataError } from "../../core/errors.js";
import { RECORD_VERSION, type RunInfo } from "../../core/run_record.js";
import { pathExists } from "../files/files.js";
import { readJsonFile } from "../files/json_file.js";

/** Names inside a run folder. */
export const RUN_FILES = {
  config: "config.yaml",
  input: "config.input.yaml",
  info: "run.json",
  /** Of the first session; later ones write `code.2.diff` and so on. */
  diff: "code.diff",
  metrics: "metrics.jsonl",
  evaluations: "eval.jsonl",
  rollouts: "rollouts",
  log: "run.log",
  checkpoints: "checkpoints",
  export: "export",
} as const;

const infoSchema = z.looseObject({
  recordVersion: z.int().min(1).max(RECORD_VERSION),
  name: z.string(),
  seed: z.int(),
  status: z.enum(["running", "finished", "stopped", "failed"]),
  started: z.string(),
  updated: z.string(),
  step: z.int(),
  sessions: z.array(z.looseObject({ started: z.string() })),
});

/** Reads `run.json` of a run folder. @throws DataError when it is missing or malformed */
export async function readRunInfo(path: string): Promise<RunInfo> {
  const file = join(path, RUN_FILES.info);
  const json = await readJsonFile(file);
  const result = infoSchema.safeParse(json);
  if (result.success) return json as RunInfo;
  const { path: field, message } = result.error.issues[0];
  throw new DataError(
    `[${file}] run record is malformed: got ${message} at ${field.join(".") || "its root"}, expected a record of ` +
      `version ${RECORD_VERSION} or older. Use the version of the program that wrote it.`,
  );
}

/**
 * The run folder in `out` that was started or resumed last.
 * @returns undefined when there is none
 */
export async function findLatestRun(out: string): Promise<string | undefined> {
  if (!(await pathExists(out))) return undefined;
  let latest: { path: string; time: number } | undefined;
  for (const name of await readdir(out)) {
    const file = join(out, name, RUN_FILES.info);
    if (!(await stat(join(out, name))).isDirectory() || !(await pathExists(file))) continue;
    const { sessions } = await readRunInfo(join(out, name));
    const time = Date.parse(sessions[sessions.length - 1].started);
    if (!latest || time > latest.time) latest = { path: join(out, name), time };
  }
  return latest?.path;
}
