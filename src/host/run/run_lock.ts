/**
 * One process at a time in a run folder: two would mix their rows and remove each other's checkpoints. Each process that
 * wants in makes a file whose name says who it is, then looks for others. Of two that come at once at least one sees the
 * other's file and withdraws, so never do both get in; and as no name is ever used by a second process, removing the
 * file of a dead one cannot hit a living one.
 */
import { open, readdir, readFile, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { ConfigError } from "../../core/errors.js";
import { hasCode, withPath } from "../files/error_codes.js";

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

/** Whether a file of this name was made by a process that wanted into the folder. */
export function isLockFile(fileName: string): boolean {
  return ownerOf(fileName) !== undefined;
}

function thisProcess(): Owner {
  const host = encodeURIComponent(hostname());
  return { host, pid: process.pid, began: Math.round(performance.timeOrigin) };
}

/** Milliseconds between signs of life, and after how many without one a process of another host counts as dead. */
const BEAT = 20_000;
const STALE = 600_000;

/** The right to write in a run folder. A killed process leaves its file behind, and that holds nobody up. */
export class RunLock {
  #timer: ReturnType<typeof setInterval> | undefined;
  #isLost = false;

  private constructor(private readonly path: string) {}

  /** Touches the file from time to time, by which processes of other hosts see that this one lives. */
  #beat(): void {
    this.#timer = setInterval(() => {
      const now = new Date();
      utimes(this.path, now, now).catch((error: unknown) => {
        if (hasCode(error, "ENOENT", "ENOTDIR")) this.#isLost = true;
      });
    }, BEAT);
    this.#timer.unref();
  }

  /** @throws ConfigError when the file is gone: the run folder was removed, or given to another process */
  async check(): Promise<void> {
    if (!this.#isLost) {
      await stat(this.path).catch((error: unknown) => {
        if (hasCode(error, "ENOENT", "ENOTDIR")) this.#isLost = true;
        else throw error;
      });
    }
    if (!this.#isLost) return;
    throw new ConfigError(
      `[${this.path}] run folder is gone: got no lock file, expected the one that this process made. Somebody removed or ` +
        "moved the folder, or took it over; start the run again.",
    );
  }

  /**
   * Takes the lock of a folder that is there, also from a process of this host that is no more.
   * @throws ConfigError while another process has it, or one of another host, which cannot be asked whether it lives
   */
  static async take(folder: string): Promise<RunLock> {
    const own = thisProcess();
    await removeDead(folder, own);
    const path = join(folder, fileNameOf(own));
    try {
      const handle = await open(path, "wx");
      try {
        await handle.writeFile(await birthOf("self"));
      } catch (error) {
        await rm(path, { force: true });
        throw withPath(error, path);
      } finally {
        await handle.close();
      }
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
    lock.#beat();
    return lock;
  }

  /** Lets others in. */
  async release(): Promise<void> {
    clearInterval(this.#timer);
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
    if (!(await isDead(path, owner, own))) throw inUse(folder, owner);
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

/** Whether a process certainly runs no more, or has given no sign of life from another host for a long time. */
async function isDead(path: string, { host, pid, began }: Owner, own: Owner): Promise<boolean> {
  if (host !== own.host) return isStale(path);
  if (pid === own.pid) return began !== own.began;
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives, as another user's
    return hasCode(error, "ESRCH");
  }
  return (await isZombie(pid)) || isReused(path, pid);
}

/** @throws other errors than that the file is gone */
async function isStale(path: string): Promise<boolean> {
  try {
    return Date.now() - (await stat(path)).mtimeMs > STALE;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return true;
    throw error;
  }
}

/** Start of the system and, since then, of a process: two processes of one number differ in one of them. Only Linux tells. */
async function birthOf(pid: number | "self"): Promise<string> {
  if (process.platform !== "linux") return "";
  try {
    const boot = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
    const status = await readFile(`/proc/${pid}/stat`, "utf8");
    // fields after the name in brackets, which may hold anything; the 20th of them is the start in clock ticks
    const ticks = status.slice(status.lastIndexOf(")") + 2).split(" ")[19];
    return `${boot} ${ticks}`;
  } catch (error) {
    if (hasCode(error, "ENOENT", "ESRCH", "EACCES")) return "";
    throw error;
  }
}

/** Whether the number of the process that made a lock belongs to another one by now. */
async function isReused(path: string, pid: number): Promise<boolean> {
  const [then, now] = [await readFile(path, "utf8").catch(() => ""), await birthOf(pid)];
  return then !== "" && now !== "" && then !== now;
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
