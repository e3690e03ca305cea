/** Text worlds in Gymnasium words. An environment may answer at once or later: it may live in another process. */

export type Awaitable<T> = T | Promise<T>;

/** What an environment tells beside the observation. */
export interface Info {
  /** Every command that would change or show something now, in the world's own order. */
  readonly admissibleCommands: readonly string[];
  /** Whether the task's goal holds now. */
  readonly won: boolean;
  /** Id of the task being played. */
  readonly taskId: string;
  /** Equal in equal states of one task, different in different ones; absent where the world does not tell states apart. */
  readonly stateKey?: string;
  /** How much of the task is done now, from 0 to 1; absent where the world knows won or not won only. */
  readonly score?: number;
  /** What the agent carries now, in the world's words; absent where the world does not tell. */
  readonly inventory?: string;
  /** Whether the world understood the command before; absent: whether it was an admissible one. */
  readonly understood?: boolean;
  /** Further facts in the world's own words and units, by name; `play --json` prints them. */
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface ResetResult {
  readonly obs: string;
  /** The task in the world's words, without anything around it: `put a knife in sidetable.` */
  readonly task: string;
  readonly info: Info;
}

export interface StepResult {
  readonly obs: string;
  /** Reward of this step alone. */
  readonly reward: number;
  /** The world ended the episode, won or lost: `info.won` tells which. */
  readonly terminated: boolean;
  /** A step limit of the world ended the episode. */
  readonly truncated: boolean;
  readonly info: Info;
}

export interface ResetOptions {
  /** Picks the task when `options.taskId` is absent and drives any randomness of the world. */
  readonly seed?: number;
  readonly options?: { readonly taskId?: string; readonly split?: string };
}

/** One episode at a time of one world. */
export interface Environment {
  reset(options?: ResetOptions): Awaitable<ResetResult>;
  /** Plays one command. Bad commands are answered by the world, they never throw. */
  step(command: string): Awaitable<StepResult>;
  /**
   * Opaque state; `restore` puts any environment of the same world back there. Both or neither: without them callers reset
   * with the same seed and task, and play the same commands again.
   */
  snapshot?(): Awaitable<unknown>;
  restore?(snapshot: unknown): Awaitable<ResetResult>;
  close(): Awaitable<void>;
}

/** A task one can reset to. */
export interface Task {
  readonly id: string;
  readonly split: string;
  /** Task type, for example `pick_and_place_simple`. */
  readonly type: string;
}

/** What a player has read and done in an episode. */
export interface Experience {
  /** All texts, that of the start first. */
  readonly texts: readonly string[];
  readonly commands: readonly string[];
}

/** A set of tasks with splits, and the environments that play them. */
export interface World {
  readonly id: string;
  readonly splits: readonly string[];
  /** Most environments that may be open at once, for example one for each process; absent: any number. */
  readonly maxEnvironments?: number;
  /** Tasks of a split, in a fixed order. @throws ConfigError when the split does not exist */
  tasks(split: string): readonly Task[];
  create(): Environment;
  /**
   * A winning command sequence by a full-state planner; null when there is none.
   * @param from a snapshot of an environment playing this task; default: the task's start
   */
  expert?(taskId: string, from?: unknown): Awaitable<readonly string[] | null>;
  /**
   * Commands that a player goes on with who knows no more than it has read: some steps, after which to ask again, or all up to the
   * win; null when it finds no way.
   * @param from a snapshot of an environment playing this task
   */
  searchingExpert?(
    taskId: string,
    from: unknown,
    experience: Experience,
  ): Awaitable<readonly string[] | null>;
  /** Ends what the world itself started; its environments are closed before. */
  close?(): Awaitable<void>;
  /** A bounded list of texts that together show every word the world can print or understand (for tokenizer building). */
  sampleTexts?(): Awaitable<readonly string[]>;
}
