/** Where things lie in a run folder, and what its `run.json` says. */
import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { DataError } from "../../core/errors.js";
import { RECORD_VERSION, type RunInfo } from "../../core/run_record.js";
import { isObject } from "../../model/config_rules.js";
import { hasCode } from "../files/error_codes.js";
import { pathExists } from "../files/files.js";
import { readJsonFile, readOptionalJsonFile } from "../files/json_file.js";

/** Names inside a run folder. */
export const RUN_FILES = {
  config: "config.yaml",
  input: "config.input.yaml",
  info: "run.json",
  /** Of the first session; later ones write `code.2.diff` and so on. */
  diff: "code.diff",
  metrics: "metrics.jsonl",
  evaluations: "eval.jsonl",
  alerts: "alerts.jsonl",
  rollouts: "rollouts",
  transcripts: "evaluations",
  log: "run.log",
  checkpoints: "checkpoints",
  /** Analyses by `uncouple coupling --run`, one folder each. */
  coupling: "coupling",
  export: "export",
  /** Of a run that trains an adapter: the adapter alone, as PEFT lays it out. */
  adapter: "adapter",
  /** Configuration and tokenizer of the policy that training began with: with a checkpoint all that it needs. */
  model: "model",
} as const;

/** In `model/` of a run that trains an adapter: the fingerprint of the model below. */
export const BASE_FILE = "base_model.json";

/** The fingerprint of the model that a run's adapter is on; undefined where the run recorded none. */
export async function recordedBase(run: string): Promise<string | undefined> {
  const json = await readOptionalJsonFile(join(run, RUN_FILES.model, BASE_FILE));
  return isObject(json) && typeof json.fingerprint === "string" ? json.fingerprint : undefined;
}

/** By which a cut `config.yaml` is noticed. */
export function configSum(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

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
  return checkedRunInfo(await readJsonFile(file), file);
}

/** @param json parsed content of `run.json`. @param file for messages. @throws DataError when it is malformed */
export function checkedRunInfo(json: unknown, file: string): RunInfo {
  const result = infoSchema.safeParse(json);
  if (result.success) return json as RunInfo;
  const { path: field, message } = result.error.issues[0];
  throw new DataError(
    `[${file}] run record is malformed: got ${message} at ${field.join(".") || "its root"}, expected a record of ` +
      `version ${RECORD_VERSION} or older. Use the version of the program that wrote it.`,
  );
}

/** When the last session of a run began; undefined for whatever is no run: a neighbour may be anything. */
async function lastStart(path: string): Promise<number | undefined> {
  try {
    const { sessions } = await readRunInfo(path);
    const time = Date.parse(sessions[sessions.length - 1]?.started ?? "");
    return Number.isFinite(time) ? time : undefined;
  } catch (error) {
    if (error instanceof DataError || hasCode(error, "EACCES", "ENOTDIR", "ELOOP")) return undefined;
    throw error;
  }
}

/**
 * The run folder in `out` that was started or resumed last.
 * @returns undefined when there is none
 */
export async function findLatestRun(out: string): Promise<string | undefined> {
  if (!(await pathExists(out))) return undefined;
  let latest: { path: string; time: number } | undefined;
  for (const name of await readdir(out)) {
    const time = await lastStart(join(out, name));
    if (time === undefined) continue;
    if (!latest || time > latest.time) latest = { path: join(out, name), time };
  }
  return latest?.path;
}
