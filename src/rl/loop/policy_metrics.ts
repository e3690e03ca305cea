/** What an iteration of play and update says of itself. */
import { mean } from "../../core/statistics.js";
import { repeatConsistency } from "../../coupling/analysis/repeat_consistency.js";
import type { Advantages } from "../advantages/estimate.js";
import type { LabelCounts } from "../gcd/labels.js";
import type { Episode } from "../play/episode.js";
import { summariseEpisodes } from "../play/evaluation.js";
import type { PlayedRow } from "../rows.js";
import type { PolicyUpdate } from "./policy_update.js";
import type { UpdateContext } from "./stage.js";

/** Counts of labelled (state, action) pairs. */
export function labelMetrics({ good, bad, ties, conflicts }: LabelCounts): Record<string, number> {
  return {
    "labels/good": good,
    "labels/bad": bad,
    "labels/tied": ties,
    "labels/in_conflict": conflicts,
  };
}

/** Left out where no two episodes of a group met in a state. */
function consistency(rows: readonly PlayedRow[]): Record<string, number> {
  const { consistency: share } = repeatConsistency(
    rows.map(({ group, episode, action, stateKey, prompt }) => ({
      ...{ group, episode, action },
      state: stateKey ?? prompt.join(),
    })),
  );
  return share === null ? {} : { "coupling/repeat_consistency": share };
}

/** Metrics of one iteration, under TRL's names where they exist. */
export function policyMetrics(
  { learningRate }: Pick<UpdateContext, "learningRate">,
  episodes: readonly Episode[],
  { statistics }: Advantages,
  rows: readonly PlayedRow[],
  updates: readonly PolicyUpdate[],
  time: { readonly rollout: number; readonly update: number },
): Record<string, number> {
  const average = (of: (update: PolicyUpdate) => number) => mean(updates.map(of));
  const lengths = rows.map(({ answer }) => answer.length);
  const summary = summariseEpisodes(episodes);
  const trained = updates.reduce((sum, { packedTokens }) => sum + packedTokens, 0);
  return {
    loss: average(({ policy }) => policy.loss),
    ...statistics,
    ...consistency(rows),
    success: summary.success,
    "episodes/failed_rate": summary.failed_rate,
    "episodes/too_long_rate": mean(episodes.map(({ isTooLong }) => Number(isTooLong ?? false))),
    "episodes/mean_length": summary.mean_length,
    "episodes/invalid_action_rate": summary.invalid_action_rate,
    "episodes/repeated_action_rate": summary.repeated_action_rate,
    "prompts/mean_length": mean(rows.map(({ prompt }) => prompt.length)),
    "prompts/shortened_rate": mean(rows.map(({ shortened }) => Number(shortened ?? false))),
    "completions/mean_length": mean(lengths),
    "completions/clipped_ratio": mean(rows.map(({ truncated }) => Number(truncated))),
    kl: average(({ policy }) => policy.referenceKl),
    approx_kl: average(({ policy }) => policy.approximateKl),
    entropy: -mean(rows.flatMap(({ logProbs }) => [...logProbs])),
    "clip_ratio/low_mean": average(({ policy }) => policy.clipFractionLow),
    "clip_ratio/high_mean": average(({ policy }) => policy.clipFractionHigh),
    "clip_ratio/dual_mean": average(({ policy }) => policy.dualClipFraction),
    "ratio/max": Math.max(0, ...updates.map(({ policy }) => policy.ratioMax)),
    "sampling/logp_diff_mean": updates[0]?.difference.mean ?? 0,
    "sampling/logp_diff_max": updates[0]?.difference.max ?? 0,
    grad_norm: average(({ gradNorm }) => gradNorm),
    skipped: updates.filter(({ skipped }) => skipped).length,
    skipped_updates: updates.at(-1)?.skippedSteps ?? 0,
    loss_scale: updates.at(-1)?.lossScale ?? 1,
    "updates/empty": updates.filter(({ computedRows }) => computedRows === 0).length,
    learning_rate: learningRate,
    num_tokens: rows.reduce((sum, { prompt, answer }) => sum + prompt.length + answer.length, 0),
    rows: rows.length,
    "rows/computed": average(({ computedRows }) => computedRows),
    "perf/step_ms/rollout": time.rollout,
    "perf/step_ms/update": time.update,
    "perf/trained_tokens_per_s": trained / (time.update / 1000),
  };
}
