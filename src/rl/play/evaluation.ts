/** From played episodes to the numbers that an evaluation reports. Pure. */
import { mean, quantile, wilsonInterval } from "../../core/statistics.js";

/** One step of an episode, as far as it is judged. `StepRow`s of rollouts fit. */
export interface EvaluatedStep {
  /** What was read before acting. */
  readonly observation: string;
  readonly action: string;
  readonly valid: boolean;
  /** Identity of the world's state before acting, where the world tells it. */
  readonly stateKey?: string;
}

/** One episode. `Episode`s of rollouts fit. */
export interface EvaluatedEpisode {
  readonly taskType: string;
  readonly won: boolean;
  /** Ended by the step limit. */
  readonly truncated: boolean;
  readonly rows: readonly EvaluatedStep[];
}

/** Keys are metric names. Rates over steps are shares of all steps of all episodes together. */
export interface EvaluationSummary {
  readonly episodes: number;
  /** Share of episodes that reached their goal, with its 95 % Wilson interval. */
  readonly success: number;
  readonly success_low: number;
  readonly success_high: number;
  /** Steps of an episode; `success_mean_length` over those that reached their goal, null when none did. */
  readonly mean_length: number;
  readonly median_length: number;
  readonly success_mean_length: number | null;
  /** Share of episodes that the step limit ended. */
  readonly truncated_rate: number;
  /** Share of steps whose action was invalid. */
  readonly invalid_action_rate: number;
  /**
   * Share of steps that repeat an action of the episode ...
   * ... issued before under the very same observation: the policy had read how it ends, and did it again. In worlds that
   * answer different states alike ("Nothing happens.") it counts too much.
   */
  readonly repeated_action_rate: number;
  /** ... issued before in the very same state of the world: certainly in vain. Null when states are not told. */
  readonly repeated_action_in_state_rate: number | null;
  /** ... issued before at all, in whatever state. An upper bound: opening two drawers twice is not always a flaw. */
  readonly repeated_action_anywhere_rate: number;
}

/** Number of steps whose key was seen before in the episode. */
function countRepeats(rows: readonly EvaluatedStep[], keyOf: (row: EvaluatedStep) => string): number {
  const seen = new Set<string>();
  let repeats = 0;
  for (const row of rows) {
    const key = keyOf(row);
    if (seen.has(key)) repeats++;
    seen.add(key);
  }
  return repeats;
}

/** Joins texts so that different pairs stay different. */
function pair(context: string, action: string): string {
  return `${context.length}:${context}${action}`;
}

/**
 * Numbers of a set of episodes.
 * @param episodes of one split; none give zeros, and the interval 0 to 1
 */
export function summariseEpisodes(episodes: readonly EvaluatedEpisode[]): EvaluationSummary {
  const lengths = episodes.map(({ rows }) => rows.length);
  const steps = episodes.flatMap(({ rows }) => rows);
  const perStep = (count: number) => (steps.length === 0 ? 0 : count / steps.length);
  const repeats = (keyOf: (row: EvaluatedStep) => string) =>
    perStep(episodes.reduce((sum, { rows }) => sum + countRepeats(rows, keyOf), 0));
  const wins = episodes.filter(({ won }) => won);
  const success = wilsonInterval(wins.length, episodes.length);
  const tellsStates = steps.length > 0 && steps.every(({ stateKey }) => stateKey !== undefined);
  return {
    episodes: episodes.length,
    success: success.share,
    success_low: success.low,
    success_high: success.high,
    mean_length: mean(lengths),
    median_length: lengths.length === 0 ? 0 : quantile(lengths, 0.5),
    success_mean_length: wins.length === 0 ? null : mean(wins.map(({ rows }) => rows.length)),
    truncated_rate: mean(episodes.map(({ truncated }) => Number(truncated))),
    invalid_action_rate: perStep(steps.filter(({ valid }) => !valid).length),
    repeated_action_rate: repeats(({ observation, action }) => pair(observation, action)),
    repeated_action_in_state_rate: tellsStates
      ? repeats(({ stateKey, action }) => pair(stateKey ?? "", action))
      : null,
    repeated_action_anywhere_rate: repeats(({ action }) => action),
  };
}

/** The same for each task type alone, in alphabetical order. */
export function summariseByType(
  episodes: readonly EvaluatedEpisode[],
): ReadonlyMap<string, EvaluationSummary> {
  const types = [...new Set(episodes.map(({ taskType }) => taskType))].sort();
  return new Map(
    types.map((type) => [type, summariseEpisodes(episodes.filter(({ taskType }) => taskType === type))]),
  );
}
