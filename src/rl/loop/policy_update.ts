/** All updates on one rollout: mini-batches, in which both streams have their share, and the loss of each. */
import type { TrainConfig } from "../../config/schema.js";
import { groupBy } from "../../core/group_by.js";
import { mean } from "../../core/statistics.js";
import {
  type FixedLogProbs,
  type PolicyLossOptions,
  policyObjective,
  policyStatistics,
  type StreamLoss,
} from "../objective/policy.js";
import type { Row } from "../rows.js";
import type { StepStatistics } from "../update/learner.js";
import { itemsOfStep } from "./data_order.js";
import type { UpdateContext } from "./stage.js";

/** What the policy loss and the optimiser say of one update. */
export interface PolicyUpdate extends ReturnType<typeof policyStatistics>, StepStatistics {
  readonly packedTokens: number;
  /** Rows that were computed, equal ones counted once. */
  readonly computedRows: number;
  /** Difference between sampled and trainer log-probabilities, over tokens of play: an invariant of one update per rollout. */
  readonly difference: { readonly mean: number; readonly max: number };
}

/** What an update is made with, beside its rows. */
export interface UpdateWork extends UpdateContext {
  readonly config: TrainConfig;
  /** Of the classification stream, where there is one. */
  readonly classification?: Pick<PolicyLossOptions, "classification" | "head">;
  /** Called before the gradient of an update that holds classification rows, and after its step. */
  readonly head?: { clearGradient(): void; step(learningRate: number): void };
}

/** @param played and `judged` rows of the kinds policy and classification */
export async function updatePolicy(
  work: UpdateWork,
  played: readonly Row[],
  judged: readonly Row[],
): Promise<PolicyUpdate[]> {
  const { learner, config, reference } = work;
  const { num_iterations, mini_batch_size, temperature } = config.grpo;
  const size = mini_batch_size ?? played.length;
  const single = num_iterations === 1 && size >= played.length;
  const rows = [...played, ...judged];
  // with one update the current policy is the behaviour policy, and its ratio is 1 by construction
  const old = single ? undefined : await learner.score(rows, temperature);
  const isNeeded = reference && config.grpo.kl_in === "loss";
  const fromReference = isNeeded ? await learner.score(rows, temperature, reference) : undefined;
  const updates: PolicyUpdate[] = [];
  for (let pass = 0; pass < num_iterations; pass++) {
    for (const part of single ? [[...rows.keys()]] : miniBatches(work, played, judged.length, pass)) {
      const fixed: FixedLogProbs = {
        old: old && part.map((row) => old[row]),
        reference: fromReference && part.map((row) => fromReference[row]),
      };
      updates.push(
        await oneUpdate(
          work,
          part.map((row) => rows[row]),
          fixed,
        ),
      );
    }
  }
  return updates;
}

/** Rows of each mini-batch of one pass: classification rows are spread evenly over those of play. */
function miniBatches(
  { config, index }: UpdateWork,
  rows: readonly Row[],
  judged: number,
  pass: number,
): number[][] {
  const played = rows.length;
  const shuffled = (label: string, units: readonly number[][]) =>
    itemsOfStep(config.seed, `${label} ${index}`, units, units.length, pass).flat();
  const order = shuffled("rows", unitsOf(config, rows));
  const single = Array.from({ length: judged }, (_, row) => [played + row]);
  const beside = judged > 0 ? shuffled("judged rows", single) : [];
  const size = config.grpo.mini_batch_size ?? played;
  const count = Math.ceil(played / size);
  return Array.from({ length: count }, (_, batch) => [
    ...order.slice(batch * size, (batch + 1) * size),
    ...beside.slice(Math.floor((batch * judged) / count), Math.floor(((batch + 1) * judged) / count)),
  ]);
}

/** What is shuffled: rows, or episodes where each is one text, so that rows of a text stay together. */
function unitsOf({ prompt }: TrainConfig, rows: readonly Row[]): number[][] {
  const places = [...rows.keys()];
  if (prompt.context === "step") return places.map((place) => [place]);
  return [...groupBy(places, (place) => `${rows[place].group} ${rows[place].episode}`).values()];
}

async function oneUpdate(
  { learner, config, learningRate, classification, head }: UpdateWork,
  rows: readonly Row[],
  fixed: FixedLogProbs,
): Promise<PolicyUpdate> {
  const policy = policyLoss(config);
  const objective = policyObjective(rows, fixed, {
    temperature: config.grpo.temperature,
    policy,
    ...classification,
  });
  const isJudging = head !== undefined && rows.some(({ kind }) => kind === "classification");
  if (isJudging) head.clearGradient();
  const { stats, logProbs, ...rest } = await learner.update(objective, learningRate, { keepLogProbs: true });
  if (isJudging) head.step(learningRate);
  const computed = objective.selected.map(({ index }) => rows[index]);
  return {
    ...policyStatistics(stats),
    ...rest,
    computedRows: computed.length,
    difference: difference(logProbs, computed),
  };
}

function difference(trainer: readonly Float32Array[], rows: readonly Row[]): { mean: number; max: number } {
  const gaps = rows.flatMap(({ kind, logProbs = [] }, row) =>
    kind === "policy" ? logProbs.map((value, t) => Math.abs(trainer[row][t] - value)) : [],
  );
  return { mean: mean(gaps), max: gaps.reduce((most, gap) => Math.max(most, gap), 0) };
}

/** The loss of the policy stream. */
export function policyLoss({ grpo }: TrainConfig): StreamLoss {
  return {
    coefficient: 1,
    clipLow: grpo.epsilon,
    clipHigh: grpo.epsilon_high ?? grpo.epsilon,
    dualClip: grpo.delta ?? 0,
    beta: grpo.kl_in === "loss" ? grpo.beta : 0,
    klKind: grpo.kl_estimator,
    surrogate: grpo.surrogate,
    ratioLevel: grpo.importance_sampling_level,
    entropyCoef: grpo.entropy_coef,
    aggregation: grpo.loss_aggregation,
    normaliser: grpo.max_completion_length,
    skipBelow: grpo.skip_gradient_below,
  };
}
