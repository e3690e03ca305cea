/** One GRPO iteration: roll out groups, compare episodes within each group, improve the policy on every step's row. */

import type { TrainConfig } from "../../config/schema.js";
import type { RolloutRow, RunSink } from "../../core/run_record.js";
import { mean } from "../../core/statistics.js";
import type { Task } from "../../env/world.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import { type Advantages, groupAdvantages } from "../advantages/advantages.js";
import { summariseEpisodes } from "../play/evaluation.js";
import type { Episode, RolloutWorker } from "../play/rollout.js";
import type { PolicyRow } from "../rows.js";
import type { FixedLogProbs, Learner, PolicyLossOptions, PolicyUpdateStatistics } from "../update/learner.js";
import { itemsOfStep } from "./data_order.js";

export interface GrpoIteration {
  readonly config: TrainConfig;
  readonly learner: Learner;
  readonly worker: RolloutWorker;
  readonly reference: Qwen2Model | undefined;
  readonly tasks: readonly Task[];
  /** 0-based GRPO iteration. */
  readonly iteration: number;
  /** Number of this update in the run's records. */
  readonly step: number;
  readonly learningRate: number;
  readonly sink: RunSink;
  readonly now: () => number;
}

/** @returns metrics under TRL's names where they exist */
export async function grpoIteration(work: GrpoIteration): Promise<Record<string, number>> {
  const { config, now } = work;
  const started = now();
  const episodes = await rollOut(work);
  const rolledOut = now();
  const rows = episodes.flatMap((episode) => episode.rows.map((row) => ({ episode, row })));
  const advantages = groupAdvantages(
    rows.map(({ episode, row }) => ({
      group: row.group,
      episode: row.episode,
      step: row.step,
      outcome: episode.won ? config.grpo.success_reward : 0,
      valid: row.valid,
      truncated: !row.finished,
      anchorKey: row.observation,
      stepReward: row.reward,
    })),
    {
      scaleRewards: config.grpo.scale_rewards,
      invalidActionPenalty: config.grpo.invalid_action_penalty,
      crossSteps: config.grpo.cross_steps,
      maskTruncated: config.grpo.mask_truncated_completions,
    },
  );
  const policyRows = rows.map(
    ({ row }, index): PolicyRow => ({
      prompt: row.prompt.tokens,
      answer: row.actionTokens,
      advantage: advantages.total[index],
      counts: row.finished || !config.grpo.mask_truncated_completions,
      sampledLogProbs: row.logProbs,
    }),
  );
  const updates = await improve(work, policyRows);
  if (config.log.rollouts)
    await work.sink.rollouts(work.step, rolloutRows(work, episodes, advantages, policyRows));
  return metrics(work, episodes, advantages, policyRows, updates, {
    rollout: rolledOut - started,
    update: now() - rolledOut,
  });
}

async function rollOut({ config, worker, tasks, iteration }: GrpoIteration): Promise<Episode[]> {
  const { tasks_per_step, num_generations, temperature, top_k, top_p, max_completion_length } = config.grpo;
  const chosen = itemsOfStep(config.seed, "tasks", tasks, tasks_per_step, iteration);
  const requests = chosen.flatMap((task, group) =>
    Array.from({ length: num_generations }, (_, member) => ({
      taskId: task.id,
      taskType: task.type,
      group,
      episode: group * num_generations + member,
    })),
  );
  return worker.play(requests, {
    maxSteps: config.world.max_steps,
    sampling: { temperature, topK: top_k, topP: top_p, maxNewTokens: max_completion_length },
    seed: config.seed,
    label: `grpo ${iteration}`,
  });
}

/** All updates on one rollout. */
async function improve(work: GrpoIteration, rows: readonly PolicyRow[]): Promise<PolicyUpdateStatistics[]> {
  const { learner, config, reference, learningRate } = work;
  const { num_iterations, mini_batch_size, temperature } = config.grpo;
  const size = mini_batch_size ?? rows.length;
  const single = num_iterations === 1 && size >= rows.length;
  // with one update the current policy is the behaviour policy, and its ratio is 1 by construction
  const old = single ? undefined : await learner.score(rows, temperature);
  const fromReference = reference ? await learner.score(rows, temperature, reference) : undefined;
  const updates: PolicyUpdateStatistics[] = [];
  for (let pass = 0; pass < num_iterations; pass++) {
    const order = single ? [...rows.keys()] : shuffled(work, rows.length, pass);
    for (let first = 0; first < order.length; first += size) {
      const part = order.slice(first, first + size);
      const fixed: FixedLogProbs = {
        old: old && part.map((row) => old[row]),
        reference: fromReference && part.map((row) => fromReference[row]),
      };
      const chosen = part.map((row) => rows[row]);
      updates.push(await learner.improve(chosen, fixed, lossOptions(config), learningRate));
    }
  }
  return updates;
}

function shuffled({ config, iteration }: GrpoIteration, count: number, pass: number): number[] {
  return itemsOfStep(config.seed, `rows ${iteration}`, [...Array(count).keys()], count, pass);
}

function lossOptions({ grpo }: TrainConfig): PolicyLossOptions {
  return {
    clipLow: grpo.epsilon,
    clipHigh: grpo.epsilon_high ?? grpo.epsilon,
    dualClip: grpo.delta ?? 0,
    beta: grpo.beta,
    klKind: Number(grpo.kl_estimator.slice(1)) as 1 | 2 | 3,
    entropyCoef: grpo.entropy_coef,
    aggregation: grpo.loss_aggregation,
    normaliser: grpo.max_completion_length,
    temperature: grpo.temperature,
    skipBelow: grpo.skip_gradient_below,
  };
}

function rolloutRows(
  work: GrpoIteration,
  episodes: readonly Episode[],
  advantages: Advantages,
  policyRows: readonly PolicyRow[],
): RolloutRow[] {
  let index = 0;
  return episodes.flatMap((episode) =>
    episode.rows.map((row): RolloutRow => {
      const at = index++;
      return {
        step: work.step,
        kind: "policy",
        group: row.group,
        episode: row.episode,
        env_step: row.step,
        task_id: episode.taskId,
        task_type: episode.taskType,
        prompt: row.prompt.text,
        prompt_tokens: row.prompt.tokens,
        prompt_hash: row.prompt.hash,
        action: row.action,
        action_tokens: row.actionTokens,
        log_probs: row.logProbs,
        mask: row.actionTokens.map(() => Number(policyRows[at].counts)),
        valid: row.valid,
        reward: row.reward,
        return: episode.won ? work.config.grpo.success_reward : 0,
        outcome_advantage: advantages.outcome[at],
        penalty_advantage: advantages.penalty[at],
        advantage: advantages.total[at],
      };
    }),
  );
}

function metrics(
  { learningRate }: GrpoIteration,
  episodes: readonly Episode[],
  { statistics }: Advantages,
  rows: readonly PolicyRow[],
  updates: readonly PolicyUpdateStatistics[],
  time: { readonly rollout: number; readonly update: number },
): Record<string, number> {
  const average = (of: (update: PolicyUpdateStatistics) => number) => mean(updates.map(of));
  const lengths = rows.map(({ answer }) => answer.length);
  const summary = summariseEpisodes(episodes);
  const trained = updates.reduce((sum, { packedTokens }) => sum + packedTokens, 0);
  return {
    loss: average(({ loss }) => loss),
    ...statistics,
    success: summary.success,
    "episodes/mean_length": summary.mean_length,
    "episodes/invalid_action_rate": summary.invalid_action_rate,
    "episodes/repeated_action_rate": summary.repeated_action_rate,
    "completions/mean_length": mean(lengths),
    "completions/clipped_ratio": mean(
      episodes.flatMap(({ rows: steps }) => steps.map(({ finished }) => Number(!finished))),
    ),
    kl: average(({ referenceKl }) => referenceKl),
    approx_kl: average(({ approximateKl }) => approximateKl),
    entropy: -mean(rows.flatMap(({ sampledLogProbs }) => [...sampledLogProbs])),
    "clip_ratio/low_mean": average(({ clipFractionLow }) => clipFractionLow),
    "clip_ratio/high_mean": average(({ clipFractionHigh }) => clipFractionHigh),
    "clip_ratio/dual_mean": average(({ dualClipFraction }) => dualClipFraction),
    "ratio/max": Math.max(0, ...updates.map(({ ratioMax }) => ratioMax)),
    "sampling/logp_diff_mean": updates[0]?.logProbDifferenceMean ?? 0,
    "sampling/logp_diff_max": updates[0]?.logProbDifferenceMax ?? 0,
    grad_norm: average(({ gradNorm }) => gradNorm),
    skipped: updates.filter(({ skipped }) => skipped).length,
    skipped_updates: updates.at(-1)?.skippedSteps ?? 0,
    loss_scale: updates.at(-1)?.lossScale ?? 1,
    learning_rate: learningRate,
    num_tokens: rows.reduce((sum, { prompt, answer }) => sum + prompt.length + answer.length, 0),
    rows: rows.length,
    "rows/computed": average(({ computedRows }) => computedRows),
    "perf/step_ms/rollout": time.rollout,
    "perf/step_ms/update": time.update,
    "perf/trained_tokens_per_s": trained / (time.update / 1000),
  };
}
