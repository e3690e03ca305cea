/** What version control knows about a folder. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Environment } from "../../core/environment.js";
import type { GitState } from "../../core/run_record.js";
import { hasCode } from "../files/error_codes.js";

const run = promisify(execFile);

/** Bytes of changes above which they are not recorded. */
const MAX_DIFF_BYTES = 64 << 20;

/** A checkout may come from anywhere: programs that its configuration names are not run, and nothing is fetched. */
const SAFE = [
  ...["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "diff.external="],
  ...["-c", "protocol.allow=never"],
];

/** State of a checkout. */
export interface GitSnapshot extends GitState {
  /** Difference of the tracked files from the commit; empty when there is none. */
  readonly diff: string;
}

/**
 * Reads commit and changes of the checkout that a folder lies in; nothing is written, no lock is taken.
 * @returns null when the folder is in no checkout, has no commit yet, or git is not installed
 */
export async function readGitState(folder: string, env: Environment): Promise<GitSnapshot | null> {
  const options = {
    cwd: folder,
    env: { ...env, GIT_OPTIONAL_LOCKS: "0" },
    maxBuffer: MAX_DIFF_BYTES,
    encoding: "utf8" as const,
  };
  try {
    const { stdout: commit } = await run("git", [...SAFE, "rev-parse", "--verify", "HEAD"], options);
    const filters = await withoutFilters(options);
    // from the top of the checkout, without external tools and colours that the user may have configured
    const diffArguments = ["diff", "HEAD", "--no-ext-diff", "--no-color", "--no-textconv", "--binary"];
    // a submodule has a configuration of its own
    const ofSubmodules = "--ignore-submodules=dirty";
    const diff = await run("git", [...SAFE, ...filters, ...diffArguments, ofSubmodules], options).then(
      ({ stdout }) => stdout,
      noteIfTooLong,
    );
    return { commit: commit.trim(), dirty: diff.length > 0, diff };
  } catch (error) {
    if (isAbsence(error)) return null;
    throw error;
  }
}

/**
 * Settings that turn off the filters which the checkout itself configures: git runs their programs on changed files. Those of
 * the user's own configuration stay, large file storage for one.
 */
async function withoutFilters(options: {
  readonly cwd: string;
  readonly env: Environment;
}): Promise<string[]> {
  const list = ["config", "--show-scope", "-z", "--name-only", "--get-regexp", "^filter\\."];
  const stdout = await run("git", [...SAFE, ...list], { ...options, encoding: "utf8" }).then(
    (found) => found.stdout,
    (error) => {
      // there is none
      if (hasCode(error, 1)) return "";
      throw error;
    },
  );
  const words = stdout.split("\0");
  const names = words.filter(
    (_, index) => index % 2 === 1 && ["local", "worktree"].includes(words[index - 1]),
  );
  const filters = new Set(names.map((name) => name.slice(0, name.lastIndexOf("."))));
  return [...filters].flatMap((filter) => [
    ...["-c", `${filter}.clean=`, "-c", `${filter}.smudge=`],
    ...["-c", `${filter}.process=`, "-c", `${filter}.required=false`],
  ]);
}

/** Stands in for a difference that is too long to keep. @throws every other error */
function noteIfTooLong(error: unknown): string {
  if (!hasCode(error, "ERR_CHILD_PROCESS_STDIO_MAXBUFFER")) throw error;
  return `The difference is longer than ${MAX_DIFF_BYTES} bytes and was not recorded.\n`;
}

/** git is not there (ENOENT), or says that there is no checkout or commit (exit code 128). */
function isAbsence(error: unknown): boolean {
  return hasCode(error, "ENOENT", 128);
}
