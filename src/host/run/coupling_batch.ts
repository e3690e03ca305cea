/** The samples of an update that a coupling analysis looks at, and what all rows of the update say. */
import type { Logger } from "../../core/logger.js";
import type { RolloutRow } from "../../core/run_record.js";
import { chooseSamples, type DistinctSample, distinctSamples } from "../../coupling/analysis/batch.js";
import { repeatConsistency } from "../../coupling/analysis/repeat_consistency.js";
import { cancellationResidual } from "../../coupling/analysis/shared_tokens.js";
import { stateActionInformation } from "../../coupling/analysis/state_action.js";
import type { MeasureRequest } from "./coupling_measure.js";
import type { RunPolicy } from "./run_policy.js";
import { updateRows } from "./update_rows.js";

/** Where a batch comes from, and what it holds. */
export interface CouplingBatch {
  readonly samples: readonly DistinctSample[];
  readonly rows: MeasureRequest["rows"];
  /** In words. */
  readonly source: string;
}

/**
 * Samples of the update that follows the policy's checkpoint.
 * @param choice most samples, and the seed that chooses them
 * @throws ConfigError when no update with an advantage could be had
 */
export async function couplingBatch(
  policy: RunPolicy,
  { samples: most, seed }: { readonly samples: number; readonly seed: number },
  logger: Logger,
): Promise<CouplingBatch> {
  const { rows, source } = await updateRows(policy, logger);
  const { grpo } = policy.config;
  const distinct = distinctSamples(rows, {
    aggregation: grpo.loss_aggregation,
    normaliser: grpo.max_completion_length,
  });
  const samples = chooseSamples(distinct, most, seed);
  const pushing = distinct.filter(({ advantage }) => advantage !== 0).length;
  logger.info(
    `samples: ${samples.length} of ${pushing} distinct ones with an advantage, from ${rows.length} rows (${source})`,
  );
  return { samples, source, rows: rowNumbers(rows, distinct, seed) };
}

/** What all rows of the update say, whether or not they push. */
function rowNumbers(
  rows: readonly RolloutRow[],
  distinct: readonly DistinctSample[],
  seed: number,
): MeasureRequest["rows"] {
  const visits = rows
    .filter(({ kind }) => kind === "policy")
    .map((row) => ({ ...row, state: row.state_key ?? row.prompt_tokens.join() }));
  const ofTask = visits.map(({ task_id, state, action }) => ({ state: `${task_id} ${state}`, action }));
  return {
    repeats: repeatConsistency(visits),
    sharedTokens: cancellationResidual(
      distinct.map(({ state, tokens, responseStart, weights, weight, advantage }) => ({
        group: state,
        tokens: tokens.slice(responseStart),
        coefficients: weights.map((share) => weight * advantage * share),
      })),
    ),
    stateAction: stateActionInformation(ofTask, seed) ?? undefined,
  };
}
