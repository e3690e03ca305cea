/** Saved benchmarks of one folder, as `uncouple bench --save` writes them: read again when a file has changed. */
import { readdir, realpath } from "node:fs/promises";
import { join, resolve } from "node:path";
import { ConfigError, DataError } from "../core/errors.js";
import { hasCode } from "../host/files/error_codes.js";
import { parseJson } from "../host/files/json_file.js";
import { type BenchReport, mergeReports, newestRun, parseBenchReport } from "../report/bench_report.js";
import { RequestError } from "./errors.js";
import { ABSENT, isPlainName, openPlainFile, readWhole, stampOf } from "./plain_files.js";

/** Files that are read: a folder that holds something else by mistake must not fill the memory. */
const MOST_FILES = 200;

/** A file that was read: what it holds, or why it is no benchmark. */
interface ReadFile {
  readonly file: string;
  readonly report: BenchReport | undefined;
  readonly problem: string | undefined;
}

export interface ReadBenchmarks {
  readonly reports: readonly BenchReport[];
  /** All of them as one, the newest measurement of each. */
  readonly newest: BenchReport;
  readonly problems: readonly { readonly file: string; readonly problem: string }[];
}

export class BenchFolder {
  readonly #kept = new Map<string, { readonly key: string; readonly read: ReadFile }>();

  private constructor(
    /** Without links. */
    private readonly path: string,
  ) {}

  /** @throws ConfigError when a folder that somebody named cannot be read */
  static async open(path: string): Promise<BenchFolder> {
    try {
      const real = await realpath(resolve(path));
      await readdir(real);
      return new BenchFolder(real);
    } catch (error) {
      if (!hasCode(error, ...ABSENT)) throw error;
      throw new ConfigError(
        `[watch] benchmarks cannot be read: got ${(error as NodeJS.ErrnoException).code} for ${path}, expected a folder of files ` +
          "that uncouple bench --save wrote. Name another one.",
        { cause: error },
      );
    }
  }

  /** Where `uncouple bench --save` puts its files when it is called beside a folder of runs. @param runs without links */
  static beside(runs: string): BenchFolder {
    return new BenchFolder(resolve(runs, "..", "bench", "results"));
  }

  /** @returns undefined while there is no such folder */
  async read(): Promise<(ReadBenchmarks & { readonly folder: string }) | undefined> {
    const names = await this.#names();
    if (names === undefined) return undefined;
    const files = (await Promise.all(names.map((name) => this.#file(name)))).filter(
      (one) => one !== undefined,
    );
    const reports = files.flatMap(({ report }) => report ?? []);
    const byAge = [...reports].sort((a, b) => newestRun(b.rows).localeCompare(newestRun(a.rows)));
    return {
      folder: this.path,
      reports,
      newest: mergeReports(byAge),
      problems: files.flatMap(({ file, problem }) => (problem === undefined ? [] : [{ file, problem }])),
    };
  }

  async #names(): Promise<string[] | undefined> {
    try {
      if ((await realpath(this.path)) !== this.path) return undefined;
      const names = await readdir(this.path);
      return names
        .filter((name) => isPlainName(name) && name.endsWith(".json"))
        .sort()
        .slice(0, MOST_FILES);
    } catch (error) {
      if (hasCode(error, ...ABSENT)) return undefined;
      throw error;
    }
  }

  async #file(file: string): Promise<ReadFile | undefined> {
    const handle = await openPlainFile(join(this.path, file));
    if (handle === undefined) return undefined;
    const key = stampOf(await handle.stat());
    const known = this.#kept.get(file);
    if (known?.key === key) {
      await handle.close();
      return known.read;
    }
    const read = await parsed(file, () => readWhole(handle, file));
    this.#kept.set(file, { key, read });
    return read;
  }
}

async function parsed(file: string, text: () => Promise<string>): Promise<ReadFile> {
  try {
    return { file, report: parseBenchReport(parseJson(await text(), file), file), problem: undefined };
  } catch (error) {
    if (!(error instanceof DataError || error instanceof RequestError)) throw error;
    return { file, report: undefined, problem: error.message };
  }
}
