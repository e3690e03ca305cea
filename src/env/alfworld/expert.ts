/** A player who sees everything: winning command sequences for games, from their start or from any state. */
import { planErrands } from "./expert_errands.js";
import { searchPlan } from "./expert_search.js";
import type { AlfworldGame } from "./game.js";
import { type GroundModel, groundProblem } from "./grounding.js";
import { PlayState, Watchers } from "./play_state.js";

export interface ExpertOptions {
  /** States to look at when a goal is of no known shape; each costs about a millisecond in a large game. Default 2000. */
  readonly maxStates?: number;
}

const watchersOfGames = new WeakMap<AlfworldGame, Watchers>();

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
 * @returns null when none was found; empty when the state is won
 * @throws DataError when the goal has too many alternatives
 */
export function planFromState(
  game: AlfworldGame,
  state: Uint8Array,
  options: ExpertOptions = {},
): readonly string[] | null {
  const watchers = watchersOf(game);
  const start = new PlayState(watchers);
  start.restore(state);
  if (start.goalHolds()) return [];
  const isTrue = (atom: number): boolean => start.isTrue(atom);
  const { model } = watchers;
  return (
    played(game, model, state, planErrands(model, isTrue)) ??
    played(game, model, state, searchPlan(model, isTrue, options.maxStates ?? 2000))
  );
}

function watchersOf(game: AlfworldGame): Watchers {
  let watchers = watchersOfGames.get(game);
  if (watchers === undefined) {
    watchers = new Watchers(groundProblem(game.domain, game.problem, game.taskId));
    watchersOfGames.set(game, watchers);
  }
  return watchers;
}

/** The commands of a plan up to the win, or null when it does not win in the engine. */
function played(
  game: AlfworldGame,
  model: GroundModel,
  state: Uint8Array,
  plan: readonly number[] | undefined,
): readonly string[] | null {
  if (plan === undefined) return null;
  const play = game.start();
  play.restore(state);
  const commands: string[] = [];
  for (const actionNumber of plan) {
    const { action, args } = model.actions[actionNumber];
    const command = game.commandText(
      action.name,
      args.map((object) => model.objects.ids[object]),
    );
    if (!play.admissibleCommands.includes(command)) return null;
    play.step(command);
    commands.push(command);
    if (play.won) return commands;
  }
  return null;
}
