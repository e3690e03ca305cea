/** From rows of a rollout to the distinct samples of one update, each with its weight in the loss. */

import { type Aggregation, aggregationWeights } from "../../core/aggregation.js";
import { ArgumentError } from "../../core/errors.js";
import { groupBy } from "../../core/group_by.js";
import { Random } from "../../core/random.js";
import type { RolloutRow } from "../../core/run_record.js";
import type { CouplingSample as ReportedSample } from "../../report/coupling_document.js";
import { contentId, contentOf } from "../samples.js";

/**
 * A prompt with a response, in the place of all rows that hold the same. Its advantage is the mean over its rows, weighted as
 * the loss weighs them; its weight w_i is their sum: the loss holds w_i A_i sum_t weights_t log p_t.
 */
export interface DistinctSample
  extends Pick<
    ReportedSample,
    "id" | "state" | "stateText" | "action" | "taskType" | "rows" | "advantage" | "weight"
  > {
  /** Prompt and response. */
  readonly tokens: readonly number[];
  /** Place of the first response token. */
  readonly responseStart: number;
  /** One a response token, the largest 1; 0 where the loss counts a token not. */
  readonly weights: readonly number[];
}

export interface BatchOptions {
  readonly aggregation: Aggregation;
  /** Divides `sequence_sum`. */
  readonly normaliser: number;
}

/**
 * Joins rows of equal prompt, response and relative token weights: their gradients are the same, so together they are one
 * sample with the sum of their weights. Rows of which no token counts are left out, as the loss leaves them out.
 * @param rows of one update; only those of the policy stream are taken
 * @returns in the order in which they first come
 * @source ours
 */
export function distinctSamples(
  rows: readonly RolloutRow[],
  { aggregation, normaliser }: BatchOptions,
): DistinctSample[] {
  const policy = rows.filter(({ kind }) => kind === "policy");
  const normalised = aggregationWeights(
    aggregation,
    policy.map(({ mask }) => mask),
    normaliser,
  );
  const weighed = policy.flatMap((row, index) => {
    const weights = row.action_tokens.map((_, t) => normalised[index][t] * row.weight[t]);
    const most = Math.max(...weights);
    const sample = {
      tokens: [...row.prompt_tokens, ...row.action_tokens],
      responseStart: row.prompt_tokens.length,
      weights: weights.map((value) => value / most),
    };
    return most > 0 ? [{ row, weight: most, sample }] : [];
  });
  const groups = groupBy(weighed, ({ sample }) => contentOf(sample));
  return [...groups].map(([content, equal]) => {
    const [{ row, sample }] = equal;
    const weight = equal.reduce((sum, one) => sum + one.weight, 0);
    const pushed = equal.reduce((sum, one) => sum + one.weight * one.row.advantage, 0);
    return {
      id: contentId(content),
      state: contentId(row.prompt_tokens.join()),
      stateText: row.prompt || (row.observation ?? ""),
      action: row.action,
      taskType: row.task_type,
      rows: equal.length,
      advantage: pushed / weight,
      weight,
      ...sample,
    };
  });
}

/**
 * Some of the samples that push: whole states in a drawn order, until there are enough. The last state is cut.
 * @param most at least 1
 * @returns in their order among `samples`
 * @throws ArgumentError when no sample has an advantage
 */
export function chooseSamples(
  samples: readonly DistinctSample[],
  most: number,
  seed: number,
): DistinctSample[] {
  const pushing = samples.filter(({ advantage }) => advantage !== 0);
  if (pushing.length === 0 || !(most >= 1)) {
    throw new ArgumentError(
      `[coupling] nothing to measure: got ${pushing.length} samples with an advantage and a limit of ${most}, expected at ` +
        "least 1 of each. Take rollouts of an update with dead and living groups.",
    );
  }
  const states = [...groupBy(pushing, ({ state }) => state).values()];
  const chosen = new Set(Random.of(seed, "coupling samples").shuffle(states).flat().slice(0, most));
  return pushing.filter((sample) => chosen.has(sample));
}
