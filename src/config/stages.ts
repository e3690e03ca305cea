/** The two training stages of a configuration: imitation of the world's expert, then GRPO. Descriptions are the documentation. */
import {
  choice,
  flag,
  fraction,
  integerFrom,
  learningRate,
  listOfTexts,
  MANY,
  numberAbove,
  numberFrom,
  positiveFraction,
  regularExpression,
  section,
  temperature,
  weightDecay,
} from "./fields.js";

import { ALGORITHMS } from "./presets.js";

const SCHEDULERS = ["constant", "linear", "cosine"] as const;

/** Fields of the optimiser and of the batching, in every stage. */
const optimiserFields = {
  lr_scheduler_type: choice(SCHEDULERS)
    .default("constant")
    .describe("course of the learning rate over max_steps after the warm-up; linear and cosine end at 0"),
  warmup_steps: integerFrom(0)
    .default(0)
    .describe("updates in which the learning rate rises linearly from 0"),
  max_grad_norm: numberAbove(0).default(1).describe("gradients are scaled down to this norm"),
  weight_decay: weightDecay().default(0).describe("decoupled (AdamW)"),
  adam_beta1: fraction().default(0.9).describe("decay of the first moment"),
  adam_beta2: fraction().default(0.999).describe("decay of the second moment"),
  adam_epsilon: numberAbove(0).default(1e-8).describe("added to the root of the second moment"),
  adam_moments: choice(["f32", "f16"])
    .default("f32")
    .describe("how moments are stored; f16 takes half the memory, rounded at random without bias"),
  tokens_per_micro_batch: integerFrom(1)
    .default(4096)
    .describe(
      "packed tokens of one forward and backward pass; bounds memory, changes no result but rounding",
    ),
};

/** The task types of a stage. */
const stageTaskTypes = () =>
  listOfTexts()
    .nullable()
    .default(null)
    .describe("task types of this stage, out of world.task_types; null = all of them");

export const imitationSection = section({
  episodes: integerFrom(0, MANY)
    .default(64)
    .describe("expert episodes to learn from; 0 = no imitation stage"),
  task_types: stageTaskTypes(),
  max_steps: integerFrom(1).default(200).describe("updates of the imitation stage"),
  batch_size: integerFrom(1, MANY)
    .default(32)
    .describe("rows (environment steps of the expert) for each update, or episodes, see batch_of"),
  batch_of: choice(["rows", "episodes"])
    .default("rows")
    .describe(
      "what batch_size counts and a batch draws: rows, or whole episodes, whose text is computed once where prompt.context is episode",
    ),
  expert: choice(["full_state", "searching"])
    .default("full_state")
    .describe(
      "who demonstrates: a planner that sees the whole state, or one that knows what it has read and looks for the rest where such " +
        "things mostly are",
    ),
  detours: fraction()
    .default(0)
    .describe(
      "chance before each expert step of a random admissible action, which is not imitated: teaches to recover (DART)",
    ),
  detour_pattern: regularExpression()
    .nullable()
    .default(null)
    .describe('take only actions that match this regular expression as detours, as "^go to "; null = all'),
  misplaced_detours: fraction()
    .default(0)
    .describe(
      "share of the detours that are actions the expert takes at other times, mostly refused: shows refusals, and how to go on",
    ),
  prompt_loss_weight: numberFrom(0)
    .default(0)
    .describe(
      "weight of predicting the prompt's own tokens; above 0 a fresh policy learns the world's language with it",
    ),
  learning_rate: learningRate().default(1e-3).describe("highest learning rate of AdamW"),
  ...optimiserFields,
});

/** Fields that decide what a GRPO update is made from. */
const grpoSampling = {
  algo: choice(ALGORITHMS)
    .default("grpo")
    .describe(
      "preset of fields in this section that are not given, and the way of estimating advantages; docs/algorithms.md " +
        "lists what each sets, --dry-run shows it",
    ),
  max_steps: integerFrom(0)
    .default(0)
    .describe("GRPO iterations: rollout, advantages, updates; 0 = no GRPO stage"),
  task_types: stageTaskTypes(),
  num_generations: integerFrom(2, MANY)
    .default(8)
    .describe("G, episodes of one task that form a group (verl: rollout.n)"),
  max_tasks: integerFrom(1)
    .nullable()
    .default(null)
    .describe("practise on that many of the training tasks only, drawn once; null = all"),
  tasks_per_step: integerFrom(1, MANY).default(8).describe("groups for each iteration"),
  filter_groups: flag()
    .default(false)
    .describe(
      "dynamic sampling: leave groups out whose outcomes are all equal, and sample other tasks in their place (verl: " +
        "filter_groups.enable)",
    ),
  filter_groups_max_batches: integerFrom(1, MANY)
    .default(10)
    .describe(
      "rollouts of one iteration with filter_groups, at most; then it makes do with the groups it has (verl: " +
        "filter_groups.max_num_gen_batches, whose 0 is no limit)",
    ),
  num_iterations: integerFrom(1, MANY)
    .default(1)
    .describe("passes over the rows of one rollout (verl: ppo_epochs)"),
  mini_batch_size: integerFrom(1, MANY)
    .nullable()
    .default(null)
    .describe("rows for each optimiser step (verl: ppo_mini_batch_size); null = all rows of the rollout"),
  max_completion_length: integerFrom(1, MANY).default(16).describe("tokens of one action, at most"),
  temperature: temperature().default(1).describe("of sampling; log-probs use it too"),
  top_p: positiveFraction().default(1).describe("nucleus sampling; below 1 the importance ratios are biased"),
  top_k: integerFrom(0)
    .default(0)
    .describe("sample among that many likeliest tokens, 0 = all; above 0 the importance ratios are biased"),
};

/** Fields of rewards. */
const grpoRewards = {
  success_reward: numberAbove(0)
    .default(10)
    .describe(
      "reward of an episode that reached its goal, others get 0; it cancels out unless scale_rewards is none",
    ),
  invalid_action_penalty: numberFrom(0).default(0.1).describe("taken from rows with invalid actions"),
  penalty_in: choice(["advantage", "reward"])
    .default("advantage")
    .describe(
      "advantage = penalties are a part of their own: taken after normalising, and given back evenly to all rows of the " +
        "group; reward = taken from the row's scores before means and spreads are taken, as verl-agent does",
    ),
  overlong_buffer: integerFrom(1)
    .nullable()
    .default(null)
    .describe(
      "tokens before max_completion_length over which a penalty rises from 0 to 1 (DAPO's soft overlong punishment); null = none",
    ),
  gamma: fraction()
    .default(0.95)
    .describe("discount of step rewards in step returns (gigpo, hgpo, labels of gcd from step advantages)"),
  anchor_similarity: fraction()
    .nullable()
    .default(null)
    .describe(
      "least similarity of observations that count as one state in a group (gigpo, hgpo; verl-agent: similarity_thresh, 0.95); " +
        "null = equal keys only, see world.anchor",
    ),
  anchor_cosine: fraction()
    .nullable()
    .default(null)
    .describe(
      "least cosine of the policy's hidden states before acting that count as one state in a group (gigpo, hgpo; after " +
        "BiPACE); null = not used",
    ),
};

/** Fields of advantages. */
const grpoAdvantages = {
  norm: choice(["mean_std", "mean"])
    .default("mean_std")
    .describe(
      "divide deviations from a mean by a standard deviation, or by nothing (verl-agent: mean_std_norm, mean_norm); no " +
        "effect with rloo",
    ),
  scale_rewards: choice(["group", "batch", "none"])
    .default("group")
    .describe(
      "with mean_std, divide advantages of outcomes by the standard deviation of the group, of the batch, or not (Dr. GRPO)",
    ),
  std: choice(["unbiased", "population"])
    .default("unbiased")
    .describe("standard deviation over N - 1 or N; TRL and verl take N - 1"),
  std_epsilon: numberFrom(0).default(1e-4).describe("added to standard deviations (TRL 1e-4, verl 1e-6)"),
  cross_steps: flag()
    .default(false)
    .describe(
      "group statistics with one entry for each row (long episodes weigh more, as verl-agent does) instead of one for each episode",
    ),
  scale_dead_groups: flag()
    .default(true)
    .describe(
      "with penalty_in reward, divide also in groups whose outcomes are all equal: there one invalid action may outweigh " +
        "everything else",
    ),
  max_advantage: numberAbove(0)
    .nullable()
    .default(null)
    .describe("bound of the size of advantages, null = none"),
  mask_truncated_completions: flag()
    .default(false)
    .describe("leave rows out of the loss whose action hit max_completion_length; they get no penalty then"),
  step_advantage_weight: numberFrom(0)
    .default(1)
    .describe("weight of step advantages (gigpo, hgpo; verl-agent: step_advantage_w)"),
  history_length: integerFrom(0)
    .default(2)
    .describe("earlier states that the deepest step groups have in common (hgpo: K)"),
  history_alpha: numberFrom(0)
    .default(1)
    .describe("step groups with k earlier states in common weigh (k + 1)^alpha (hgpo)"),
  history_outcome: flag()
    .default(false)
    .describe("the outcome's advantage is one more level, of weight 1 (hgpo: base_group)"),
  tag_weight: numberFrom(0).default(1).describe("weight of tag advantages beside the outcome's (rlvmr)"),
  tag_alpha: fraction()
    .nullable()
    .default(null)
    .describe("alpha of alpha outcome + (1 - alpha) tag, the form of the paper (rlvmr); null = tag_weight"),
  max_paid_tags: integerFrom(0)
    .nullable()
    .default(null)
    .describe("steps of one tag that an episode is paid for, the first ones (rlvmr); null = all"),
  first_step_reflection: flag()
    .default(true)
    .describe("a reflection at the first step is paid (rlvmr), as its code does"),
};

/** Fields of the policy loss. */
const grpoLoss = {
  surrogate: choice(["clip", "cispo"])
    .default("clip")
    .describe(
      "clip = PPO's clipped surrogate; cispo = clipped ratio as a constant weight of the log-probability, so that no token " +
        "loses its gradient",
    ),
  importance_sampling_level: choice(["token", "sequence"])
    .default("token")
    .describe("importance ratio of each token, or of the whole answer (GSPO)"),
  epsilon: fraction().default(0.2).describe("clip range below 1 (verl: clip_ratio_low)"),
  epsilon_high: numberFrom(0)
    .nullable()
    .default(null)
    .describe("clip range above 1 (verl: clip_ratio_high; DAPO 0.28); null = epsilon"),
  delta: numberAbove(1)
    .nullable()
    .default(null)
    .describe(
      "cap of the importance ratio where the advantage is negative: dual clip (verl: clip_ratio_c, 3); null = none",
    ),
  beta: numberFrom(0)
    .default(0)
    .describe("weight of the KL term (verl: kl_loss_coef); 0 = no reference policy is kept"),
  kl_estimator: choice(["k1", "k2", "k3", "k3+", "k3_corrected"])
    .default("k3")
    .describe(
      "per-token KL estimate (verl: kl, mse, low_var_kl); k3+ = value of k3, gradient of k2 (verl); k3_corrected = k3 times " +
        "the importance ratio (TRL: use_bias_correction_kl)",
    ),
  kl_in: choice(["loss", "reward"])
    .default("loss")
    .describe("KL as a term of the loss, or taken from rewards before advantages (verl: use_kl_in_reward)"),
  entropy_coef: numberFrom(0).default(0).describe("weight of the entropy bonus (verl: entropy_coeff)"),
  loss_aggregation: choice(["token_mean", "sequence_mean", "sequence_sum"])
    .default("token_mean")
    .describe(
      "token_mean = over all tokens of the mini-batch (TRL loss_type dapo, verl token-mean); sequence_mean = mean over " +
        "each row's tokens, then over rows (TRL grpo, verl seq-mean-token-mean); sequence_sum = row sums divided by rows " +
        "times max_completion_length (TRL dr_grpo, verl seq-mean-token-sum-norm)",
    ),
  token_weights: choice(["none", "gtpo", "nthr"])
    .default("none")
    .describe(
      "factors of single tokens, rival remedies for samples that push each other: gtpo = conflict tokens are amplified in good " +
        "answers and skipped in bad ones; nthr = tokens of bad answers that pull good ones down are spared; both among the " +
        "answers of one state",
    ),
  conflict_positive: numberFrom(0)
    .default(2)
    .describe("factor of conflict tokens in answers of positive advantage (gtpo)"),
  conflict_negative: numberFrom(0)
    .default(0)
    .describe("factor of conflict tokens in answers of negative advantage (gtpo)"),
  nthr_beta: numberFrom(0)
    .default(1)
    .describe("share of the weakest good answer's own score above which a token is spared (nthr)"),
  nthr_eta: numberFrom(0)
    .nullable()
    .default(0)
    .describe("factor of spared tokens (nthr); null = 2 |0.5 - p|, p the share of good answers in the state"),
  skip_gradient_below: numberFrom(0)
    .default(0)
    .describe(
      "do not compute rows with |advantage| * sqrt(sum over tokens of (1 - p)^2) below this (p as sampled; equal rows added " +
        "up first): sure actions hardly move the policy, but cost as much. Biased: of a sure action that mostly fails, the " +
        "rare successes are kept, and where one action is nearly certain the gradient can change its sign; 0 = compute all " +
        "that move the policy at all. Has no effect with beta or entropy_coef",
    ),
};

export const grpoSection = section({
  ...grpoSampling,
  ...grpoRewards,
  ...grpoAdvantages,
  ...grpoLoss,
  learning_rate: learningRate().default(1e-6).describe("highest learning rate of AdamW"),
  ...optimiserFields,
});
