/** Opens what `uncouple play` plays: a world, one of its tasks, a file of commands. */
import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { closest } from "fastest-levenshtein";
import { textLayer } from "../../config/layers.js";
import { resolveLayers } from "../../config/load.js";
import type { TrainConfig } from "../../config/schema.js";
import { ConfigError, DataError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import { Random } from "../../core/random.js";
import { taskTypeOfPath } from "../../env/alfworld/game.js";
import { AlfworldWorld } from "../../env/alfworld/world.js";
import { householdWorld } from "../../env/household/world.js";
import { gameId, readGameId, SCIENCE_TASKS } from "../../env/scienceworld/tasks.js";
import type { Task, World } from "../../env/world.js";
import { readConfigText } from "../../host/files/config_text.js";
import { pathExists } from "../../host/files/files.js";
import { RUN_FILES } from "../../host/run/run_info.js";
import { openAlfworldFolder } from "../../host/worlds/alfworld_folder.js";
import { openExternalWorld } from "../../host/worlds/external_world.js";
import { openScienceWorld } from "../../host/worlds/scienceworld.js";

/** Worlds that `--env` names. */
export const WORLDS = ["household", "alfworld", "scienceworld", "external"] as const;

/** Seconds for an answer of an external world. */
const TIME_LIMIT = 120;

/** The options that say what is played. */
export interface WorldChoice {
  /** A `game.tw-pddl` file. */
  readonly game?: string;
  readonly env?: (typeof WORLDS)[number];
  /** Folder of ALFWorld's data, also of a run's policy. */
  readonly data?: string;
  /** ScienceWorld's jar, also of a run's policy. */
  readonly jar?: string;
  readonly variation?: number;
  readonly simplifications?: string;
  /** Program and arguments of an external world. */
  readonly program?: readonly string[];
  readonly split?: string;
  readonly task?: string;
  readonly seed?: number;
  readonly domain?: string;
  readonly grammar?: string;
}

/** Split of the one task of a world made from `--game`. */
const GAME_SPLIT = "game";

/** The configuration of the run that exported a model: it lies beside the model's folder, and so does the run's record.
 *  @returns undefined for a model from elsewhere, whatever else of that name lies there
 *  @throws ConfigError when the configuration is wrong */
export async function runConfig(model: string): Promise<TrainConfig | undefined> {
  const run = dirname(resolve(model));
  const file = join(run, RUN_FILES.config);
  if (!(await pathExists(file)) || !(await pathExists(join(run, RUN_FILES.info)))) return undefined;
  return resolveLayers([textLayer(await readConfigText(file), file)]).config;
}

/** Opens the world of a choice; by default that of the run, else the household world.
 *  @throws ConfigError when a file or folder is missing or options do not fit
 *  @throws DataError when a file is malformed */
export async function openWorld(choice: WorldChoice, run?: TrainConfig, logger?: Logger): Promise<World> {
  const { game, env = "household" } = choice;
  refuseScience(choice, run);
  if (game !== undefined) return openGame(game, choice);
  if (run && choice.env === undefined) return openRunWorld(choice, run, logger);
  if (env !== "alfworld") refuseRules(choice);
  switch (env) {
    case "household":
      return householdWorld({ seed: choice.seed });
    case "alfworld":
      return openAlfworldSplit(choice, logger);
    case "scienceworld": {
      const { jar, simplifications } = choice;
      return openScienceWorld({ jar, simplifications, maxEnvironments: 1 });
    }
    case "external":
      return openExternalWorld({ command: choice.program ?? [], timeLimit: TIME_LIMIT, maxEnvironments: 1 });
  }
}

/** Opening a split reads all its files, so only one is opened; ids begin with theirs. */
async function openAlfworldSplit(
  { data, domain, grammar, split, task }: WorldChoice,
  logger: Logger | undefined,
): Promise<World> {
  if (data === undefined) {
    throw new ConfigError(
      "[play] no ALFWorld data: got no folder, expected --data or the variable ALFWORLD_DATA. Run " +
        "`alfworld-download` and name its folder, or play one file with --game.",
    );
  }
  return openAlfworldFolder(data, {
    splits: [split ?? task?.split("/")[0] ?? "train"],
    domainFile: domain,
    grammarFile: grammar,
    logger,
  });
}

/** Options that ScienceWorld alone has. */
function refuseScience(choice: WorldChoice, run: TrainConfig | undefined): void {
  if ((choice.env ?? run?.world.id) === "scienceworld") return;
  for (const option of ["variation", "simplifications"] as const) {
    if (choice[option] === undefined) continue;
    throw new ConfigError(
      `[play] option does not fit: got --${option} with another world, expected --env scienceworld. Add it, or leave the option out.`,
    );
  }
}

/** ALFWorld's games only can be played by other rules. */
function refuseRules({
  env = "household",
  domain,
  grammar,
}: Pick<WorldChoice, "domain" | "grammar"> & { readonly env?: string }): void {
  const rules = domain !== undefined ? "--domain" : grammar !== undefined ? "--grammar" : undefined;
  if (rules === undefined) return;
  throw new ConfigError(
    `[play] option does not fit: got ${rules} with the ${env} world, expected a game of ALFWorld. Add --game or --env alfworld.`,
  );
}

/** The world that a run trains in, which a seed and other rules change as they do elsewhere. */
async function openRunWorld(
  choice: WorldChoice,
  { world, ...rest }: TrainConfig,
  logger?: Logger,
): Promise<World> {
  // It brings the kernels along, which most ways to play do not need.
  const { openTrainingWorld } = await import("../../host/run/training_setup.js");
  if (world.id !== "alfworld") refuseRules({ ...choice, env: world.id });
  return openTrainingWorld(
    {
      ...rest,
      world: {
        ...world,
        path: choice.data ?? null,
        domain: choice.domain ?? world.domain,
        grammar: choice.grammar ?? world.grammar,
        household: { ...world.household, seed: choice.seed ?? world.household.seed },
        jar: choice.jar ?? null,
        scienceworld: {
          ...world.scienceworld,
          simplifications: choice.simplifications ?? world.scienceworld.simplifications,
        },
      },
    },
    logger,
  );
}

async function openGame(file: string, { domain, grammar }: WorldChoice): Promise<AlfworldWorld> {
  const content = await readInput(file, "--game", "a game.tw-pddl file");
  const entry = {
    taskId: file,
    split: GAME_SPLIT,
    type: taskTypeOfPath(resolve(file)),
    load: () => content,
  };
  return new AlfworldWorld([entry], {
    domain: domain && decode(await readInput(domain, "--domain", "a PDDL domain"), domain),
    domainFile: domain,
    grammar: grammar && decode(await readInput(grammar, "--grammar", "a TWL2 grammar"), grammar),
    grammarFile: grammar,
  });
}

/** The task to play: `task`, else one drawn by the seed from a world that the seed does not draw itself, else the first.
 *  @throws ConfigError when there is no such task or split */
export function chooseTask(world: World, choice: WorldChoice): Task {
  const { split, seed } = choice;
  const task = world.id === "scienceworld" ? scienceTaskId(choice) : choice.task;
  const splits = split === undefined ? world.splits : [split];
  if (task === undefined) {
    const tasks = world.tasks(splits[0] as string);
    const isDrawn = world.id !== "household" && seed !== undefined;
    return isDrawn ? Random.of(seed, "play", "task").pick(tasks) : (tasks[0] as Task);
  }
  const tasks = splits.flatMap((name) => world.tasks(name));
  const found = tasks.find(({ id }) => id === task);
  if (found !== undefined) return found;
  const ids = tasks.map(({ id }) => id);
  throw new ConfigError(
    `[play] unknown task: got \`${task}\`, expected one of ${ids.length} ids such as \`${closest(task, ids)}\`. ` +
      "Print them with --list.",
  );
}

/** `boil/3` from either way to say it; undefined when nothing is said.
 *  @throws ConfigError when there is no such game */
function scienceTaskId({ task, variation }: WorldChoice): string | undefined {
  if (task === undefined && variation === undefined) return undefined;
  if (task?.includes("/") && variation !== undefined) {
    throw new ConfigError(
      `[play] variation given twice: got --task ${task} and --variation ${variation}, expected one. Leave out --variation.`,
    );
  }
  const id = task?.includes("/")
    ? task
    : gameId({ task: task ?? SCIENCE_TASKS[0].name, variation: variation ?? 0 });
  return gameId(readGameId(id));
}

/** The commands of a file: every line as it is, spaces and empty lines too. Lines end in LF or CRLF; the end of the
 *  last one may be missing.
 *  @throws ConfigError when it cannot be read, DataError when it is no text */
export async function readCommands(file: string): Promise<string[]> {
  const text = decode(await readInput(file, "--commands", "a text file with one command a line"), file);
  if (text === "") return [];
  return text.replace(/\r?\n$/, "").split(/\r?\n/);
}

async function readInput(file: string, option: string, expected: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ConfigError(
      `[play] ${option} cannot be read: got ${code} for \`${file}\`, expected ${expected}. Check the path.`,
      { cause: error },
    );
  }
}

function decode(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new DataError(`[${file}] not UTF-8 text: expected a text file. Write the file again as UTF-8.`, {
      cause,
    });
  }
}
