/** Who may have a run folder: new names, folders of killed processes, and the lock while a run begins. */
import { mkdir, readdir, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { ConfigError } from "../../core/errors.js";
import { hasCode } from "../files/error_codes.js";
import { isLeftover, pathExists, readIfPresent, recoverEntries } from "../files/files.js";
import { RUN_FILES } from "./run_info.js";
import { isLockFile, RunLock } from "./run_lock.js";

/** The folder that a new run asks for. */
export interface WantedFolder {
  /** Folder of the run folders. */
  readonly out: string;
  readonly name: string;
  /** What to do when the name is taken: choose `<name>-2` and so on, or refuse. */
  readonly taken: "suffix" | "refuse";
}

/** Names in the folder of a run that was killed before it had begun. */
const FIRST_FILES = new Set<string>([RUN_FILES.config, RUN_FILES.input, RUN_FILES.diff, RUN_FILES.log]);

/**
 * Whether a folder holds nothing but what a run writes before its `run.json`. The lock comes first: without one, files of these
 * names are somebody's own.
 */
async function isAbandoned(path: string): Promise<boolean> {
  try {
    const names = await readdir(path);
    for (const name of names) {
      const isEmptyLog =
        (name === RUN_FILES.metrics || name === RUN_FILES.evaluations) &&
        (await readIfPresent(join(path, name)))?.length === 0;
      const isOwn = FIRST_FILES.has(name) || isLockFile(name) || isLeftover(name);
      if (!isOwn && !isEmptyLog) return false;
    }
    return names.length === 0 || names.some(isLockFile);
  } catch (error) {
    if (hasCode(error, "ENOTDIR", "ENOENT", "EACCES")) return false;
    throw error;
  }
}

/** Makes a folder that nobody else has, or takes one that a killed process left before its run had begun. */
export async function claimFolder({
  out,
  name,
  taken,
}: WantedFolder): Promise<{ path: string; lock: RunLock }> {
  await mkdir(out, { recursive: true });
  for (let attempt = 1; ; attempt++) {
    const path = resolve(out, attempt === 1 ? name : `${name}-${attempt}`);
    try {
      await mkdir(path);
      return { path, lock: await RunLock.take(path) };
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      if (taken === "refuse" && (await isAbandoned(path))) {
        const lock = await RunLock.take(path);
        // the other process may have begun its run meanwhile
        if (await isAbandoned(path)) {
          await recoverEntries(path);
          return { path, lock };
        }
        await lock.release();
      }
      if (taken === "suffix") continue;
      throw takenError(path, error);
    }
  }
}

function takenError(path: string, cause?: unknown): ConfigError {
  return new ConfigError(
    `[${path}] run folder cannot be made: got a folder that is there already, expected a new name. Choose another ` +
      "--name, or go on with that run with --resume.",
    { cause },
  );
}

/** @throws ConfigError when a new run cannot have the folder: something other than what a killed process left lies there */
export async function checkNameFree(path: string): Promise<void> {
  if ((await pathExists(path)) && !(await isAbandoned(path))) throw takenError(path);
}

/** What `action` gives; when it fails, the lock is given back. */
export async function releasedOnError<T>(lock: RunLock, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** The same for a new run: a folder in which it could not begin must not block its name. */
export async function abandonedOnError<T>(path: string, lock: RunLock, action: () => Promise<T>): Promise<T> {
  return releasedOnError(lock, async () => {
    try {
      return await action();
    } catch (error) {
      if (await isAbandoned(path)) await rm(path, { recursive: true, force: true });
      throw error;
    }
  });
}
