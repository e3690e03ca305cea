/** ALFWorld games as an environment: reset, step, snapshot. Everything answers at once. */
import { ArgumentError } from "../../core/errors.js";
import { Random } from "../../core/random.js";
import type { Environment, Info, ResetOptions, ResetResult, StepResult, Task } from "../world.js";
import type { AlfworldGame } from "./game.js";
import type { AlfworldPlay } from "./play.js";

/** Where an environment finds its games. */
export interface GameSource {
  readonly splits: readonly string[];
  /** @throws ConfigError when the split does not exist */
  tasks(split: string): readonly Task[];
  /** @throws ConfigError when the task does not exist, DataError when its file is broken */
  game(taskId: string): AlfworldGame;
}

/** What `snapshot` returns; to callers it is opaque. */
interface Snapshot {
  readonly kind: "alfworld";
  readonly taskId: string;
  readonly state: Uint8Array;
  readonly steps: number;
  readonly obs: string;
}

/** Plays one game at a time of a source. */
export class AlfworldEnvironment implements Environment {
  readonly #source: GameSource;
  readonly #maxSteps: number;
  #random = Random.of(0, "alfworld", "task");
  #game: AlfworldGame | undefined;
  #play: AlfworldPlay | undefined;
  #steps = 0;
  #obs = "";

  /** @param maxSteps steps after which an unwon episode is truncated; undefined = never */
  constructor(source: GameSource, maxSteps?: number) {
    this.#source = source;
    this.#maxSteps = maxSteps ?? Number.POSITIVE_INFINITY;
  }

  /**
   * Starts `options.taskId`, or a task of `options.split` (default: the first split) drawn by `seed`; without a seed the
   * draws go on from the last one.
   * @throws ConfigError when the task or split does not exist
   * @throws DataError when the game's file is broken
   */
  reset({ seed, options = {} }: ResetOptions = {}): ResetResult {
    if (seed !== undefined) this.#random = Random.of(seed, "alfworld", "task");
    const taskId = options.taskId ?? this.#drawTask(options.split);
    this.#game = this.#source.game(taskId);
    this.#play = this.#game.start();
    this.#steps = 0;
    this.#obs = this.#play.intro();
    return this.#shown();
  }

  /**
   * Plays one command; anything but an admissible one is answered `Nothing happens.` and counts as a step. The reward is
   * the game's score, 1 while the goal holds, else 0. Playing on after the end is allowed.
   * @throws ArgumentError before the first reset
   */
  step(command: string): StepResult {
    const { play } = this.#current();
    this.#obs = play.step(command);
    this.#steps++;
    const won = play.won;
    return {
      obs: this.#obs,
      reward: won ? 1 : 0,
      terminated: won,
      truncated: !won && this.#steps >= this.#maxSteps,
      info: this.#info(),
    };
  }

  /** @throws ArgumentError before the first reset */
  snapshot(): unknown {
    const { game, play } = this.#current();
    const snapshot: Snapshot = {
      kind: "alfworld",
      taskId: game.taskId,
      state: play.snapshot(),
      steps: this.#steps,
      obs: this.#obs,
    };
    return snapshot;
  }

  /** @throws ArgumentError when `snapshot` is none of an ALFWorld environment */
  restore(snapshot: unknown): ResetResult {
    const { taskId, state, steps, obs } = readSnapshot(snapshot);
    if (this.#game?.taskId !== taskId || this.#play === undefined) {
      this.#game = this.#source.game(taskId);
      this.#play = this.#game.start();
    }
    this.#play.restore(state);
    this.#steps = steps;
    this.#obs = obs;
    return this.#shown();
  }

  close(): void {
    this.#game = undefined;
    this.#play = undefined;
  }

  #drawTask(split: string | undefined): string {
    return this.#random.pick(this.#source.tasks(split ?? this.#source.splits[0])).id;
  }

  #current(): { game: AlfworldGame; play: AlfworldPlay } {
    if (this.#game === undefined || this.#play === undefined) {
      throw new ArgumentError("[alfworld] no episode: expected a reset first. Call `reset`.");
    }
    return { game: this.#game, play: this.#play };
  }

  #shown(): ResetResult {
    return { obs: this.#obs, task: this.#current().game.task.trim(), info: this.#info() };
  }

  #info(): Info {
    const { game, play } = this.#current();
    const { admissibleCommands, won, stateKey, inventory } = play;
    return { admissibleCommands, won, taskId: game.taskId, stateKey, inventory };
  }
}

/** Opens what `AlfworldEnvironment.snapshot` gave. @throws ArgumentError when it is something else */
export function readSnapshot(value: unknown): Snapshot {
  const snapshot = value as Partial<Snapshot> | null | undefined;
  if (snapshot?.kind === "alfworld" && ArrayBuffer.isView(snapshot.state)) return snapshot as Snapshot;
  throw new ArgumentError(
    "[alfworld] not a snapshot: expected what `snapshot()` of such an environment gave. Pass that.",
  );
}
