/** From the section `grpo` of a configuration, and rows of play, to what the estimators take. */
import type { Algorithm } from "../../config/presets.js";
import type { TrainConfig } from "../../config/schema.js";
import type { PlayedRow } from "../rows.js";
import { hiddenStateKeys, similarityKeys } from "./anchors.js";
import { answerKl, type KlEstimate, meanTokenKl, rewardsWithKl, type ScoredAnswer } from "./kl_reward.js";
import type { AdvantageOptions, Estimator } from "./options.js";
import { overlongPenalty } from "./selection.js";
import type { AdvantageRow } from "./table.js";

type Settings = TrainConfig["grpo"];

const ESTIMATOR: Readonly<Record<Algorithm, Estimator>> = {
  grpo: "grpo",
  rloo: "rloo",
  dr_grpo: "grpo",
  dapo: "grpo",
  gspo: "grpo",
  gigpo: "gigpo",
  hgpo: "hgpo",
  rlvmr: "rlvmr",
};

/** Every option is given: the configuration's defaults are those that hold. */
export function advantageOptions(grpo: Settings): AdvantageOptions {
  return {
    algo: ESTIMATOR[grpo.algo],
    norm: grpo.norm,
    scale_rewards: grpo.scale_rewards,
    std: grpo.std,
    std_epsilon: grpo.std_epsilon,
    cross_steps: grpo.cross_steps,
    invalid_action_penalty: grpo.invalid_action_penalty,
    penalty_in: grpo.penalty_in,
    scale_dead_groups: grpo.scale_dead_groups,
    max_advantage: grpo.max_advantage,
    mask_truncated: grpo.mask_truncated_completions,
    gamma: grpo.gamma,
    step_advantage_weight: grpo.step_advantage_weight,
    history_length: grpo.history_length,
    history_alpha: grpo.history_alpha,
    history_outcome: grpo.history_outcome,
    ...(grpo.tag_alpha === null ? { tag_weight: grpo.tag_weight } : { tag_alpha: grpo.tag_alpha }),
    tag_reward: "rules",
    max_paid_tags: grpo.max_paid_tags,
    first_step_reflection: grpo.first_step_reflection,
  };
}

/**
 * Rows with the keys that their steps are compared by: those of play, or, with `grpo.anchor_similarity`, of clusters of
 * similar observations, or, with `grpo.anchor_cosine`, of similar hidden states. Rows without a key of play stay without one.
 * @param hiddenStates gives the policy's hidden state before each row's answer, where it is asked for
 */
export async function anchoredRows(
  rows: readonly PlayedRow[],
  { algo, anchor_similarity, anchor_cosine }: Settings,
  hiddenStates: (rows: readonly PlayedRow[]) => Promise<readonly ArrayLike<number>[]>,
): Promise<readonly PlayedRow[]> {
  if (algo !== "gigpo" && algo !== "hgpo") return rows;
  const keyed = rows.filter(({ anchorKey }) => anchorKey !== undefined);
  const keys = await clusterKeys(keyed, anchor_similarity, anchor_cosine, hiddenStates);
  if (!keys) return rows;
  const keyOf = new Map(keyed.map((row, index) => [row, keys[index]]));
  return rows.map((row) => ({ ...row, anchorKey: keyOf.get(row) }));
}

async function clusterKeys(
  rows: readonly PlayedRow[],
  similarity: number | null,
  cosine: number | null,
  hiddenStates: (rows: readonly PlayedRow[]) => Promise<readonly ArrayLike<number>[]>,
): Promise<(string | undefined)[] | undefined> {
  if (similarity !== null) return similarityKeys(rows, similarity);
  if (cosine === null) return undefined;
  const hidden = await hiddenStates(rows);
  return hiddenStateKeys(
    rows.map(({ group }, index) => ({ group, hidden: hidden[index] })),
    cosine,
  );
}

/**
 * Rows with the reward columns that the settings ask for: step rewards in units of `success_reward`, the overlong penalty,
 * and the KL penalty where it is in the reward.
 * @param scored each row's answer under the policy that sampled and the reference policy, where there is one
 */
export function advantageRows(
  rows: readonly PlayedRow[],
  grpo: Settings,
  scored: readonly ScoredAnswer[] | undefined,
): AdvantageRow[] {
  const { success_reward, overlong_buffer, max_completion_length } = grpo;
  const scaled = rows.map((row): AdvantageRow & PlayedRow => ({
    ...row,
    stepReward: success_reward * row.stepReward,
    ...(overlong_buffer !== null && {
      penalty: overlongPenalty(row.answer.length, max_completion_length, overlong_buffer),
    }),
  }));
  if (!scored || grpo.kl_in === "loss") return scaled;
  const estimate = rewardEstimate(grpo);
  const rewards = rewardsWithKl(
    scaled.map((row, index) => ({ ...row, kl: answerKl(scored[index], estimate) })),
    grpo.beta,
  );
  return scaled.map((row, index) => ({ ...row, ...rewards[index] }));
}

/** The schema lets no other estimate into the reward. */
function rewardEstimate({ kl_estimator }: Settings): KlEstimate {
  return kl_estimator as KlEstimate;
}

/** The metric `kl` where the loss has no KL term: mean per token, under the policy that sampled. */
export function rewardKl(scored: readonly ScoredAnswer[], grpo: Settings): { readonly kl: number } {
  return { kl: meanTokenKl(scored, rewardEstimate(grpo)) };
}
