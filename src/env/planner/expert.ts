/** A player who sees everything: winning command sequences for games, from their start or from any state. */

import type { AlfworldGame } from "../alfworld/game.js";
import type { AlfworldPlay } from "../alfworld/play.js";
import { planErrands } from "./errands.js";
import { searchPlan } from "./search.js";

export interface ExpertOptions {
  /** States to look at when a goal is of no known shape; each costs about a millisecond in a large game. Default 2000. */
  readonly maxStates?: number;
}

/**
 * A winning command sequence from the game's start; for the six ALFWorld task types a shortest one in nearly every game.
 * @returns null when none was found; empty when the game starts won
 * @throws DataError when the goal has too many alternatives
 */
export function planFromStart(game: AlfworldGame, options: ExpertOptions = {}): readonly string[] | null {
  return plan(game, game.start(), options);
}

/**
 * A winning command sequence from any state of a game, played through in the engine before it is returned.
 * @param state `snapshot()` of a play of this game
 * @returns null when none was found, as where a thing is held that fits nowhere; empty when the state is won
 * @throws DataError when the goal has too many alternatives
 */
export function planFromState(
  game: AlfworldGame,
  state: Uint8Array,
  options: ExpertOptions = {},
): readonly string[] | null {
  return plan(game, game.start(state), options);
}

/** @param play at the state to plan from; it is played on */
function plan({ model }: AlfworldGame, play: AlfworldPlay, options: ExpertOptions): readonly string[] | null {
  if (play.won) return [];
  const isTrue = (atom: number): boolean => play.isTrue(atom);
  const state = play.snapshot();
  const errands = played(play, planErrands(model, isTrue));
  if (errands !== null) return errands;
  play.restore(state);
  return played(play, searchPlan(model, isTrue, options.maxStates ?? 2000));
}

/** The commands of a plan up to the win, or null when it does not win in the engine. */
function played(play: AlfworldPlay, actions: readonly number[] | undefined): readonly string[] | null {
  const commands: string[] = [];
  for (const action of actions ?? []) {
    const command = play.commandOf(action);
    if (!play.admissibleCommands.includes(command)) return null;
    play.step(command);
    commands.push(command);
    if (play.won) return commands;
  }
  return null;
}
