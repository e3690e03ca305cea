/** A game in another process: what such a process offers, and where sessions come from. */
import type { ResetOptions, ResetResult, StepResult } from "../world.js";

/** One running game that may be lost at any time. */
export interface Session {
  /** Starts a game; the same options start the same game. @throws WorldError when the process is lost */
  reset(options: ResetOptions): Promise<ResetResult>;
  /** @throws WorldError when the process is lost */
  step(command: string): Promise<StepResult>;
}

/** Something that runs apart and has to be ended. */
export interface Running {
  /** Whether it still answers, as far as is known without asking. */
  readonly alive: boolean;
  close(): Promise<void>;
}

/** Where environments find running things. */
export interface Source<T> {
  /** An idle one, or a new one. */
  acquire(): Promise<T>;
  /** Gives one back for later use. */
  release(one: T): Promise<void>;
  /** Ends one that failed. */
  discard(one: T): Promise<void>;
}
