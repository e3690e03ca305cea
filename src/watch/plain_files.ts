/**
 * Files that may come from strangers, read and never written: a link, a pipe, or a name with dots must not lead the reader
 * elsewhere.
 */
import { constants, type Stats } from "node:fs";
import { type FileHandle, open, realpath } from "node:fs/promises";
import { hasCode } from "../host/files/error_codes.js";
import { RequestError } from "./errors.js";

/** Bytes of a file that is read as a whole (settings, an analysis). Larger ones are refused. */
const MAX_WHOLE = 256 << 20;

/** Codes of a name that leads to nothing that may be read. */
export const ABSENT = [
  "ENOENT",
  "ENOTDIR",
  "ELOOP",
  "EACCES",
  "EISDIR",
  "ENAMETOOLONG",
  "EPERM",
  "ENXIO",
] as const;

/** What tells whether a file is still the same. */
export function stampOf({ ino, size, mtimeMs }: Pick<Stats, "ino" | "size" | "mtimeMs">): string {
  return `${ino} ${size} ${mtimeMs}`;
}

/** A name of one folder or file: no path, nothing hidden, nothing that the system takes otherwise. */
export function isPlainName(name: string): boolean {
  return name.length > 0 && name.length <= 255 && !name.startsWith(".") && !/[/\\\p{Cc}]/u.test(name);
}

/**
 * Opens a file; the caller closes it.
 * @param path absolute, without links
 * @returns undefined when there is none, or when a link or something else that is no file has its name
 */
export async function openPlainFile(path: string): Promise<FileHandle | undefined> {
  let handle: FileHandle | undefined;
  try {
    // a link anywhere on the way gives another path; O_NONBLOCK: opening a pipe must not wait for its writer
    if ((await realpath(path)) !== path) return undefined;
    handle = await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
    return undefined;
  } catch (error) {
    await handle?.close().catch(() => undefined);
    if (hasCode(error, ...ABSENT)) return undefined;
    throw error;
  }
}

/** Reads a small file as a whole, and closes it. @param name for messages. @throws RequestError for a huge one */
export async function readWhole(handle: FileHandle, name: string): Promise<string> {
  try {
    const { size } = await handle.stat();
    if (size > MAX_WHOLE) {
      throw new RequestError(
        422,
        `[watch] ${name} is too large to show: got ${size} bytes, expected at most ${MAX_WHOLE}. Open it otherwise.`,
      );
    }
    return await handle.readFile("utf8");
  } finally {
    await handle.close();
  }
}
