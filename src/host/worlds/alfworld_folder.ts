/** ALFWorld games on disk, in folders laid out like `$ALFWORLD_DATA`, as `alfworld-download` makes them. */
import { readFileSync } from "node:fs";
import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { ConfigError, DataError } from "../../core/errors.js";
import { type Logger, silentLogger } from "../../core/logger.js";
import { cut, printable } from "../../core/shown.js";
import { TASK_TYPES, taskTypeOfPath } from "../../env/alfworld/game.js";
import { readGameFile } from "../../env/alfworld/game_file.js";
import { AlfworldWorld, type GameEntry } from "../../env/alfworld/world.js";
import { hasCode } from "../files/error_codes.js";

export interface AlfworldFolderOptions {
  /** Subfolders to read, in this order; default: those of train, valid_seen and valid_unseen that are there. */
  readonly splits?: readonly string[];
  /** Task types to keep; default: all six. */
  readonly taskTypes?: readonly string[];
  /** PDDL domain file for all games in place of their own, to play old files by newer rules. */
  readonly domainFile?: string;
  /** TWL2 grammar file for all games in place of their own. */
  readonly grammarFile?: string;
  /** Steps after which an unwon episode is truncated; default: never. */
  readonly maxSteps?: number;
  /** Hears how many games of a split are left out, and why. Default: nobody. */
  readonly logger?: Logger;
}

/** Names of splits in ALFWorld's own configuration, and the folders they stand for. */
const ALIASES: Readonly<Record<string, string>> = {
  eval_in_distribution: "valid_seen",
  eval_out_of_distribution: "valid_unseen",
};

const SPLITS = ["train", "valid_seen", "valid_unseen"] as const;
const DATA_FOLDER = "json_2.1.1";
const GAME_FILE = "game.tw-pddl";
const TRAJECTORY_FILE = "traj_data.json";
const DOWNLOAD = "Run `alfworld-download`, or give the folder that $ALFWORLD_DATA names";

/** Files read at the same time while looking through a split. */
const PARALLEL_READS = 32;

/**
 * Opens the games that the official loader plays: those marked solvable, without movable receptacles or slices. Task ids
 * are `<split>/<task folder>/<trial folder>/game.tw-pddl`, sorted within a split.
 * @param path the folder that contains `json_2.1.1`, or that folder itself
 * @throws ConfigError when the folder or a split is missing or has no such game
 * @throws DataError when a game file is no game
 */
export async function openAlfworldFolder(
  path: string,
  options: AlfworldFolderOptions = {},
): Promise<AlfworldWorld> {
  const types = options.taskTypes ?? TASK_TYPES;
  const unknown = types.find((type) => !(TASK_TYPES as readonly string[]).includes(type));
  if (unknown !== undefined) {
    throw new ConfigError(
      `[alfworld] unknown task type: got \`${unknown}\`, expected one of ${TASK_TYPES.join(", ")}. Correct it.`,
    );
  }
  const root = await dataFolder(path);
  const splits = await splitsOf(root, options.splits);
  const entries: GameEntry[] = [];
  for (const split of splits) {
    const found = await gamesOf(root, split, types, options.logger ?? silentLogger);
    if (found.length === 0) {
      throw new ConfigError(
        `[alfworld] no playable game: got 0 in ${join(root, split)}, expected at least 1 marked solvable of type \
${types.join(", ")}. ${DOWNLOAD}, or choose other task types.`,
      );
    }
    entries.push(...found);
  }
  const { domainFile, grammarFile, maxSteps } = options;
  return new AlfworldWorld(entries, {
    maxSteps,
    domain: domainFile === undefined ? undefined : readText(domainFile),
    domainFile,
    grammar: grammarFile === undefined ? undefined : readText(grammarFile),
    grammarFile,
  });
}

/** Whether folder and splits are there, without looking at a game. @throws ConfigError when not */
export async function checkAlfworldFolder(path: string, splits: readonly string[]): Promise<void> {
  await splitsOf(await dataFolder(path), splits);
}

/** `json_2.1.1` in or at the path. */
async function dataFolder(path: string): Promise<string> {
  if (!(await isFolder(path))) {
    throw new ConfigError(
      `[alfworld] no such folder: got \`${path}\`, expected the ALFWorld data. ${DOWNLOAD}.`,
    );
  }
  const inside = join(path, DATA_FOLDER);
  return (await isFolder(inside)) ? inside : path;
}

async function splitsOf(root: string, wanted: readonly string[] | undefined): Promise<readonly string[]> {
  const present: string[] = [];
  for (const split of wanted ?? SPLITS) if (await isFolder(join(root, split))) present.push(split);
  const missing = wanted?.find((split) => !present.includes(split));
  if (missing === undefined && present.length > 0) return present;
  const entries = (await readdir(root)).sort();
  const splits = SPLITS.filter((split) => entries.includes(split));
  const got = missing === undefined ? "none" : `\`${printable(cut(missing))}\``;
  const holds = splits.length > 0 ? splits : entries;
  const shownEntries = holds.length === 0 ? "nothing" : printable(cut(holds.join(", "), 120));
  const alias = missing === undefined ? undefined : ALIASES[missing];
  const other = entries.find((name) => /^json_\d/.test(name));
  const cure =
    alias !== undefined
      ? `ALFWorld's ${missing} is the folder ${alias}: use that name.`
      : splits.length > 0
        ? "Use one of its names."
        : other !== undefined
          ? `Rename ${printable(other)} to ${DATA_FOLDER} if it holds the same data. ${DOWNLOAD}.`
          : `${DOWNLOAD}.`;
  throw new ConfigError(
    `[alfworld] no such split: got ${got} in \`${root}\`, which holds ${shownEntries}, expected ` +
      `${splits.length > 0 ? splits.join(", ") : `${DATA_FOLDER} with ${SPLITS.join(", ")}`}. ${cure}`,
  );
}

/** Paths of the files of a name below a folder. A folder that links lead to again is looked through once. */
async function filesBelow(folder: string, name: string, seen = new Set<string>()): Promise<string[]> {
  const real = await realpath(folder);
  if (seen.has(real)) return [];
  seen.add(real);
  const found: string[] = [];
  for (const entry of (await readdir(folder, { withFileTypes: true })).sort((a, b) =>
    a.name < b.name ? -1 : 1,
  )) {
    const path = join(folder, entry.name);
    if (entry.name === name) found.push(path);
    else if (entry.isDirectory() || (entry.isSymbolicLink() && (await isFolder(path)))) {
      found.push(...(await filesBelow(path, name, seen)));
    }
  }
  return found;
}

/** Games of a split that are not played, by the reason. */
class LeftOut {
  readonly #reasons = new Map<string, string[]>();

  add(reason: string, taskId: string): void {
    this.#reasons.set(reason, [...(this.#reasons.get(reason) ?? []), taskId]);
  }

  tell(split: string, played: number, logger: Logger): void {
    if (this.#reasons.size === 0) return;
    const parts = [...this.#reasons].map(([reason, ids]) => {
      const some = ids.slice(0, 3).map((id) => printable(cut(id, 160)));
      return `${ids.length} ${reason} (${some.join(", ")}${ids.length > some.length ? ", ..." : ""})`;
    });
    logger.warn(`[alfworld] ${split}: ${played} games, left out: ${parts.join("; ")}`);
  }
}

/** The games of a split that pass the official loader's filter, sorted by id. */
async function gamesOf(
  root: string,
  split: string,
  types: readonly string[],
  logger: Logger,
): Promise<GameEntry[]> {
  const leftOut = new LeftOut();
  const files = (await filesBelow(join(root, split), GAME_FILE))
    .map((file) => ({ file, taskId: relative(root, file).split(sep).join("/") }))
    .filter(({ taskId }) => {
      const isPlayed = !taskId.includes("movable") && !taskId.includes("Sliced");
      if (!isPlayed) leftOut.add("with movable receptacles or slices", taskId);
      return isPlayed;
    })
    .sort((a, b) => (a.taskId < b.taskId ? -1 : 1));
  const entries: GameEntry[] = [];
  for (let start = 0; start < files.length; start += PARALLEL_READS) {
    const batch = files.slice(start, start + PARALLEL_READS);
    const read = await Promise.all(batch.map(({ file, taskId }) => entryOf(file, taskId, split, types)));
    for (const [i, entry] of read.entries()) {
      if (typeof entry === "string") leftOut.add(entry, batch[i].taskId);
      else if (entry !== undefined) entries.push(entry);
    }
  }
  leftOut.tell(split, entries.length, logger);
  return entries;
}

/** @returns a game, why it is left out, or undefined for a type that nobody asked for */
async function entryOf(
  file: string,
  taskId: string,
  split: string,
  types: readonly string[],
): Promise<GameEntry | string | undefined> {
  const type = (await recordedTaskType(file)) ?? taskTypeOfPath(taskId);
  if (!(TASK_TYPES as readonly string[]).includes(type))
    return `of the unknown type ${printable(cut(type, 40))}`;
  if (!types.includes(type)) return undefined;
  const solvable = await solvableMark(file);
  if (solvable !== "true")
    return solvable === undefined ? "without the key `solvable`" : "not marked solvable";
  return { taskId, split, type, file, load: () => readText(file) };
}

/** `task_type` of the trajectory beside a game. The whole file is large and nothing else of it is needed. */
async function recordedTaskType(gameFile: string): Promise<string | undefined> {
  try {
    const text = await readFile(join(dirname(gameFile), TRAJECTORY_FILE), "utf8");
    return /(?<!\\)"task_type"\s*:\s*"(\w+)"/.exec(text)?.[1];
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw unreadable(join(dirname(gameFile), TRAJECTORY_FILE), error);
  }
}

/** What the file says about it. Inside JSON texts quotes have a backslash, so the bare key is the game's own. */
async function solvableMark(gameFile: string): Promise<string | undefined> {
  let text: string;
  try {
    text = await readFile(gameFile, "utf8");
  } catch (error) {
    throw unreadable(gameFile, error);
  }
  const mark = /(?<!\\)"solvable"\s*:\s*(true|false|null)\s*[,}]/.exec(text)?.[1];
  // Without the key a file is either whole and unchecked, or broken, which is said.
  if (mark !== undefined) return mark;
  const { solvable } = readGameFile(text, gameFile);
  return solvable === null ? undefined : String(solvable);
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw unreadable(file, error);
  }
}

function unreadable(file: string, cause: unknown): DataError {
  const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
  return new DataError(`[${file}] cannot be read: got ${code}, expected a readable file. Check the path.`, {
    cause,
  });
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return false;
    throw error;
  }
}
