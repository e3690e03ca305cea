/** From played episodes to the numbers that an evaluation reports. Pure. */
import { mean, quantile, wilsonInterval } from "../../core/statistics.js";
import type { EpisodeEnd } from "./episode.js";

/** One step of an episode, as far as it is judged. Rows of rollouts fit. */
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
  readonly ended: EpisodeEnd;
  readonly rows: readonly EvaluatedStep[];
}

/**
 * Keys are metric names. Episodes whose world failed say nothing about the policy: they count in `failed_rate` alone. Rates over
 * steps are shares of all steps of all episodes together.
 */
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
  /** Share of episodes that the world ended short of the goal. */
  readonly lost_rate: number;
  /** Share of episodes that the step limit, or the length of the context, ended. */
  readonly truncated_rate: number;
  /** Share of all episodes asked for in which the world failed. */
  readonly failed_rate: number;
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
 * @param all episodes of one split; none give zeros, and the interval 0 to 1
 * @param samples episodes of each task. They are not independent of each other, so the interval of success counts tasks
 */
export function summariseEpisodes(all: readonly EvaluatedEpisode[], samples = 1): EvaluationSummary {
  const episodes = all.filter(({ ended }) => ended !== "failed");
  const share = (end: EpisodeEnd, of: readonly EvaluatedEpisode[]) =>
    mean(of.map(({ ended }) => Number(ended === end)));
  const lengths = episodes.map(({ rows }) => rows.length);
  const steps = episodes.flatMap(({ rows }) => rows);
  const perStep = (count: number) => (steps.length === 0 ? 0 : count / steps.length);
  const repeats = (keyOf: (row: EvaluatedStep) => string) =>
    perStep(episodes.reduce((sum, { rows }) => sum + countRepeats(rows, keyOf), 0));
  const wins = episodes.filter(({ ended }) => ended === "won");
  const success = wilsonInterval(wins.length / samples, episodes.length / samples);
  const tellsStates = steps.length > 0 && steps.every(({ stateKey }) => stateKey !== undefined);
  return {
    episodes: episodes.length,
    success: success.share,
    success_low: success.low,
    success_high: success.high,
    mean_length: mean(lengths),
    median_length: lengths.length === 0 ? 0 : quantile(lengths, 0.5),
    success_mean_length: wins.length === 0 ? null : mean(wins.map(({ rows }) => rows.length)),
    lost_rate: share("lost", episodes),
    truncated_rate: share("truncated", episodes),
    failed_rate: share("failed", all),
    invalid_action_rate: perStep(steps.filter(({ valid }) => !valid).length),
    repeated_action_rate: repeats(({ observation, action }) => pair(observation, action)),
    repeated_action_in_state_rate: tellsStates
      ? repeats(({ stateKey, action }) => pair(stateKey ?? "", action))
      : null,
    repeated_action_anywhere_rate: repeats(({ action }) => action),
  };
}

/** An episode that is one of several of its task. */
export interface SampledEpisode extends EvaluatedEpisode {
  readonly taskId: string;
}

/**
 * Chance that at least one of k episodes wins, from n episodes of which c won: 1 - C(n - c, k) / C(n, k), without bias.
 * @param k at most n
 * @source Chen et al. 2021 (2107.03374), eq. 1
 */
export function passAtK(n: number, c: number, k: number): number {
  // with fewer than k losses one factor is 0
  let missed = 1;
  for (let i = 0; i < k; i++) missed *= (n - c - i) / (n - i);
  return 1 - missed;
}

/**
 * `avg@n` and `pass@k` over tasks, where each task was played n times: for k = n and for powers of two from 2 up to n. Tasks with
 * fewer episodes, since their world failed, are left out. Empty for n = 1.
 */
export function summariseSamples(episodes: readonly SampledEpisode[], n: number): Record<string, number> {
  if (n === 1) return {};
  const byTask = new Map<string, { played: number; won: number }>();
  for (const { taskId, ended } of episodes) {
    const task = byTask.get(taskId) ?? { played: 0, won: 0 };
    byTask.set(taskId, task);
    if (ended === "failed") continue;
    task.played++;
    if (ended === "won") task.won++;
  }
  const tasks = [...byTask.values()].filter(({ played }) => played === n);
  const numbers: Record<string, number> = { [`avg@${n}`]: mean(tasks.map(({ won }) => won / n)) };
  const ks = new Set([n]);
  for (let k = 2; k < n; k *= 2) ks.add(k);
  for (const k of [...ks].sort((a, b) => a - b)) {
    numbers[`pass@${k}`] = mean(tasks.map(({ won }) => passAtK(n, won, k)));
  }
  return numbers;
}

/** The same for each task type alone, in alphabetical order. */
export function summariseByType(
  episodes: readonly EvaluatedEpisode[],
  samples = 1,
): ReadonlyMap<string, EvaluationSummary> {
  const types = [...new Set(episodes.map(({ taskType }) => taskType))].sort();
  return new Map(
    types.map((type) => [
      type,
      summariseEpisodes(
        episodes.filter(({ taskType }) => taskType === type),
        samples,
      ),
    ]),
  );
}
