/** Lines of a file that grows, read once each; and noticed when lines are taken back. */
import type { FileHandle } from "node:fs/promises";

/** Opens the file anew at every look: it may have been replaced. */
export type OpenFile = () => Promise<FileHandle | undefined>;

/** Bytes of one read. Others are answered between two reads, so a long file keeps nobody waiting. */
const CHUNK = 512 << 10;
/** Longest line; longer ones count as damaged. */
const MAX_LINE = 64 << 20;
/** Last bytes that were read are compared at the next look: a file that was written over in its place differs there. */
const COMPARED = 64;

/**
 * Follows a file of one JSON object a line. A last line without its end is left for later; a line that is no JSON object counts
 * as damaged. When the file was replaced, cut or written over, everything is read again and `generation` goes up.
 */
export class JsonTail {
  #place = 0;
  #inode = 0;
  #last = Buffer.alloc(0);
  #rest: Buffer[] = [];
  #damaged = 0;
  #generation = 0;
  #isRead = false;
  #looking: Promise<void> | undefined;

  constructor(
    private readonly openFile: OpenFile,
    private readonly onRow: (row: Readonly<Record<string, unknown>>) => void,
    private readonly onReset: () => void,
  ) {}

  /** Whether everything was read at least once. */
  get isRead(): boolean {
    return this.#isRead;
  }

  get generation(): number {
    return this.#generation;
  }

  get damaged(): number {
    return this.#damaged;
  }

  /** Reads what is new. Callers at the same time share one look. */
  refresh(): Promise<void> {
    this.#looking ??= this.#look()
      .then(() => {
        this.#isRead = true;
      })
      .finally(() => {
        this.#looking = undefined;
      });
    return this.#looking;
  }

  async #look(): Promise<void> {
    const handle = await this.openFile();
    if (handle === undefined) {
      // between two renames of a writer there may be no file for an instant; a file that comes back has another inode
      return;
    }
    try {
      const { size, ino } = await handle.stat();
      if (this.#place > 0 && !(await this.#isSame(handle, size, ino))) this.#reset();
      this.#inode = ino;
      while (this.#place < size) if (!(await this.#readChunk(handle, size))) return;
    } finally {
      await handle.close();
    }
  }

  async #isSame(handle: FileHandle, size: number, ino: number): Promise<boolean> {
    if (ino !== this.#inode || size < this.#place) return false;
    const now = Buffer.alloc(this.#last.length);
    const { bytesRead } = await handle.read(now, 0, now.length, this.#place - now.length);
    return bytesRead === now.length && now.equals(this.#last);
  }

  #reset(): void {
    this.#place = 0;
    this.#last = Buffer.alloc(0);
    this.#rest = [];
    this.#damaged = 0;
    this.#generation++;
    this.onReset();
  }

  /** @returns false when the file ended before `size` */
  async #readChunk(handle: FileHandle, size: number): Promise<boolean> {
    const chunk = Buffer.alloc(Math.min(CHUNK, size - this.#place));
    const { bytesRead } = await handle.read(chunk, 0, chunk.length, this.#place);
    if (bytesRead === 0) return false;
    const bytes = chunk.subarray(0, bytesRead);
    this.#place += bytesRead;
    this.#last = Buffer.from(Buffer.concat([this.#last, bytes]).subarray(-COMPARED));
    let start = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
      this.#line(Buffer.concat([...this.#rest, bytes.subarray(start, end)]));
      this.#rest = [];
      start = end + 1;
    }
    if (start < bytes.length) this.#keep(bytes.subarray(start));
    return true;
  }

  #keep(part: Buffer): void {
    this.#rest.push(part);
    const length = this.#rest.reduce((sum, one) => sum + one.length, 0);
    // what stands for a line too long is not JSON, so it counts as damaged when its end comes
    if (length > MAX_LINE) this.#rest = [Buffer.from("?")];
  }

  #line(bytes: Buffer): void {
    const row = parsedObject(bytes.toString("utf8"));
    if (row === undefined) this.#damaged++;
    else this.onRow(row);
  }
}

/** An object from a line; undefined for everything else. */
function parsedObject(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Some whole rows of a file, evenly spaced, the first and the newest among them. */
export interface SampledRows {
  /** Whole lines of the file. */
  readonly lines: number;
  /** One of so many was read; 1: all were. */
  readonly every: number;
  readonly rows: readonly Readonly<Record<string, unknown>>[];
}

/** Bytes of a file that is sampled: it is read at once. */
const MAX_SAMPLED = 256 << 20;

/**
 * Looks for the ends of lines alone and parses a few of them: a first answer long before everything is parsed.
 * @param most rows at most; lines that are no JSON object are left out
 * @returns undefined for a file too large to be read at once
 */
export async function sampledRows(openFile: OpenFile, most: number): Promise<SampledRows | undefined> {
  const handle = await openFile();
  if (handle === undefined) return { lines: 0, every: 1, rows: [] };
  let bytes: Buffer;
  try {
    const { size } = await handle.stat();
    if (size > MAX_SAMPLED) return undefined;
    bytes = await handle.readFile();
  } finally {
    await handle.close();
  }
  const ends: number[] = [];
  for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, end + 1)) ends.push(end);
  const every = Math.max(1, Math.ceil((ends.length - 1) / (most - 1)));
  const rows = ends.flatMap((end, line) => {
    if (line % every !== 0 && line !== ends.length - 1) return [];
    const row = parsedObject(bytes.toString("utf8", line === 0 ? 0 : ends[line - 1] + 1, end));
    return row === undefined ? [] : [row];
  });
  return { lines: ends.length, every, rows };
}

/** Bytes from the end in which the newest line is looked for. */
const END = 256 << 10;

/** The newest whole rows, newest first, without reading the whole file. */
export async function lastRows(openFile: OpenFile): Promise<Readonly<Record<string, unknown>>[]> {
  const handle = await openFile();
  if (handle === undefined) return [];
  try {
    const { size } = await handle.stat();
    const bytes = Buffer.alloc(Math.min(END, size));
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, size - bytes.length);
    const lines = bytes.subarray(0, bytesRead).toString("utf8").split("\n").slice(0, -1);
    return lines.reverse().flatMap((line) => {
      const row = parsedObject(line);
      return row === undefined ? [] : [row];
    });
  } finally {
    await handle.close();
  }
}
