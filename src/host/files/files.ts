/** Files and folders that appear whole or not at all: written under another name, flushed to the disk, then renamed. */
import { randomUUID } from "node:crypto";
import {
  type FileHandle,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
} from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ConfigError } from "../../core/errors.js";
import { printable } from "../../core/shown.js";
import { hasCode, withPath } from "./error_codes.js";

/** What a file can be written from. Chunks are written one after the other, each before the next is asked for. */
export type FileContent = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** A name beside `path` that nobody else uses; hidden, and in the same folder, so that a rename never copies. */
function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomUUID()}.partial`);
}

/** Makes a rename in the folder last through a power cut. Windows cannot open folders and needs no such call. */
async function flushFolder(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const folder = await open(path, "r");
  try {
    await folder.sync().catch((error) => {
      throw withPath(error, path);
    });
  } finally {
    await folder.close();
  }
}

/** One system call writes at most 2 GiB: bigger chunks go in parts. */
const MAX_WRITE_BYTES = 1 << 30;

async function writeChunk(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let start = 0; start < bytes.length; ) {
    const part = bytes.subarray(start, start + MAX_WRITE_BYTES);
    const { bytesWritten } = await handle.write(part);
    start += bytesWritten;
  }
}

/** Writes and flushes a new file. */
async function writeNewFile(path: string, content: FileContent): Promise<void> {
  const handle = await open(path, "wx");
  try {
    if (typeof content === "string") await writeChunk(handle, new TextEncoder().encode(content));
    else if (ArrayBuffer.isView(content)) await writeChunk(handle, content);
    else for await (const chunk of content) await writeChunk(handle, chunk);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Whether something lies at the path. Errors other than "not there" are thrown. */
export async function pathExists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}

/** @returns a file's bytes, or undefined when there is no such file */
export async function readIfPresent(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

/**
 * Where a file of this name lies: what a link leads to is written, and the link stays.
 * @throws ConfigError for a folder or a device: neither can be replaced by a file
 */
export async function writeTarget(path: string): Promise<string> {
  const found = await lstat(path).catch((error) => {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  });
  if (found === undefined) return path;
  const target = found.isSymbolicLink() ? await realpath(path) : path;
  if ((await stat(target)).isFile()) return target;
  const what = (await stat(target)).isDirectory() ? "a folder" : "a device or a pipe";
  throw new ConfigError(
    `[${printable(path)}] cannot be written: got ${what}, expected a file, or nothing of that name yet. Name another path.`,
  );
}

/**
 * Writes a file so that its name always leads to the old content or to the whole new content, through crashes and
 * power cuts too. Makes the folder when it is not there. On an error, also of the content, nothing has changed.
 * @param path file to write or replace
 */
export async function writeFileAtomic(path: string, content: FileContent): Promise<void> {
  await writeFilesAtomic([[path, content]]);
}

/**
 * The same for files that belong together: all are on the disk before the first one gets its name, so that a full disk leaves
 * no set of which some are old.
 */
export async function writeFilesAtomic(
  files: readonly (readonly [path: string, content: FileContent])[],
): Promise<void> {
  const written: { readonly path: string; readonly temporary: string }[] = [];
  try {
    for (const [name, content] of files) {
      const path = await writeTarget(name);
      const temporary = temporaryName(path);
      await mkdir(dirname(path), { recursive: true });
      written.push({ path, temporary });
      await writeNewFile(temporary, content);
    }
    for (const { path, temporary } of written) await rename(temporary, path);
  } catch (error) {
    for (const { temporary } of written) await rm(temporary, { force: true });
    for (const { path, temporary } of written.toReversed()) withPath(error, path, temporary);
    throw error;
  }
  for (const folder of new Set(written.map(({ path }) => dirname(path)))) await flushFolder(folder);
}

/** Flushes every file and folder below a folder, and the folder. */
async function flushTree(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) await flushTree(child);
    else if (entry.isFile()) {
      const handle = await open(child, "r+");
      try {
        await handle.sync().catch((error) => {
          throw withPath(error, child);
        });
      } finally {
        await handle.close();
      }
    }
  }
  await flushFolder(path);
}

/** Names that only this program makes: hidden, with a random part. A user's own folder is never taken for one. */
const LEFTOVER = /^\.(.+)\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\.(partial|previous)$/;

/** Whether a killed process may have left a file or folder of this name. */
export function isLeftover(name: string): boolean {
  return LEFTOVER.test(name);
}

/** Where `replaceDirectoryAtomic` keeps the old folder for the moment in which neither has the name. */
function previousName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomUUID()}.previous`);
}

/**
 * Mends what a killed process left of files and folders that it was writing into a folder: removes unfinished ones, puts back an
 * old folder when the crash fell between the two renames of `replaceDirectoryAtomic`, and removes it when the new one is in
 * place. Call it before reading what such a process may have been replacing, and only where no process writes.
 * @param names which of the folder's entries are meant; default all
 */
export async function recoverEntries(folder: string, isMeant = (_name: string) => true): Promise<void> {
  if (!(await pathExists(folder))) return;
  for (const entry of await readdir(folder)) {
    const [, name, kind] = LEFTOVER.exec(entry) ?? [];
    if (name === undefined || !isMeant(name)) continue;
    const [left, target] = [join(folder, entry), join(folder, name)];
    if (kind === "previous" && !(await pathExists(target))) await rename(left, target);
    else await rm(left, { recursive: true, force: true });
  }
}

/** The same for one folder that may have been being replaced. */
export async function recoverDirectory(path: string): Promise<void> {
  const folder = resolve(path);
  await recoverEntries(dirname(folder), (name) => name === basename(folder));
}

/**
 * Makes or replaces a whole folder. `fill` writes into a temporary folder; when it is done, everything is flushed and
 * the folder gets its name. Readers find the old folder or the complete new one; systems have no call that exchanges
 * two folders, so for an instant between two renames there may be none, which `recoverDirectory` mends after a crash.
 * @param path folder to make or replace; all that an old one held is gone afterwards
 * @param fill writes the content into the folder it is given. When it throws, nothing has changed
 */
export async function replaceDirectoryAtomic(
  path: string,
  fill: (temporary: string) => Promise<void>,
): Promise<void> {
  const folder = resolve(path);
  await mkdir(dirname(folder), { recursive: true });
  await recoverDirectory(folder);
  const temporary = temporaryName(folder);
  const previous = previousName(folder);
  try {
    await mkdir(temporary);
    await fill(temporary);
    await flushTree(temporary);
    if (await pathExists(folder)) await rename(folder, previous);
    await rename(temporary, folder);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    await recoverDirectory(folder);
    throw inFolder(error, temporary, folder);
  }
  await flushFolder(dirname(folder));
  await rm(previous, { recursive: true, force: true });
}

/** Names a file of a folder by the name that the folder was to get. @returns the same error */
function inFolder(error: unknown, temporary: string, folder: string): unknown {
  const path = typeof error === "object" && error !== null && "path" in error ? error.path : undefined;
  if (typeof path !== "string" || !path.startsWith(temporary)) return error;
  return withPath(error, `${folder}${path.slice(temporary.length)}`, path);
}

/** A file's bytes from `begin` to `end`. Opens and closes the file; reads more than 2 GiB in parts. */
export async function readRange(path: string, begin: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(end - begin);
  const handle = await open(path, "r");
  try {
    for (let filled = 0; filled < bytes.length; ) {
      const part = bytes.subarray(filled, filled + MAX_WRITE_BYTES);
      const { bytesRead } = await handle.read(part, 0, part.length, begin + filled);
      if (bytesRead === 0)
        throw new Error(`${path} ended at byte ${begin + filled} while it was read to ${end}`);
      filled += bytesRead;
    }
  } finally {
    await handle.close();
  }
  return bytes;
}
