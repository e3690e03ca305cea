/** Checkpoints on disk: folders that are complete or do not count, the newest of which can be loaded. */
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { DataError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import type { Checkpoint, Json } from "../../core/run_record.js";
import { safetensorsChunks } from "../../model/safetensors_write.js";
import { pathExists, recoverDirectory, replaceDirectoryAtomic, writeFileAtomic } from "../files/files.js";
import { jsonText, readJsonFile } from "../files/json_file.js";
import { openTensorFile, type TensorFiles } from "../files/tensor_files.js";

const MODEL_FILE = "model.safetensors";
const OPTIMIZER_FILE = "optimizer.safetensors";
/** Written last: a folder without it, or with files of other sizes than it says, is not a checkpoint. */
const STATE_FILE = "state.json";
/** Names the newest checkpoint for people and scripts; loading looks for itself. */
const LATEST_FILE = "latest";

const FORMAT = 1;
const STEP_FOLDER = /^step_(\d{6,})$/;
/** What a killed process may leave of a folder it was writing or replacing. */
const LEFTOVER = /^\.step_\d+\..*\.partial$|^\.latest\..*\.partial$/;

/** A checkpoint read back. Tensors are read from the disk when asked for. */
export interface LoadedCheckpoint {
  readonly step: number;
  readonly stage: string;
  /** Folder that it was read from. */
  readonly path: string;
  readonly model: TensorFiles;
  readonly optimizer: TensorFiles;
  readonly state: Json;
}

const stateSchema = z.object({
  format: z.literal(FORMAT),
  step: z.int().min(0),
  stage: z.string(),
  files: z.record(z.string(), z.int()),
  state: z.json(),
});

/** `step_000100`: name of the folder or file of an update. */
export function stepName(step: number): string {
  return `step_${String(step).padStart(6, "0")}`;
}

/** Update that a `step_*` name stands for; undefined for other names. */
export function stepOfName(name: string): number | undefined {
  const match = STEP_FOLDER.exec(name);
  return match ? Number(match[1]) : undefined;
}

/** Updates of the checkpoint folders that lie there, complete or not, oldest first. */
async function listSteps(folder: string): Promise<number[]> {
  if (!(await pathExists(folder))) return [];
  const steps = (await readdir(folder)).map(stepOfName).filter((step) => step !== undefined);
  return steps.sort((a, b) => a - b);
}

/** Removes what killed processes left, and finishes an exchange of folders that one was in the middle of. */
async function clean(folder: string): Promise<void> {
  if (!(await pathExists(folder))) return;
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (LEFTOVER.test(name)) await rm(path, { recursive: true, force: true });
    const original = /^(step_\d+)\.previous$/.exec(name);
    if (original) await recoverDirectory(join(folder, original[1]));
  }
}

/**
 * Writes `<folder>/step_NNNNNN`, then points `latest` to it, then removes the oldest ones. A kill at any moment leaves
 * the checkpoints that were complete before, and perhaps the new one.
 * @param keep how many checkpoints stay, this one included; null = all
 * @returns the new checkpoint's folder
 */
export async function writeCheckpoint(
  folder: string,
  checkpoint: Checkpoint,
  keep: number | null,
): Promise<string> {
  const { step, stage, tensors, state } = checkpoint;
  await mkdir(folder, { recursive: true });
  await clean(folder);
  const target = join(folder, stepName(step));
  await replaceDirectoryAtomic(target, async (temporary) => {
    const files: Record<string, number> = {};
    for (const [name, list] of [
      [MODEL_FILE, tensors.model],
      [OPTIMIZER_FILE, tensors.optimizer],
    ] as const) {
      const path = join(temporary, name);
      await writeFileAtomic(path, safetensorsChunks(list, { dtype: "F32" }));
      files[name] = (await stat(path)).size;
    }
    const content = { format: FORMAT, step, stage, files, state };
    await writeFileAtomic(join(temporary, STATE_FILE), jsonText(content));
  });
  await writeFileAtomic(join(folder, LATEST_FILE), `${stepName(step)}\n`);
  if (keep !== null) await prune(folder, step, keep);
  return target;
}

/** Keeps the newest `keep` of the checkpoints up to `newest`. */
async function prune(folder: string, newest: number, keep: number): Promise<void> {
  const steps = (await listSteps(folder)).filter((step) => step <= newest);
  for (const step of steps.slice(0, Math.max(0, steps.length - keep))) {
    await rm(join(folder, stepName(step)), { recursive: true, force: true });
  }
}

/**
 * Loads one checkpoint.
 * @param path its folder
 * @throws DataError when it is incomplete or malformed
 */
export async function readCheckpoint(path: string): Promise<LoadedCheckpoint> {
  const file = join(path, STATE_FILE);
  const result = stateSchema.safeParse(await readJsonFile(file));
  if (!result.success) {
    const { path: field, message } = result.error.issues[0];
    throw broken(file, `${message} at ${field.join(".") || "its root"}`, `a checkpoint of format ${FORMAT}`);
  }
  const { step, stage, files, state } = result.data;
  for (const name of [MODEL_FILE, OPTIMIZER_FILE]) {
    const size = (await pathExists(join(path, name))) ? (await stat(join(path, name))).size : "no file";
    if (size !== files[name]) throw broken(join(path, name), `${size} bytes`, `${files[name]}`);
  }
  return {
    step,
    stage,
    path,
    model: await openTensorFile(join(path, MODEL_FILE)),
    optimizer: await openTensorFile(join(path, OPTIMIZER_FILE)),
    state,
  };
}

function broken(path: string, got: string, expected: string): DataError {
  return new DataError(
    `[${path}] checkpoint is not complete: got ${got}, expected ${expected}. Use an older checkpoint or start again.`,
  );
}

/**
 * Loads the newest complete checkpoint, whatever `latest` says, and mends what a killed process left.
 * @param folder `checkpoints/` of a run
 * @param logger hears of folders that are not complete
 * @returns undefined when there is none
 */
export async function readNewestCheckpoint(
  folder: string,
  logger: Logger,
): Promise<LoadedCheckpoint | undefined> {
  await clean(folder);
  for (const step of (await listSteps(folder)).reverse()) {
    try {
      return await readCheckpoint(join(folder, stepName(step)));
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      logger.warn(`${error.message} The one before it is tried.`);
    }
  }
  return undefined;
}

/** Removes the checkpoints of updates after `step`: a run that goes on from there makes them again. */
export async function dropCheckpointsAfter(folder: string, step: number): Promise<void> {
  for (const later of await listSteps(folder)) {
    if (later > step) await rm(join(folder, stepName(later)), { recursive: true, force: true });
  }
}
