/** A disk without space, from a chosen write on: Node's own functions are replaced for the time of an action. */
import { constants } from "node:fs";
import disk from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

/** What asks the disk for space. Reading, renaming away and removing do not. */
const FUNCTIONS = ["open", "mkdir", "rename", "writeFile", "appendFile", "copyFile"] as const;
const OF_HANDLES = ["write", "writeFile", "appendFile", "sync"] as const;

/** Flags of `open` that ask for no space. */
function isReading(flags: unknown = "r"): boolean {
  const { O_WRONLY, O_RDWR } = constants;
  return typeof flags === "number" ? (flags & (O_WRONLY | O_RDWR)) === 0 : flags === "r";
}

type Written = string | Uint8Array;

/** How the disk is full. */
export interface FullDisk {
  /** The first write that fails, from 0 on; Infinity: none does, and they are counted. */
  readonly from: number;
  /** Whether all later ones fail too, as on a real disk, or this one alone. */
  readonly lasts: boolean;
}

/** @returns how many writes were tried, and what the action threw */
export async function onFullDisk(
  { from, lasts }: FullDisk,
  action: () => Promise<unknown>,
): Promise<{ readonly writes: number; readonly error: unknown }> {
  const saved = Object.fromEntries(FUNCTIONS.map((name) => [name, disk[name]]));
  let writes = 0;
  const isFull = () => {
    const number = writes++;
    return lasts ? number >= from : number === from;
  };
  // as Node has them: what an open file says names no path
  const refuse = (syscall: string, path?: unknown) =>
    Object.assign(
      new Error(`ENOSPC: no space left on device, ${syscall}${path === undefined ? "" : ` '${path}'`}`),
      {
        ...{ code: "ENOSPC", errno: -28, syscall },
        ...(path !== undefined && { path }),
      },
    );
  const replace = (target: object, name: string, around: (...args: unknown[]) => Promise<unknown>) =>
    Object.assign(target, { [name]: around });
  for (const name of FUNCTIONS) {
    const original = saved[name] as (...args: unknown[]) => Promise<unknown>;
    replace(disk, name, async (...args) => {
      const isWrite = name !== "open" || !isReading(args[1]);
      if (isWrite && isFull()) throw refuse(name, args[0]);
      const result = await original.apply(disk, args);
      if (name === "open") for (const inner of OF_HANDLES) narrow(result as object, inner);
      return result;
    });
  }
  function narrow(handle: object, name: (typeof OF_HANDLES)[number]): void {
    const original = Reflect.get(handle, name) as (...args: unknown[]) => Promise<unknown>;
    let isInside = false;
    replace(handle, name, async (...args) => {
      if (!isInside && isFull()) {
        // a full disk takes the beginning of what it is given
        const given = args[0] as Written | undefined;
        isInside = true;
        if (given !== undefined) await original.call(handle, given.slice(0, given.length >> 1));
        isInside = false;
        throw refuse(name);
      }
      return original.apply(handle, args);
    });
  }
  syncBuiltinESMExports();
  try {
    await action();
    return { writes, error: undefined };
  } catch (error) {
    return { writes, error };
  } finally {
    Object.assign(disk, saved);
    syncBuiltinESMExports();
  }
}
