/** The stage that learns by play: roll out groups, compare episodes within each group, improve the policy on every row. */
import type { TrainConfig } from "../../config/schema.js";
import type { RunSink } from "../../core/run_record.js";
import { mean } from "../../core/statistics.js";
import type { Task } from "../../env/world.js";
import { type Advantages, estimateAdvantages } from "../advantages/estimate.js";
import {
  type FixedLogProbs,
  type PolicyLossOptions,
  policyObjective,
  policyStatistics,
  type StreamLoss,
} from "../objective/policy.js";
import type { Episode } from "../play/episode.js";
import { summariseEpisodes } from "../play/evaluation.js";
import { playRules, type RolloutWorker } from "../play/rollout.js";
import type { PlayedRow, Row } from "../rows.js";
import { itemsOfStep } from "./data_order.js";
import { rolloutRow } from "./records.js";
import type { Stage, UpdateContext } from "./stage.js";

/** What the stage needs for the whole run. */
export interface PolicyStageDeps {
  readonly config: TrainConfig;
  readonly worker: RolloutWorker;
  /** Tasks that are practised. */
  readonly tasks: readonly Task[];
  readonly sink: RunSink;
  readonly now: () => number;
}

export function policyStage(deps: PolicyStageDeps): Stage {
  const { grpo, eval: evaluation } = deps.config;
  return {
    name: "grpo",
    settings: grpo,
    needsReference: grpo.beta > 0,
    evaluateEvery: evaluation.every,
    update: (context) => iteration({ ...deps, ...context }),
  };
}

type Iteration = PolicyStageDeps & UpdateContext;

/** @returns metrics under TRL's names where they exist */
async function iteration(work: Iteration): Promise<Record<string, number>> {
  const { config, now } = work;
  const started = now();
  const episodes = await rollOut(work);
  const rolledOut = now();
  const { success_reward } = config.grpo;
  const played = episodes
    .filter(({ ended }) => ended !== "failed")
    .flatMap((episode) => episode.rows.map((row) => ({ ...row, outcome: row.outcome * success_reward })));
  const advantages = estimateAdvantages(played, {
    algo: "grpo",
    scale_rewards: config.grpo.scale_rewards,
    invalid_action_penalty: config.grpo.invalid_action_penalty,
    cross_steps: config.grpo.cross_steps,
    mask_truncated: config.grpo.mask_truncated_completions,
  });
  const rows = played.map((row, index) => judgedRow(config, row, advantages, index));
  const updates = await improve(work, rows);
  if (config.log.rollouts)
    await work.sink.rollouts(
      work.step,
      rows.map((row) => rolloutRow(work.step, row)),
    );
  return metrics(work, episodes, advantages, rows, updates, {
    rollout: rolledOut - started,
    update: now() - rolledOut,
  });
}

async function rollOut({ config, worker, tasks, index }: Iteration): Promise<Episode[]> {
  const { tasks_per_step, num_generations, temperature, top_k, top_p, max_completion_length } = config.grpo;
  const chosen = itemsOfStep(config.seed, "tasks", tasks, tasks_per_step, index);
  const requests = chosen.flatMap((task, group) =>
    Array.from({ length: num_generations }, (_, member) => ({
      taskId: task.id,
      taskType: task.type,
      group,
      episode: group * num_generations + member,
    })),
  );
  return worker.play(requests, {
    ...playRules(config),
    maxSteps: config.world.max_steps,
    sampling: { temperature, topK: top_k, topP: top_p, maxNewTokens: max_completion_length },
    seed: config.seed,
    label: `grpo ${index}`,
  });
}

/** A played row with its advantage. */
function judgedRow({ grpo }: TrainConfig, row: PlayedRow, advantages: Advantages, index: number): PlayedRow {
  const isMasked = row.truncated && grpo.mask_truncated_completions;
  return {
    ...row,
    ...(isMasked && { mask: row.answer.map(() => 0) }),
    advantage: advantages.total[index],
    parts: Object.fromEntries(Object.entries(advantages.parts).map(([name, part]) => [name, part[index]])),
  };
}

/** What the policy loss and the optimiser say of one update. */
interface PolicyUpdate extends ReturnType<typeof policyStatistics> {
  readonly gradNorm: number;
  readonly skipped: boolean;
  readonly skippedSteps: number;
  readonly lossScale: number;
  readonly packedTokens: number;
  /** Rows that were computed, equal ones counted once. */
  readonly computedRows: number;
  /** Difference between sampled and trainer log-probabilities, over tokens: an invariant of one update per rollout. */
  readonly difference: { readonly mean: number; readonly max: number };
}

/** All updates on one rollout. */
async function improve(work: Iteration, rows: readonly Row[]): Promise<PolicyUpdate[]> {
  const { learner, config, reference } = work;
  const { num_iterations, mini_batch_size, temperature } = config.grpo;
  const size = mini_batch_size ?? rows.length;
  const single = num_iterations === 1 && size >= rows.length;
  // with one update the current policy is the behaviour policy, and its ratio is 1 by construction
  const old = single ? undefined : await learner.score(rows, temperature);
  const fromReference = reference ? await learner.score(rows, temperature, reference) : undefined;
  const updates: PolicyUpdate[] = [];
  for (let pass = 0; pass < num_iterations; pass++) {
    const order = single ? [...rows.keys()] : shuffled(work, rows.length, pass);
    for (let first = 0; first < order.length; first += size) {
      const part = order.slice(first, first + size);
      const fixed: FixedLogProbs = {
        old: old && part.map((row) => old[row]),
        reference: fromReference && part.map((row) => fromReference[row]),
      };
      updates.push(
        await policyUpdate(
          work,
          part.map((row) => rows[row]),
          fixed,
        ),
      );
    }
  }
  return updates;
}

async function policyUpdate(
  { learner, config, learningRate }: Iteration,
  rows: readonly Row[],
  fixed: FixedLogProbs,
): Promise<PolicyUpdate> {
  const objective = policyObjective(rows, fixed, lossOptions(config));
  const { stats, logProbs, ...rest } = await learner.update(objective, learningRate, { keepLogProbs: true });
  const sampled = objective.selected.map(({ index }) => rows[index].logProbs ?? []);
  return {
    ...policyStatistics(stats),
    ...rest,
    computedRows: objective.selected.length,
    difference: difference(logProbs, sampled),
  };
}

function difference(
  trainer: readonly Float32Array[],
  sampled: readonly (readonly number[])[],
): { mean: number; max: number } {
  const gaps = trainer.flatMap((values, row) => sampled[row].map((value, t) => Math.abs(values[t] - value)));
  return { mean: mean(gaps), max: gaps.reduce((most, gap) => Math.max(most, gap), 0) };
}

function shuffled({ config, index }: Iteration, count: number, pass: number): number[] {
  return itemsOfStep(config.seed, `rows ${index}`, [...Array(count).keys()], count, pass);
}

function lossOptions({ grpo }: TrainConfig): PolicyLossOptions {
  const policy: StreamLoss = {
    coefficient: 1,
    clipLow: grpo.epsilon,
    clipHigh: grpo.epsilon_high ?? grpo.epsilon,
    dualClip: grpo.delta ?? 0,
    beta: grpo.beta,
    klKind: Number(grpo.kl_estimator.slice(1)) as 1 | 2 | 3,
    entropyCoef: grpo.entropy_coef,
    aggregation: grpo.loss_aggregation,
    normaliser: grpo.max_completion_length,
    skipBelow: grpo.skip_gradient_below,
  };
  return { temperature: grpo.temperature, policy };
}

function metrics(
  { learningRate }: Iteration,
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
    success: summary.success,
    "episodes/failed_rate": summary.failed_rate,
    "episodes/mean_length": summary.mean_length,
    "episodes/invalid_action_rate": summary.invalid_action_rate,
    "episodes/repeated_action_rate": summary.repeated_action_rate,
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
    learning_rate: learningRate,
    num_tokens: rows.reduce((sum, { prompt, answer }) => sum + prompt.length + answer.length, 0),
    rows: rows.length,
    "rows/computed": average(({ computedRows }) => computedRows),
    "perf/step_ms/rollout": time.rollout,
    "perf/step_ms/update": time.update,
    "perf/trained_tokens_per_s": trained / (time.update / 1000),
  };
}
