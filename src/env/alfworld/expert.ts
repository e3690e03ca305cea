/** A player who sees everything: winning command sequences for games, from their start or from any state. */
import { planErrands } from "./expert_errands.js";
import { searchPlan } from "./expert_search.js";
import type { AlfworldGame } from "./game.js";
import { PlayState } from "./play_state.js";

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
  return planFromState(game, game.start().snapshot(), options);
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
  const start = new PlayState(game.watchers);
  start.restore(state);
  if (start.goalHolds()) return [];
  const isTrue = (atom: number): boolean => start.isTrue(atom);
  return (
    played(game, state, planErrands(game.model, isTrue)) ??
    played(game, state, searchPlan(game.model, isTrue, options.maxStates ?? 2000))
  );
}

/** The commands of a plan up to the win, or null when it does not win in the engine. */
function played(
  game: AlfworldGame,
  state: Uint8Array,
  plan: readonly number[] | undefined,
): readonly string[] | null {
  if (plan === undefined) return null;
  const play = game.start();
  play.restore(state);
  const commands: string[] = [];
  for (const actionNumber of plan) {
    const { action, args } = game.model.actions[actionNumber];
    const command = game.commandText(
      action.name,
      args.map((object) => game.model.objects.ids[object]),
    );
    if (!play.admissibleCommands.includes(command)) return null;
    play.step(command);
    commands.push(command);
    if (play.won) return commands;
  }
  return null;
}
