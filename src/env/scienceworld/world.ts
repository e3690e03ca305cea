/** ScienceWorld: 30 tasks of elementary school science in 7,207 variations, played by the real simulator in processes. */
import { ConfigError } from "../../core/errors.js";
import { Pool } from "../external/pool.js";
import { ReplayedEnvironment, readReplaySnapshot } from "../external/replayed_environment.js";
import type { Environment, Task, World } from "../world.js";
import { type Listing, ScienceSession } from "./session.js";
import { readSimplifications } from "./simplifications.js";
import type { Simulator } from "./simulator.js";
import { SCIENCE_SPLITS, splitGames } from "./splits.js";
import { gameId, readGameId, SCIENCE_TASKS, scienceTask } from "./tasks.js";

export interface ScienceWorldOptions {
  /** Starts a simulator. */
  readonly start: () => Promise<Simulator>;
  /** `easy`, `none`, or names joined by commas. Default: easy. */
  readonly simplifications?: string;
  /** What is listed as admissible. Default: valid. */
  readonly listing?: Listing;
  /** Moves after which an episode is truncated; default: never. Moves that take no time do not count. */
  readonly maxMoves?: number;
  /** Names of the tasks whose games show the words of the world; default: all. */
  readonly sampledTasks?: readonly string[];
  /** Most simulators at once, those of experts apart. */
  readonly maxEnvironments: number;
}

/** Games of each task that `sampleTexts` plays. */
const SAMPLED_GAMES = 2;
/** Temperatures that can be read off in most tasks. */
const SAMPLED_NUMBERS = { from: -30, to: 250 };

/** Games of the simulator as a world. Task ids are `task/variation`, the same in every split. */
export class ScienceWorld implements World {
  readonly id = "scienceworld";
  readonly splits = SCIENCE_SPLITS;
  readonly maxEnvironments: number;
  readonly simplifications: string;
  readonly #sessions: Pool<ScienceSession>;
  /** A simulator that searched for winning commands does so for ever after: experts have one of their own. */
  readonly #experts: Pool<Simulator>;
  readonly #sampled: readonly string[];
  readonly #tasks = new Map<string, readonly Task[]>();
  readonly #gold = new Map<string, readonly string[] | null>();
  /** Experts take turns. */
  #lastExpert: Promise<unknown> = Promise.resolve();

  /** @throws ConfigError when simplifications or tasks are unknown */
  constructor(options: ScienceWorldOptions) {
    this.simplifications = readSimplifications(options.simplifications ?? "easy");
    this.maxEnvironments = options.maxEnvironments;
    const sampled = options.sampledTasks ?? SCIENCE_TASKS.map(({ name }) => name);
    this.#sampled = sampled.map((name) => scienceTask(name).name);
    const { start, listing = "valid", maxMoves = Number.POSITIVE_INFINITY } = options;
    const simplifications = this.simplifications;
    const tasks = (split = this.splits[0]) => this.tasks(split);
    this.#sessions = new Pool(
      async () => new ScienceSession(await start(), { simplifications, listing, maxMoves, tasks }),
      options.maxEnvironments,
    );
    this.#experts = new Pool(start, 1);
  }

  /** Task by task, each variation in turn. The type is the task's name. */
  tasks(split: string): readonly Task[] {
    const known = this.#tasks.get(split);
    if (known) return known;
    const games = splitGames(split);
    if (games === undefined) {
      throw new ConfigError(
        `[scienceworld] unknown split: got \`${split}\`, expected one of ${this.splits.join(", ")}. Choose one of them.`,
      );
    }
    const tasks = games.map((game) => ({ id: gameId(game), split, type: game.task }));
    this.#tasks.set(split, tasks);
    return tasks;
  }

  create(): Environment {
    return new ReplayedEnvironment(this.id, this.#sessions);
  }

  /**
   * The winning sequence that the simulator itself finds, played once to be sure; null when it does not win, or when
   * `from` is not the start of a game: the simulator plans from there only.
   * @throws ConfigError when there is no such game
   */
  async expert(taskId: string, from?: unknown): Promise<readonly string[] | null> {
    readGameId(taskId);
    if (from !== undefined && readReplaySnapshot(from).played.length > 0) return null;
    const turn = this.#lastExpert.then(() => this.#winningCommands(taskId));
    this.#lastExpert = turn.catch(() => undefined);
    return turn;
  }

  async #winningCommands(taskId: string): Promise<readonly string[] | null> {
    const known = this.#gold.get(taskId);
    if (known !== undefined) return known;
    const { task, variation } = readGameId(taskId);
    const simulator = await this.#experts.acquire();
    try {
      await simulator.load(task, variation, this.simplifications, true);
      const commands = await simulator.goldCommands();
      await simulator.step("look around");
      for (const command of commands) await simulator.step(command);
      const plan = (await simulator.score()) === 1 ? commands : null;
      this.#gold.set(taskId, plan);
      await this.#experts.release(simulator);
      return plan;
    } catch (error) {
      await this.#experts.discard(simulator);
      throw error;
    }
  }

  /** Texts of experts' plays of the first variations of each sampled task, with all commands at their starts. */
  async sampleTexts(): Promise<readonly string[]> {
    const { from, to } = SAMPLED_NUMBERS;
    const texts = new Set(Array.from({ length: to - from + 1 }, (_, index) => `${from + index}`));
    const session = await this.#sessions.acquire();
    try {
      for (const task of this.#sampled) {
        for (let variation = 0; variation < SAMPLED_GAMES; variation++) {
          for (const text of await this.#playedTexts(session, gameId({ task, variation }))) texts.add(text);
        }
      }
    } finally {
      await this.#sessions.release(session);
    }
    return [...texts];
  }

  async #playedTexts(session: ScienceSession, taskId: string): Promise<readonly string[]> {
    const { obs, task, info } = await session.reset({ options: { taskId } });
    const texts = [obs, task, ...info.admissibleCommands, ...(await session.simulator.validCommands())];
    for (const command of (await this.expert(taskId)) ?? []) {
      const step = await session.step(command);
      texts.push(command, step.obs, String(step.info.details?.look), step.info.inventory ?? "");
    }
    return texts;
  }

  /** Ends all simulators. */
  async close(): Promise<void> {
    await Promise.all([this.#sessions.close(), this.#experts.close()]);
  }
}
