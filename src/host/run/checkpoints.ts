/** Checkpoints on disk: folders that are complete or do not count, the newest of which can be loaded. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { checkFinite } from "../../core/divergence.js";
import { DataError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import type { Checkpoint, Json } from "../../core/run_record.js";
import { cut, printable } from "../../core/shown.js";
import { safetensorsChunks, type TensorSource } from "../../model/safetensors_write.js";
import { errorText, hasCode } from "../files/error_codes.js";
import { pathExists, recoverEntries, replaceDirectoryAtomic, writeFileAtomic } from "../files/files.js";
import { jsonText, parseJson } from "../files/json_file.js";
import { openTensorFile, type TensorFiles } from "../files/tensor_files.js";

const MODEL_FILE = "model.safetensors";
const OPTIMIZER_FILE = "optimizer.safetensors";
/** Written last: a folder without it, or with other files than it says, is not a checkpoint. */
const STATE_FILE = "state.json";
/** Names the newest checkpoint for people and scripts; loading looks for itself. */
const LATEST_FILE = "latest";
/** Where checkpoints go that cannot be read when a run goes on from an older one. */
const SET_ASIDE = "set_aside";

const FORMAT = 1;
const STEP_FOLDER = /^step_(\d{6,})$/;

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
  /** SHA-256 of each file; older checkpoints have none. */
  sums: z.record(z.string(), z.string()).optional(),
  state: z.json(),
});

/** A checkpoint that is not whole: an older one may be used in its place. Other errors say nothing about it. */
class DamagedError extends DataError {
  override name = "DamagedError";
}

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

/**
 * Writes `<folder>/step_NNNNNN`, then points `latest` to it, then removes the oldest ones. A kill at any moment leaves
 * the checkpoints that were complete before, and perhaps the new one.
 * @param keep how many checkpoints stay, this one included; null = all
 * @throws CheckError for weights that are not finite: nothing is written or removed then
 * @returns the new checkpoint's folder
 */
export async function writeCheckpoint(
  folder: string,
  checkpoint: Checkpoint,
  keep: number | null,
): Promise<string> {
  const { step, stage, tensors, state } = checkpoint;
  await mkdir(folder, { recursive: true });
  await recoverEntries(folder);
  const target = join(folder, stepName(step));
  await replaceDirectoryAtomic(target, async (temporary) => {
    const files: Record<string, number> = {};
    const sums: Record<string, string> = {};
    for (const [name, list] of [
      [MODEL_FILE, finite(tensors.model, "save")],
      [OPTIMIZER_FILE, tensors.optimizer],
    ] as const) {
      const path = join(temporary, name);
      const hash = createHash("sha256");
      await writeFileAtomic(path, hashed(safetensorsChunks(list, { dtype: "F32" }), hash));
      files[name] = (await stat(path)).size;
      sums[name] = hash.digest("hex");
    }
    const content = { format: FORMAT, step, stage, files, sums, state };
    await writeFileAtomic(join(temporary, STATE_FILE), jsonText(content));
  });
  await settleCheckpoints(folder, step, keep);
  return target;
}

/**
 * Points `latest` to the newest checkpoint and removes the oldest ones: also what a process that died between these steps left
 * undone.
 * @param keep as for `writeCheckpoint`
 */
export async function settleCheckpoints(folder: string, step: number, keep: number | null): Promise<void> {
  await writeFileAtomic(join(folder, LATEST_FILE), `${stepName(step)}\n`);
  if (keep !== null) await prune(folder, step, keep);
}

/** Tensors whose values are looked at when they come. */
export function finite(tensors: readonly TensorSource[], purpose: string): TensorSource[] {
  return tensors.map((tensor) => ({
    ...tensor,
    data: async () => {
      const values = typeof tensor.data === "function" ? await tensor.data() : tensor.data;
      checkFinite(tensor.name, values, purpose);
      return values;
    },
  }));
}

/** Passes chunks on, and their bytes to a hash. */
async function* hashed(
  chunks: AsyncIterable<Uint8Array>,
  hash: ReturnType<typeof createHash>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

/** Keeps the newest `keep` of the checkpoints up to `newest`. */
async function prune(folder: string, newest: number, keep: number): Promise<void> {
  const steps = (await listSteps(folder)).filter((step) => step <= newest);
  for (const step of steps.slice(0, Math.max(0, steps.length - keep))) {
    await rm(join(folder, stepName(step)), { recursive: true, force: true });
  }
}

/** What `state.json` says. @throws DamagedError for one that is cut or missing, DataError for one of another version */
async function readState(path: string): Promise<z.output<typeof stateSchema>> {
  const file = join(path, STATE_FILE);
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) throw broken(file, "no file", "the state of a checkpoint");
    throw unreadable(file, error);
  }
  let json: unknown;
  try {
    json = parseJson(text, file);
  } catch {
    throw broken(file, `${text.length} characters that are not JSON`, "the state of a checkpoint");
  }
  const format = typeof json === "object" && json !== null && "format" in json ? json.format : undefined;
  if (Number.isInteger(format) && format !== FORMAT) {
    throw new DataError(
      `[${file}] checkpoint has another format: got ${format}, expected ${FORMAT}. Use the version of the program that ` +
        "wrote it.",
    );
  }
  const result = stateSchema.safeParse(json);
  if (result.success) return result.data;
  const { path: field, message } = result.error.issues[0];
  throw broken(
    file,
    `${message} at ${field.join(".") || "its root"}`,
    `the state of a checkpoint of format ${FORMAT}`,
  );
}

/** Compares a file with what the state says of it. */
async function checkFile(path: string, bytes: number | undefined, sum: string | undefined): Promise<void> {
  const size = await stat(path).then(
    (found) => found.size,
    (error) => {
      if (hasCode(error, "ENOENT")) throw broken(path, "no file", `${bytes} bytes`);
      throw unreadable(path, error);
    },
  );
  if (size !== bytes) throw broken(path, `${size} bytes`, `${bytes}`);
  if (sum === undefined) return;
  const hash = createHash("sha256");
  try {
    for await (const chunk of createReadStream(path)) hash.update(chunk);
  } catch (error) {
    throw unreadable(path, error);
  }
  const found = hash.digest("hex");
  if (found !== sum) throw broken(path, `the checksum ${found.slice(0, 16)}`, sum.slice(0, 16));
}

/**
 * Loads one checkpoint, every byte of it compared with its checksums.
 * @param path its folder
 * @throws DataError when it is incomplete or malformed, of another version, or cannot be read
 */
export async function readCheckpoint(path: string): Promise<LoadedCheckpoint> {
  const { step, stage, files, sums = {}, state } = await readState(path);
  const named = stepOfName(path.split(/[/\\]/).at(-1) ?? "");
  if (named !== undefined && named !== step) {
    throw broken(join(path, STATE_FILE), `step ${step}`, `${named} as its folder says`);
  }
  for (const name of [MODEL_FILE, OPTIMIZER_FILE]) {
    await checkFile(join(path, name), files[name], sums[name]);
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

function broken(path: string, got: string, expected: string): DamagedError {
  return new DamagedError(
    `[${path}] checkpoint is not complete: got ${printable(cut(got, 160))}, expected ${expected}. Use an older checkpoint ` +
      "or start again.",
  );
}

function unreadable(path: string, cause: unknown): DataError {
  const code = (cause as NodeJS.ErrnoException).code ?? errorText(cause);
  return new DataError(
    `[${path}] checkpoint cannot be read: got ${code}, expected a readable file. Check its permissions and the disk.`,
    { cause },
  );
}

/** What was found of checkpoints. */
export interface NewestCheckpoint {
  /** Undefined when there is none. */
  readonly checkpoint: LoadedCheckpoint | undefined;
  /** Updates of later ones that are not whole. */
  readonly damaged: readonly number[];
}

/**
 * Loads the newest complete checkpoint, whatever `latest` says, and mends what a killed process left. Nothing that was a
 * checkpoint is removed.
 * @param folder `checkpoints/` of a run
 * @param logger hears of folders that are not complete
 * @throws DataError when the newest cannot be read for a reason other than that it is not whole (no permission, a broken disk,
 *   another version), or when there are some and none is whole: a run must not start again over them
 */
export async function readNewestCheckpoint(folder: string, logger: Logger): Promise<NewestCheckpoint> {
  await recoverEntries(folder);
  const damaged: number[] = [];
  for (const step of (await listSteps(folder)).reverse()) {
    try {
      return { checkpoint: await readCheckpoint(join(folder, stepName(step))), damaged };
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      damaged.push(step);
      logger.warn(`${error.message} The one before it is tried.`);
    }
  }
  if (damaged.length === 0) return { checkpoint: undefined, damaged };
  throw new DataError(
    `[${folder}] no checkpoint can be used: got ${damaged.length} that are not whole (${damaged.map(stepName).join(", ")}), ` +
      "expected at least one that is. Restore one of them, or move them elsewhere to start the run again.",
  );
}

/** Moves the checkpoints of updates after `step` out of the way: a run that goes on from there makes them again. */
export async function setAsideAfter(folder: string, step: number, logger: Logger): Promise<void> {
  for (const later of await listSteps(folder)) {
    if (later <= step) continue;
    const from = join(folder, stepName(later));
    await mkdir(join(folder, SET_ASIDE), { recursive: true });
    for (let number = 1; ; number++) {
      const to = join(folder, SET_ASIDE, number === 1 ? stepName(later) : `${stepName(later)}.${number}`);
      if (await pathExists(to)) continue;
      await rename(from, to);
      logger.warn(`[${from}] moved to ${to}`);
      break;
    }
  }
}
