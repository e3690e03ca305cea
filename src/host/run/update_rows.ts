/** Rows of the update that follows a checkpoint: as the run recorded them, or played anew. */
import type { TrainConfig } from "../../config/schema.js";
import { ConfigError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import type { RolloutRow, RunSink } from "../../core/run_record.js";
import { restoreModel } from "../../rl/loop/policy_state.js";
import { runTraining } from "../../rl/loop/train.js";
import { readRolloutRows, rolloutSteps } from "./rollout_rows.js";
import type { RunPolicy } from "./run_policy.js";

export interface UpdateRows {
  readonly rows: readonly RolloutRow[];
  /** Where they come from, in words. */
  readonly source: string;
}

/**
 * Rows of the update after the checkpoint, which its very policy sampled. Where the run kept none (`log.rollouts`), the
 * policy plays them anew, as the next update would.
 * @throws ConfigError when no update with an advantage could be had
 */
export async function updateRows(policy: RunPolicy, logger: Logger): Promise<UpdateRows> {
  const next = policy.checkpoint.step + 1;
  if ((await rolloutSteps(policy.run)).includes(next)) {
    const rows = await readRolloutRows(policy.run, next);
    if (rows.some(({ kind }) => kind === "policy")) return { rows, source: `rollouts of update ${next}` };
  }
  logger.info(`the run keeps no rollouts of update ${next}: the policy plays them now`);
  return { rows: await playedRows(policy, logger), source: `played anew, as update ${next} would` };
}

/** One update of the policy stage from the checkpoint, whose rows are kept and whose weights are undone. */
async function playedRows(policy: RunPolicy, logger: Logger): Promise<RolloutRow[]> {
  const { config, world, tokenizer, model, checkpoint } = policy;
  const rows: RolloutRow[] = [];
  const sink: RunSink = {
    metrics: async () => {},
    evaluation: async () => {},
    transcripts: async () => {},
    checkpoint: async () => {},
    rollouts: async (_step, made) => void rows.push(...made),
  };
  await runTraining(oneMoreUpdate(config, checkpoint.step), {
    ...{ world, tokenizer, model, sink, logger },
    resume: { ...checkpoint, evaluated: [] },
    signal: new AbortController().signal,
    now: () => performance.now(),
  });
  await restoreModel(model, checkpoint.model);
  if (rows.length === 0) {
    throw new ConfigError(
      `[coupling] nothing was played: got 0 rows in update ${checkpoint.step + 1}, expected some. Name another --checkpoint.`,
    );
  }
  return rows;
}

/** Settings under which training from `step` makes exactly one update, of the policy stage, and no evaluation. */
export function oneMoreUpdate(config: TrainConfig, step: number): TrainConfig {
  // without demonstrations there is no such stage, whatever its number of updates
  const imitated = config.imitation.episodes > 0 ? Math.min(config.imitation.max_steps, step) : 0;
  return {
    ...config,
    imitation: { ...config.imitation, max_steps: imitated },
    grpo: {
      ...config.grpo,
      max_steps: step - imitated + 1,
      // the step is undone, and so short a stage may be shorter than its warm-up
      lr_scheduler_type: "constant",
      warmup_steps: 0,
    },
    eval: { ...config.eval, splits: [] },
    log: { ...config.log, rollouts: true },
  };
}
