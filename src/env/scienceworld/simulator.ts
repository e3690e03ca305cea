/** The simulator as the world uses it, whatever carries the calls. */
import type { Running } from "../external/session.js";

/** One simulator, with at most one game. Every call fails with WorldError when its process is lost. */
export interface Simulator extends Running {
  /**
   * Starts a game from its beginning.
   * @param simplifications as `readSimplifications` gives them
   * @param gold also searches a winning sequence; from then on every later load searches one, too, so that a simulator that
   *   did it once is slow for good
   * @throws DataError when the simulator refuses the game
   */
  load(task: string, variation: number, simplifications: string, gold: boolean): Promise<void>;
  /** Plays a command. @returns the observation */
  step(command: string): Promise<string>;
  /** From 0 to 1; -1 when the task failed. Of the last step. */
  score(): Promise<number>;
  /** Of the last step: the task is done or failed. */
  completed(): Promise<boolean>;
  /** Moves that took time, since `load`. */
  moves(): Promise<number>;
  taskDescription(): Promise<string>;
  /** What `look around` would show. Takes no time. */
  look(): Promise<string>;
  inventory(): Promise<string>;
  /** Every action with every object it can be done to, sorted: 100 to 3,000 commands. */
  validCommands(): Promise<readonly string[]>;
  /** Patterns of actions, with OBJ for objects. */
  actionTemplates(): Promise<readonly string[]>;
  /** Names of the objects in sight. */
  visibleObjects(): Promise<readonly string[]>;
  /** The sequence that `load` with `gold` found. */
  goldCommands(): Promise<readonly string[]>;
}
