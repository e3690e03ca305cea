/** A set of ALFWorld games with splits. Games are read and parsed when first played, and a bounded number is kept. */
import { ConfigError } from "../../core/errors.js";
import { Random } from "../../core/random.js";
import { planFromStart, planFromState } from "../planner/expert.js";
import { type Affinity, affinityOf, planBySearching } from "../planner/searching.js";
import type { Experience, Task, World } from "../world.js";
import { AlfworldEnvironment, type GameSource, readSnapshot } from "./environment.js";
import { AlfworldGame, type GameOptions, readStart } from "./game.js";
import { ParseCache } from "./parse_cache.js";

/** A game of the set. */
export interface GameEntry {
  readonly taskId: string;
  readonly split: string;
  readonly type: string;
  /** How messages name its file; default: the task id. */
  readonly file?: string;
  /** Content of its `game.tw-pddl`, text or UTF-8 bytes. Called again when the game was dropped from memory. */
  load(): string | Uint8Array;
}

export interface AlfworldWorldOptions {
  /** Default `alfworld`. */
  readonly id?: string;
  /** Steps after which an unwon episode is truncated; default: never. */
  readonly maxSteps?: number;
  /** PDDL domain for all games in place of their own. */
  readonly domain?: string;
  /** How messages name `domain`. */
  readonly domainFile?: string;
  /** TWL2 grammar for all games in place of their own; each keeps its task sentence. */
  readonly grammar?: string;
  /** How messages name `grammar`. */
  readonly grammarFile?: string;
  /** Parsed games to keep, a few MB each; default 64. */
  readonly keptGames?: number;
}

/** How many games, and steps in each, `sampleTexts` looks at. */
const SAMPLED_GAMES = 48;
const SAMPLED_STEPS = 12;
/** How many games tell a searching expert where things mostly are. */
const AFFINITY_GAMES = 200;

/** ALFWorld games as a world. */
export class AlfworldWorld implements World, GameSource {
  readonly id: string;
  readonly splits: readonly string[];
  readonly #options: AlfworldWorldOptions;
  readonly #keptGames: number;
  readonly #entries = new Map<string, GameEntry>();
  readonly #tasks = new Map<string, Task[]>();
  readonly #cache = new ParseCache();
  /** Least recently used first. */
  readonly #games = new Map<string, AlfworldGame>();
  #affinity: Affinity | undefined;

  /**
   * @param entries games in the order in which `tasks` lists them; splits come in order of first appearance
   * @throws ConfigError when there are none, when two share an id, or when a number among the options is not positive
   */
  constructor(entries: readonly GameEntry[], options: AlfworldWorldOptions = {}) {
    this.id = options.id ?? "alfworld";
    this.#options = options;
    this.#keptGames = options.keptGames ?? 64;
    checkPositive("keptGames", this.#keptGames);
    if (options.maxSteps !== undefined) checkPositive("maxSteps", options.maxSteps);
    if (entries.length === 0) {
      throw new ConfigError(
        `[${this.id}] no games: got 0, expected at least 1. Choose another split or task type.`,
      );
    }
    for (const entry of entries) {
      if (this.#entries.has(entry.taskId)) {
        throw new ConfigError(
          `[${this.id}] task listed twice: got \`${entry.taskId}\`, expected each id once. Remove one.`,
        );
      }
      this.#entries.set(entry.taskId, entry);
      const tasks = this.#tasks.get(entry.split) ?? [];
      tasks.push({ id: entry.taskId, split: entry.split, type: entry.type });
      this.#tasks.set(entry.split, tasks);
    }
    this.splits = [...this.#tasks.keys()];
  }

  tasks(split: string): readonly Task[] {
    const tasks = this.#tasks.get(split);
    if (tasks !== undefined) return tasks;
    throw new ConfigError(
      `[${this.id}] unknown split: got \`${split}\`, expected one of ${this.splits.join(", ")}. Choose one of them.`,
    );
  }

  create(): AlfworldEnvironment {
    return new AlfworldEnvironment(this, this.#options.maxSteps);
  }

  /**
   * The parsed game of a task.
   * @throws ConfigError when there is no such task
   * @throws DataError when its file is broken
   */
  game(taskId: string): AlfworldGame {
    const entry = this.#entries.get(taskId);
    if (entry === undefined) {
      throw new ConfigError(
        `[${this.id}] unknown task: got \`${taskId}\`, expected an id that \`tasks\` lists. Correct the id.`,
      );
    }
    const known = this.#games.get(taskId);
    const game = known ?? AlfworldGame.parse(entry.load(), this.#gameOptions(entry));
    // Deleting first moves the game to the end: it is now the one used last.
    this.#games.delete(taskId);
    this.#games.set(taskId, game);
    if (this.#games.size > this.#keptGames) this.#games.delete(this.#games.keys().next().value as string);
    return game;
  }

  /** A winning command sequence from the task's start, or from a snapshot, by the full-state planner; null when it finds none. */
  expert(taskId: string, from?: unknown): readonly string[] | null {
    const game = this.game(taskId);
    return from === undefined ? planFromStart(game) : planFromState(game, readSnapshot(from).state);
  }

  /** Looks for things where they mostly are in training games. */
  searchingExpert(taskId: string, from: unknown, experience: Experience): readonly string[] | null {
    this.#affinity ??= affinityOf(this.#starts(spread(this.#trainingIds(), AFFINITY_GAMES)));
    return planBySearching(this.game(taskId), readSnapshot(from).state, experience, this.#affinity);
  }

  /** Tasks of the split `train`; where there is none, of the first split. */
  #trainingIds(): string[] {
    return (this.#tasks.get("train") ?? this.tasks(this.splits[0])).map(({ id }) => id);
  }

  /** How things lie at first. Games that are not kept are read, not made ready to be played. */
  *#starts(taskIds: readonly string[]): Generator<Pick<AlfworldGame, "problem" | "names">> {
    for (const id of taskIds) {
      const entry = this.#entries.get(id) as GameEntry;
      yield this.#games.get(id) ?? readStart(entry.load(), this.#gameOptions(entry));
    }
  }

  /** Words, first texts and short random plays of games spread evenly over all tasks; the same ones every time. */
  sampleTexts(): readonly string[] {
    const texts = new Set<string>();
    for (const id of spread([...this.#entries.keys()], SAMPLED_GAMES)) {
      const game = this.game(id);
      const play = game.start();
      const random = Random.of(0, "sample", game.taskId);
      for (const word of game.words()) texts.add(word);
      texts.add(play.intro());
      for (let step = 0; step < SAMPLED_STEPS && play.admissibleCommands.length > 0; step++) {
        const command = random.pick(play.admissibleCommands);
        texts.add(command).add(play.step(command));
      }
    }
    return [...texts];
  }

  #gameOptions(entry: GameEntry): GameOptions {
    const { domain, domainFile, grammar, grammarFile } = this.#options;
    return {
      file: entry.file ?? entry.taskId,
      taskId: entry.taskId,
      taskType: entry.type,
      cache: this.#cache,
      domain,
      domainFile,
      grammar,
      grammarFile,
    };
  }
}

/** At most so many of a list, evenly spread. */
function spread<T>(items: readonly T[], most: number): T[] {
  const count = Math.min(most, items.length);
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]);
}

function checkPositive(name: string, value: number): void {
  if (Number.isInteger(value) && value > 0) return;
  throw new ConfigError(`[alfworld] ${name}: got ${value}, expected a positive whole number. Change it.`);
}
