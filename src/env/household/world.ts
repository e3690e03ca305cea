/** Our household games as a world: nothing to download, drawn from a seed. */
import { ConfigError } from "../../core/errors.js";
import { AlfworldGame, TASK_TYPES } from "../alfworld/game.js";
import { ParseCache } from "../alfworld/parse_cache.js";
import { NOTHING_HAPPENS } from "../alfworld/play.js";
import { AlfworldWorld } from "../alfworld/world.js";
import { planFromStart } from "../planner/expert.js";
import { generateHouseholdGame, generateSeenHouseGame, householdTaskId } from "./generate.js";
import { checkDifficulty, type Difficulty, difficulties, type GameSplit, gameSplits } from "./house.js";
import { itemKinds, receptacleKinds } from "./rooms.js";
import type { HouseholdTaskType } from "./tasks.js";

export interface HouseholdOptions {
  /** Draws the games; default 0. */
  readonly seed?: number;
  /** Games of each split; default 256, 64 and 64, and no seen_houses. A split of 0 games is left out. */
  readonly sizes?: Partial<Record<GameSplit, number>>;
  /** Name of a preset, or the numbers themselves; default `normal`. */
  readonly difficulty?: keyof typeof difficulties | Difficulty;
  /** Task types of each split, dealt in turn; default: four types to train on, the other two out of domain. */
  readonly taskTypes?: Partial<Record<GameSplit, readonly HouseholdTaskType[]>>;
  /** Steps after which an unwon episode is truncated; default: never. */
  readonly maxSteps?: number;
}

const defaultSizes: Readonly<Record<GameSplit, number>> = {
  train: 256,
  seen_houses: 0,
  in_domain: 64,
  out_of_domain: 64,
};

const trainedTypes: readonly HouseholdTaskType[] = [
  "pick_and_place_simple",
  "look_at_obj_in_light",
  "pick_clean_then_place_in_recep",
  "pick_heat_then_place_in_recep",
];

const defaultTaskTypes: Readonly<Record<GameSplit, readonly HouseholdTaskType[]>> = {
  train: trainedTypes,
  seen_houses: trainedTypes,
  in_domain: trainedTypes,
  out_of_domain: TASK_TYPES.filter((type) => !trainedTypes.includes(type)),
};

/** Highest number in a name: no room has more of one kind. */
const HIGHEST_NUMBER = 3;
/** Games of each task type that `sampleTexts` plays. */
const SAMPLED_GAMES = 4;

class HouseholdWorld extends AlfworldWorld {
  /**
   * Every name, every sentence of the grammar, and whole plays of all six task types. The words do not depend on seed,
   * sizes or difficulty: one tokenizer fits all household worlds.
   */
  override sampleTexts(): readonly string[] {
    const texts = new Set<string>([NOTHING_HAPPENS]);
    for (const kind of [...Object.keys(receptacleKinds), ...Object.keys(itemKinds)]) {
      for (let number = 1; number <= HIGHEST_NUMBER; number++) texts.add(`a ${kind} ${number}`);
    }
    const cache = new ParseCache();
    for (const type of TASK_TYPES) {
      for (let index = 0; index < SAMPLED_GAMES; index++) {
        const difficulty = difficulties.hard;
        const { id, text } = generateHouseholdGame({ seed: 0, split: "train", index, type, difficulty });
        const game = AlfworldGame.parse(text, { file: id, taskType: type, cache });
        // the engine's names include ids that no text prints, such as locations and types
        const names = new Set(game.names.byId.values());
        for (const words of game.words()) if (!names.has(words)) texts.add(words);
        for (const words of playedTexts(game)) texts.add(words);
      }
    }
    return [...texts];
  }
}

/** Texts of a play along the expert's way, with a look at everything on it. */
function playedTexts(game: AlfworldGame): string[] {
  const play = game.start();
  const texts = [play.intro()];
  const show = (command: string): void => {
    texts.push(command, play.step(command));
  };
  for (const command of planFromStart(game) ?? []) {
    for (const idle of play.admissibleCommands) if (/^(look|inventory|examine )/.test(idle)) show(idle);
    show(command);
  }
  return texts;
}

/**
 * A world of small generated households, the same for the same options on every machine. Splits share no house, but for
 * `seen_houses`, whose games lie in houses of `train`; task types of `out_of_domain` are not trained on.
 * @throws ArgumentError when the difficulty is malformed
 * @throws ConfigError when a size, preset or task type list makes no sense, or there are no games at all
 */
export function householdWorld(options: HouseholdOptions = {}): AlfworldWorld {
  const { seed = 0 } = options;
  const difficulty = difficultyOf(options.difficulty ?? "normal");
  const trained = { count: sizeOf("train", options), types: typesOf("train", options) };
  const entries = gameSplits.flatMap((split) => {
    const types = typesOf(split, options);
    const size = sizeOf(split, options);
    if (split === "seen_houses" && size > 0) checkSeen(types, trained.types.slice(0, trained.count));
    return Array.from({ length: size }, (_, index) => {
      const type = types[index % types.length];
      const request = { seed, index, type, difficulty };
      const draw = () =>
        split === "seen_houses"
          ? generateSeenHouseGame({ ...request, trained })
          : generateHouseholdGame({ ...request, split });
      return { taskId: householdTaskId({ split, index, type }), split, type, load: () => draw().text };
    });
  });
  return new HouseholdWorld(entries, {
    id: "household",
    maxSteps: options.maxSteps,
    keptGames: Math.max(1, entries.length),
  });
}

function difficultyOf(choice: keyof typeof difficulties | Difficulty): Difficulty {
  const difficulty = typeof choice === "string" ? difficulties[choice] : choice;
  if (difficulty === undefined) {
    throw new ConfigError(
      `[household] unknown difficulty: got \`${choice}\`, expected ${Object.keys(difficulties).join(", ")}. Choose one.`,
    );
  }
  checkDifficulty(difficulty);
  return difficulty;
}

/** @throws ConfigError naming a task type that no training game has */
function checkSeen(types: readonly HouseholdTaskType[], trained: readonly HouseholdTaskType[]): void {
  const foreign = types.find((type) => !trained.includes(type));
  if (foreign === undefined) return;
  throw new ConfigError(
    `[household] seen_houses has a task type that train has not: got ${foreign}, expected some of ` +
      `${[...new Set(trained)].join(", ") || "train, which is empty"}. Change the task types of either.`,
  );
}

function sizeOf(split: GameSplit, options: HouseholdOptions): number {
  const size = options.sizes?.[split] ?? defaultSizes[split];
  if (Number.isInteger(size) && size >= 0) return size;
  throw new ConfigError(
    `[household] size of ${split}: got ${size}, expected a whole number, 0 or more. Change it.`,
  );
}

function typesOf(split: GameSplit, options: HouseholdOptions): readonly HouseholdTaskType[] {
  const types = options.taskTypes?.[split] ?? defaultTaskTypes[split];
  const unknown = types.find((type) => !TASK_TYPES.includes(type));
  if (types.length > 0 && unknown === undefined) return types;
  throw new ConfigError(
    `[household] task types of ${split}: got ${unknown ?? "none"}, expected some of ${TASK_TYPES.join(", ")}. Choose from these.`,
  );
}
