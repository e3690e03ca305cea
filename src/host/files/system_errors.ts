/** What the operating system says, with the path, the rule and the cure. */
import { cut, printable } from "../../core/shown.js";

/** Meaning of an error code: what it is, what to do, whether the user named something that cannot be used. */
type Meaning = readonly [what: string, cure: string, isUsage: boolean];

const OTHER_PATH = "Name another path.";
const OTHER_DISK = "Free some space, or write to another disk.";
const PERMISSIONS = "Change its permissions, or name another path.";

const MEANINGS: Readonly<Record<string, Meaning>> = {
  ENOSPC: ["no space on the disk", OTHER_DISK, false],
  EDQUOT: ["no space in the quota", OTHER_DISK, false],
  EFBIG: ["a file too large for the file system", OTHER_DISK, false],
  EIO: ["an error of the disk or the terminal", "Look at the disk.", false],
  EMFILE: ["too many open files", "Raise the limit: ulimit -n 4096.", false],
  ENFILE: ["too many open files", "Close other programs.", false],
  ENOMEM: ["no memory", "Close other programs, or use a smaller model.", false],
  EPIPE: ["a reader that is gone", "Start again with a reader.", false],
  EACCES: ["no permission", PERMISSIONS, true],
  EPERM: ["no permission", PERMISSIONS, true],
  EROFS: ["a file system that cannot be written", OTHER_PATH, true],
  ENOENT: ["nothing of that name", "Check the path.", true],
  ENOTDIR: ["a file where a folder should be", OTHER_PATH, true],
  EISDIR: ["a folder where a file should be", OTHER_PATH, true],
  EEXIST: ["something that is there already", OTHER_PATH, true],
  ENAMETOOLONG: ["a name that is too long", "Name a shorter one.", true],
  ELOOP: ["links that lead to each other", "Mend the links, or name another path.", true],
};

/** A short text: code and meaning. */
export function systemText(error: unknown): string {
  const { code = "an unknown error" } = error as NodeJS.ErrnoException;
  const meaning = MEANINGS[code];
  return meaning === undefined ? code : `${code} (${meaning[0]}). ${meaning[1]}`;
}

/** @returns the message for an ordinary error of the system; undefined for any other */
export function systemError(
  error: unknown,
): { readonly message: string; readonly isUsage: boolean } | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  const { code, path, dest, syscall } = error as NodeJS.ErrnoException & { readonly dest?: string };
  const meaning = MEANINGS[String(code)];
  if (meaning === undefined || syscall === undefined) return undefined;
  const [what, cure, isUsage] = meaning;
  if (syscall === "uv_cwd") {
    return {
      message: `[working directory] it is gone: got ${code}, expected a folder that is there. Change to another folder.`,
      isUsage: true,
    };
  }
  const where = printable(cut(dest ?? path ?? "", 200)) || syscall;
  return {
    message: `[${where}] the system refused: got ${code} (${what}), expected that ${syscall} works. ${cure}`,
    isUsage,
  };
}
