/** A game of the simulator in Gymnasium words. @source ScienceWorld, `ScienceWorldEnv` of its Python package */
import { ArgumentError } from "../../core/errors.js";
import { Random } from "../../core/random.js";
import type { Running, Session } from "../external/session.js";
import type { Info, ResetOptions, ResetResult, StepResult, Task } from "../world.js";
import { checkSimplifications } from "./simplifications.js";
import type { Simulator } from "./simulator.js";
import { gameId, readGameId, type ScienceGame } from "./tasks.js";
import { describeActions } from "./templates.js";

/** What `Info.admissibleCommands` holds. */
export type Listing = "valid" | "templates" | "none";

export interface SessionOptions {
  /** As `readSimplifications` gives them. */
  readonly simplifications: string;
  /**
   * valid = every command that can be done now, which takes longer than the step itself; templates = patterns of actions
   * and the objects in sight; none = nothing.
   */
  readonly listing: Listing;
  /** Moves after which an episode is truncated; Infinity = never. */
  readonly maxMoves: number;
  /** Tasks of a split, to draw from when a reset names no task. */
  readonly tasks: (split: string | undefined) => readonly Task[];
}

/** What the simulator answers when it parses no action: nothing has happened. */
const NOT_PARSED = "No known action matches that input.";
/** What it answers to a number that it asked for and did not get; it costs a move. */
const NOT_CHOSEN = "Unknown action.";

const FIRST_COMMAND = "look around";

/** Plays games in one simulator, which it owns. */
export class ScienceSession implements Session, Running {
  #game: ScienceGame | undefined;
  #task = "";
  #score = 0;
  #commands: readonly string[] = [];

  constructor(
    readonly simulator: Simulator,
    readonly options: SessionOptions,
  ) {}

  get alive(): boolean {
    return this.simulator.alive;
  }

  close(): Promise<void> {
    return this.simulator.close();
  }

  /**
   * Loads a game and looks around.
   * @throws ConfigError when there is no such game or the simplifications do not suit it
   */
  async reset({ seed = 0, options = {} }: ResetOptions): Promise<ResetResult> {
    const { tasks, simplifications } = this.options;
    const id = options.taskId ?? Random.of(seed, "scienceworld", "task").pick(tasks(options.split)).id;
    const game = readGameId(id);
    checkSimplifications(simplifications, game.task);
    this.#game = game;
    await this.simulator.load(game.task, game.variation, simplifications, false);
    this.#task = await this.simulator.taskDescription();
    this.#score = 0;
    const { obs, info } = await this.step(FIRST_COMMAND);
    return { obs, task: this.#task, info };
  }

  /** Plays a command as it is; what the simulator cannot parse it answers itself. The reward is in points of 100. */
  async step(command: string): Promise<StepResult> {
    const { simulator, options } = this;
    const obs = await simulator.step(command);
    const score = pointsOf(await simulator.score());
    const completed = await simulator.completed();
    const moves = await simulator.moves();
    const reward = score - this.#score;
    this.#score = score;
    const terminated = completed || score < 0;
    return {
      obs,
      reward,
      terminated,
      truncated: !terminated && moves > options.maxMoves,
      info: await this.#info(obs, score, moves),
    };
  }

  async #info(obs: string, score: number, moves: number): Promise<Info> {
    if (this.#game === undefined) {
      throw new ArgumentError("[scienceworld] no episode: expected a reset first. Call `reset`.");
    }
    // Listing draws from the simulator's random numbers: what changed nothing must not change how the game goes on.
    if (obs !== NOT_PARSED) this.#commands = await this.#list();
    const look = await this.simulator.look();
    const inventory = await this.simulator.inventory();
    return {
      admissibleCommands: this.#commands,
      won: score === 100,
      taskId: gameId(this.#game),
      score: Math.max(0, score) / 100,
      inventory,
      understood: obs !== NOT_PARSED && !obs.startsWith(NOT_CHOSEN),
      details: { score, moves, look, inventory },
    };
  }

  async #list(): Promise<readonly string[]> {
    const { listing } = this.options;
    if (listing === "none") return [];
    if (listing === "valid") return this.simulator.validCommands();
    return describeActions(await this.simulator.actionTemplates(), await this.simulator.visibleObjects());
  }
}

/** Whole points of 100, halves to the even number, as Python rounds. @param score from 0 to 1, or -1 */
export function pointsOf(score: number): number {
  const points = 100 * score;
  const below = Math.floor(points);
  const part = points - below;
  if (part !== 0.5) return Math.round(points);
  return below % 2 === 0 ? below : below + 1;
}
