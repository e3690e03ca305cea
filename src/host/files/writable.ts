/** Whether files can be made in a folder, found out before there is anything to lose. */
import { randomUUID } from "node:crypto";
import { lstat, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { hasCode, withPath } from "./error_codes.js";
import { writeTarget } from "./files.js";

/**
 * Writes a byte into the folder, or into the nearest one above it that is there, and removes it.
 * @throws what the system says when nothing can be written
 */
export async function checkWritable(folder: string): Promise<void> {
  const nearest = await nearestFolder(resolve(folder));
  // a name by which a process that goes on there removes it, should this one be killed now
  const probe = join(nearest, `.probe.${randomUUID()}.partial`);
  try {
    await writeFile(probe, "-", { flag: "wx" });
  } catch (error) {
    throw withPath(error, folder, probe);
  } finally {
    await rm(probe, { force: true });
  }
}

/**
 * Whether a file can be written or replaced.
 * @throws what the system says when it cannot, ConfigError for something there that is no file
 */
export async function checkFileWritable(path: string): Promise<void> {
  await checkWritable(dirname(await writeTarget(path)));
}

async function nearestFolder(path: string): Promise<string> {
  try {
    if ((await stat(path)).isDirectory()) return path;
  } catch (error) {
    if (!hasCode(error, "ENOENT") || (await isLink(path)) || path === dirname(path)) throw error;
    return nearestFolder(dirname(path));
  }
  throw Object.assign(new Error(`ENOTDIR: not a directory, mkdir '${path}'`), {
    ...{ code: "ENOTDIR", syscall: "mkdir", path },
  });
}

/** Whether a link lies there, which may lead nowhere. */
async function isLink(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSymbolicLink();
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}
