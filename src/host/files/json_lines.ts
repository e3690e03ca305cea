/** Files of one JSON object a line that grow at their end. */
import { type FileHandle, open, readFile } from "node:fs/promises";
import { DataError } from "../../core/errors.js";
import { withPath } from "./error_codes.js";
import { pathExists, writeFileAtomic } from "./files.js";

/** Numbers that JSON has no word for become null. */
export function jsonLine(row: object): string {
  return `${JSON.stringify(row)}\n`;
}

/** Appends text to a file. Writes happen in the order of the calls, awaited or not. */
export class AppendFile {
  #last: Promise<void> = Promise.resolve();
  #failure: unknown;

  private constructor(
    readonly handle: FileHandle,
    readonly path: string,
  ) {}

  /** Opens or makes a file. */
  static async open(path: string): Promise<AppendFile> {
    return new AppendFile(await open(path, "a"), path);
  }

  /** What the system said of the first write that failed; undefined as long as none did. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Resolves when the text has been handed to the system. @throws what the system says, also of earlier writes */
  append(text: string): Promise<void> {
    const writing = this.#last.then(async () => {
      if (this.#failure) throw this.#failure;
      await this.handle.appendFile(text, "utf8").catch((error) => {
        throw withPath(error, this.path);
      });
    });
    this.#last = writing.catch((error) => {
      this.#failure = error;
    });
    return writing;
  }

  /** Resolves when everything appended so far is on the disk. */
  async flush(): Promise<void> {
    await this.#last;
    if (this.#failure) throw this.#failure;
    await this.handle.sync().catch((error) => {
      throw withPath(error, this.path);
    });
  }

  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      await this.handle.close();
    }
  }
}

/** The whole rows of a file, as text with line ends. A line that a killed process left unfinished is not one of them. */
async function completeLines(path: string): Promise<string[]> {
  if (!(await pathExists(path))) return [];
  const parts = (await readFile(path, "utf8")).split(/(?<=\n)/);
  return parts.filter((line) => line.endsWith("\n"));
}

/** @throws DataError naming the line */
function parseLine(path: string, line: string, index: number): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new DataError(
      `[${path}:${index + 1}] line is not JSON: got ${JSON.stringify(line.slice(0, 60))}, expected one JSON object. ` +
        "Remove the line.",
      { cause: error },
    );
  }
}

/**
 * Rows of a file; none when there is no file. An unfinished last line is left out.
 * @throws DataError naming the line that is not JSON
 */
export async function readJsonLines(path: string): Promise<unknown[]> {
  return (await completeLines(path)).map((line, index) => parseLine(path, line, index));
}

/**
 * Removes the rows of updates after `step`, and an unfinished last line. What stays keeps its bytes.
 * @param step updates done at the checkpoint that a run goes on from
 * @throws DataError naming a line that is not JSON
 */
export async function dropRowsAfter(path: string, step: number): Promise<void> {
  if (!(await pathExists(path))) return;
  const kept = (await completeLines(path)).filter((line, index) => {
    const row = parseLine(path, line, index);
    return typeof row === "object" && row !== null && "step" in row && Number(row.step) <= step;
  });
  await writeFileAtomic(path, kept.join(""));
}
