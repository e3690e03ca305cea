/**
 * Files of run folders, read and never written. Run folders may come from strangers: a link in one, a pipe, or a name with dots
 * must not lead the reader elsewhere.
 */
import { type FileHandle, lstat, readdir, realpath } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ConfigError } from "../core/errors.js";
import { hasCode } from "../host/files/error_codes.js";
import { RUN_FILES } from "../host/run/run_info.js";
import { isLockFile } from "../host/run/run_lock.js";
import { RequestError } from "./errors.js";
import { ABSENT, isPlainName, openPlainFile, readWhole, stampOf } from "./plain_files.js";

/** The folders of runs below one folder. */
export class RunTree {
  private constructor(
    /** Without links. */
    readonly root: string,
    /** The only run, where a run folder itself was given. */
    readonly only: string | undefined,
  ) {}

  /** @param path folder of run folders, or one run folder. @throws ConfigError when it is neither */
  static async open(path: string): Promise<RunTree> {
    let root: string;
    try {
      root = await realpath(resolve(path));
      await readdir(root);
    } catch (error) {
      if (!hasCode(error, ...ABSENT)) throw error;
      throw new ConfigError(
        `[watch] folder cannot be read: got ${(error as NodeJS.ErrnoException).code} for ${path}, expected a folder of run ` +
          "folders, or one run folder. Name another one.",
        { cause: error },
      );
    }
    const tree = new RunTree(root, undefined);
    const isRun = await tree.#isFile(join(root, RUN_FILES.info));
    return isRun ? new RunTree(dirname(root), basename(root)) : tree;
  }

  /** Names of folders that hold a `run.json`, in alphabetical order. */
  async runs(): Promise<string[]> {
    const names =
      this.only === undefined ? (await readdir(this.root)).filter(isPlainName).sort() : [this.only];
    const found = await Promise.all(names.map(async (name) => ((await this.isRun(name)) ? [name] : [])));
    return found.flat();
  }

  /** Whether a folder of that name is a run. */
  async isRun(name: string): Promise<boolean> {
    const isOwn = this.only === undefined || name === this.only;
    return isOwn && isPlainName(name) && (await this.#isFile(join(this.root, name, RUN_FILES.info)));
  }

  /** Entries of a folder of a run; none where there is no such folder. */
  async list(run: string, ...parts: readonly string[]): Promise<string[]> {
    const path = this.#path(run, parts);
    try {
      if ((await realpath(path)) !== path) return [];
      return await readdir(path);
    } catch (error) {
      if (hasCode(error, ...ABSENT)) return [];
      throw error;
    }
  }

  /**
   * Opens a file of a run; the caller closes it.
   * @returns undefined when there is none, or when a link or something else that is no file has its name
   */
  async open(run: string, ...parts: readonly string[]): Promise<FileHandle | undefined> {
    return openPlainFile(this.#path(run, parts));
  }

  /** What tells whether files of a run are still the same. */
  async stamp(run: string, ...names: readonly string[]): Promise<string> {
    const parts = names.map(async (name) => {
      try {
        return stampOf(await lstat(this.#path(run, [name])));
      } catch (error) {
        if (hasCode(error, ...ABSENT)) return "";
        throw error;
      }
    });
    return (await Promise.all(parts)).join("/");
  }

  /** A whole small file; undefined as for `open`. @throws RequestError for a huge one */
  async read(run: string, ...parts: readonly string[]): Promise<string | undefined> {
    const handle = await this.open(run, ...parts);
    return handle && readWhole(handle, parts.join("/"));
  }

  /** Milliseconds since 1970 of the last sign of life of the process that trains in a run; undefined where none does. */
  async lastBeat(run: string): Promise<number | undefined> {
    let newest: number | undefined;
    for (const name of await this.list(run)) {
      if (!isLockFile(name) || !isPlainName(name)) continue;
      const handle = await this.open(run, name);
      if (handle === undefined) continue;
      const { mtimeMs } = await handle.stat().finally(() => handle.close());
      newest = Math.max(newest ?? 0, mtimeMs);
    }
    return newest;
  }

  #path(run: string, parts: readonly string[]): string {
    const names = [run, ...parts];
    const isOwn = this.only === undefined || run === this.only;
    if (isOwn && names.every(isPlainName)) return join(this.root, ...names);
    throw new RequestError(
      404,
      "[watch] no such run or file: got a name that no run has, expected one of the list. Go back to the list of runs.",
    );
  }

  async #isFile(path: string): Promise<boolean> {
    try {
      const folder = dirname(path);
      return (await realpath(folder)) === folder && (await lstat(path)).isFile();
    } catch (error) {
      if (hasCode(error, ...ABSENT)) return false;
      throw error;
    }
  }
}
