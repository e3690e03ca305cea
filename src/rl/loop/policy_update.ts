/** All updates on one rollout: mini-batches, in which both streams have their share, and the loss of each. */
import type { TrainConfig } from "../../config/schema.js";
import { groupBy } from "../../core/group_by.js";
import { mean } from "../../core/statistics.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import {
  type FixedLogProbs,
  type PolicyLossOptions,
  policyObjective,
  policyStatistics,
  type StreamLoss,
  selectPolicyRows,
} from "../objective/policy.js";
import type { SelectedRow } from "../objective/selection.js";
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
  const { num_iterations, mini_batch_size } = work.config.grpo;
  const size = mini_batch_size ?? played.length;
  const single = num_iterations === 1 && size >= played.length;
  const rows = [...played, ...judged];
  const passes = Array.from({ length: num_iterations }, (_, pass) =>
    miniBatches(work, played, judged.length, pass),
  );
  const parts = passes.flat().map((part) => part.map((row) => rows[row]));
  const fixed = await fixedLogProbs(work, parts, single);
  const updates: PolicyUpdate[] = [];
  for (const [index, part] of parts.entries()) updates.push(await oneUpdate(work, part, fixed[index]));
  return updates;
}

/**
 * Behaviour and reference policy on the rows of each update, before the first one. An update's rows are scored in its own
 * packing, see `FixedLogProbs`; updates of the same rows in the same order share their scores.
 * @param single with one update the current policy is the behaviour policy, and its ratio is 1 by construction
 */
async function fixedLogProbs(
  work: UpdateWork,
  parts: readonly (readonly Row[])[],
  single: boolean,
): Promise<FixedLogProbs[]> {
  const { learner, reference, config } = work;
  const { temperature, kl_in } = config.grpo;
  const options = lossOptions(work);
  const known: { readonly part: readonly Row[]; readonly fixed: FixedLogProbs }[] = [];
  for (const part of parts) {
    const same = known.find(
      (other) => other.part.length === part.length && part.every((row, at) => row === other.part[at]),
    );
    if (same) {
      known.push({ part, fixed: same.fixed });
      continue;
    }
    const selected = selectPolicyRows(part, options, single);
    const computed = selected.map(({ index }) => part[index]);
    const score = async (model: Qwen2Model) => {
      const placed: Float32Array[] = [];
      for (const [at, values] of (await learner.score(computed, temperature, model)).entries())
        placed[selected[at].index] = values;
      return placed;
    };
    const old = single ? undefined : await score(learner.model);
    const isNeeded = reference && kl_in === "loss";
    known.push({ part, fixed: { old, reference: isNeeded ? await score(reference) : undefined } });
  }
  return known.map(({ fixed }) => fixed);
}

/**
 * Rows of each mini-batch of one pass: classification rows are spread evenly over those of play. One mini-batch of all rows
 * is not shuffled: each pass has the same packing then.
 */
function miniBatches(
  { config, index }: UpdateWork,
  rows: readonly Row[],
  judged: number,
  pass: number,
): number[][] {
  const played = rows.length;
  const size = config.grpo.mini_batch_size ?? played;
  if (size >= played) return [Array.from({ length: played + judged }, (_, row) => row)];
  const shuffled = (label: string, units: readonly number[][]) =>
    itemsOfStep(config.seed, `${label} ${index}`, units, units.length, pass).flat();
  const order = shuffled("rows", unitsOf(config, rows));
  const single = Array.from({ length: judged }, (_, row) => [played + row]);
  const beside = shuffled("judged rows", single);
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

function lossOptions({ config, classification }: UpdateWork): PolicyLossOptions {
  return { temperature: config.grpo.temperature, policy: policyLoss(config), ...classification };
}

async function oneUpdate(
  work: UpdateWork,
  rows: readonly Row[],
  fixed: FixedLogProbs,
): Promise<PolicyUpdate> {
  const { learner, learningRate, head } = work;
  const objective = policyObjective(rows, fixed, lossOptions(work));
  const isJudging = head !== undefined && rows.some(({ kind }) => kind === "classification");
  if (isJudging) head.clearGradient();
  const { stats, logProbs, ...rest } = await learner.update(objective, learningRate, { keepLogProbs: true });
  if (isJudging) head.step(learningRate);
  return {
    ...policyStatistics(stats),
    ...rest,
    computedRows: objective.selected.length,
    difference: difference(logProbs, objective.selected, rows),
  };
}

/** @param trainer log-probabilities of each computed row, which those of every row that it stands for are held against */
function difference(
  trainer: readonly Float32Array[],
  selected: readonly SelectedRow[],
  rows: readonly Row[],
): { mean: number; max: number } {
  const gaps = selected.flatMap(({ members }, at) =>
    members.flatMap((member) => {
      const { kind, logProbs = [] } = rows[member];
      return kind === "policy" ? logProbs.map((value, t) => Math.abs(trainer[at][t] - value)) : [];
    }),
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
