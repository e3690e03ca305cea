/**
 * One process at a time in a run folder: two would mix their rows and remove each other's checkpoints. Each process that
 * wants in makes a file whose name says who it is, then looks for others. Of two that come at once at least one sees the
 * other's file and withdraws, so never do both get in; and as no name is ever used by a second process, removing the
 * file of a dead one cannot hit a living one.
 */
import { open, readdir, readFile, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { ConfigError } from "../../core/errors.js";
import { hasCode } from "../files/error_codes.js";

/** Who has a lock. */
interface Owner {
  /** As in file names: without characters that those cannot have. */
  readonly host: string;
  readonly pid: number;
  /** Milliseconds since 1970 at which the process began: in containers every process may have the same number. */
  readonly began: number;
}

const PREFIX = "run.lock.";

function fileNameOf({ host, pid, began }: Owner): string {
  return `${PREFIX}${host}.${pid}.${began}`;
}

function ownerOf(fileName: string): Owner | undefined {
  if (!fileName.startsWith(PREFIX)) return undefined;
  const parts = /^(.+)\.(\d+)\.(\d+)$/.exec(fileName.slice(PREFIX.length));
  return parts === null ? undefined : { host: parts[1], pid: Number(parts[2]), began: Number(parts[3]) };
}

function thisProcess(): Owner {
  const host = encodeURIComponent(hostname());
  return { host, pid: process.pid, began: Math.round(performance.timeOrigin) };
}

/** The right to write in a run folder. A killed process leaves its file behind, and that holds nobody up. */
export class RunLock {
  private constructor(private readonly path: string) {}

  /**
   * Takes the lock of a folder that is there, also from a process of this host that is no more.
   * @throws ConfigError while another process has it, or one of another host, which cannot be asked whether it lives
   */
  static async take(folder: string): Promise<RunLock> {
    const own = thisProcess();
    await removeDead(folder, own);
    const path = join(folder, fileNameOf(own));
    try {
      await (await open(path, "wx")).close();
    } catch (error) {
      throw hasCode(error, "EEXIST") ? inUse(folder, own) : error;
    }
    const lock = new RunLock(path);
    try {
      await removeDead(folder, own, path);
    } catch (error) {
      await lock.release();
      throw error;
    }
    return lock;
  }

  /** Lets others in. */
  async release(): Promise<void> {
    await rm(this.path, { force: true });
  }
}

/**
 * Removes the files of dead processes.
 * @param except the file to pass over
 * @throws ConfigError when there is another one, of a process that may be alive
 */
async function removeDead(folder: string, own: Owner, except?: string): Promise<void> {
  for (const fileName of await readdir(folder)) {
    const path = join(folder, fileName);
    const owner = ownerOf(fileName);
    if (owner === undefined || path === except) continue;
    if (!(await isDead(owner, own))) throw inUse(folder, owner);
    await rm(path, { force: true });
  }
}

function inUse(folder: string, owner: Owner): ConfigError {
  return new ConfigError(
    `[${folder}] run folder is in use: got process ${owner.pid} on ${owner.host}, expected no other process that trains ` +
      "in it. Wait for that process or stop it, or start another run with another --name; if it no longer runs, remove " +
      `the file ${fileNameOf(owner)}.`,
  );
}

/** Whether a process certainly runs no more. */
async function isDead({ host, pid, began }: Owner, own: Owner): Promise<boolean> {
  if (host !== own.host) return false;
  if (pid === own.pid) return began !== own.began;
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives, as another user's
    return hasCode(error, "ESRCH");
  }
  return isZombie(pid);
}

/** A killed process keeps its number until its parent has asked for its end. Only Linux tells. */
async function isZombie(pid: number): Promise<boolean> {
  if (process.platform !== "linux") return false;
  try {
    const status = await readFile(`/proc/${pid}/stat`, "utf8");
    return /^\) [ZX] /.test(status.slice(status.lastIndexOf(")")));
  } catch (error) {
    // gone by now, or not to be seen by this user
    if (hasCode(error, "ENOENT", "ESRCH")) return false;
    throw error;
  }
}
