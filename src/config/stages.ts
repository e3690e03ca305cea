/** The two training stages of a configuration: imitation of the world's expert, then GRPO. Descriptions are the documentation. */
import {
  choice,
  flag,
  fraction,
  integerFrom,
  listOfTexts,
  numberAbove,
  numberFrom,
  positiveFraction,
  regularExpression,
  section,
} from "./fields.js";

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
  weight_decay: numberFrom(0).default(0).describe("decoupled (AdamW)"),
  adam_beta1: fraction().default(0.9).describe("decay of the first moment"),
  adam_beta2: fraction().default(0.999).describe("decay of the second moment"),
  adam_epsilon: numberAbove(0).default(1e-8).describe("added to the root of the second moment"),
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
  episodes: integerFrom(0).default(64).describe("expert episodes to learn from; 0 = no imitation stage"),
  task_types: stageTaskTypes(),
  max_steps: integerFrom(1).default(200).describe("updates of the imitation stage"),
  batch_size: integerFrom(1).default(32).describe("rows (environment steps of the expert) for each update"),
  detours: fraction()
    .default(0)
    .describe(
      "chance before each expert step of a random admissible action, which is not imitated: teaches to recover (DART)",
    ),
  detour_pattern: regularExpression()
    .nullable()
    .default(null)
    .describe('take only actions that match this regular expression as detours, as "^go to "; null = all'),
  prompt_loss_weight: numberFrom(0)
    .default(0)
    .describe(
      "weight of predicting the prompt's own tokens; above 0 a fresh policy learns the world's language with it",
    ),
  learning_rate: numberFrom(0).default(1e-3).describe("highest learning rate of AdamW"),
  ...optimiserFields,
});

/** Fields that decide what a GRPO update is made from. */
const grpoSampling = {
  max_steps: integerFrom(0)
    .default(0)
    .describe("GRPO iterations: rollout, advantages, updates; 0 = no GRPO stage"),
  task_types: stageTaskTypes(),
  num_generations: integerFrom(2)
    .default(8)
    .describe("G, episodes of one task that form a group (verl: rollout.n)"),
  max_tasks: integerFrom(1)
    .nullable()
    .default(null)
    .describe("practise on that many of the training tasks only, drawn once; null = all"),
  tasks_per_step: integerFrom(1).default(8).describe("groups for each iteration"),
  num_iterations: integerFrom(1)
    .default(1)
    .describe("passes over the rows of one rollout (verl: ppo_epochs)"),
  mini_batch_size: integerFrom(1)
    .nullable()
    .default(null)
    .describe("rows for each optimiser step (verl: ppo_mini_batch_size); null = all rows of the rollout"),
  max_completion_length: integerFrom(1).default(16).describe("tokens of one action, at most"),
  temperature: numberAbove(0).default(1).describe("of sampling; log-probs use it too"),
  top_p: positiveFraction().default(1).describe("nucleus sampling; below 1 the importance ratios are biased"),
  top_k: integerFrom(0)
    .default(0)
    .describe("sample among that many likeliest tokens, 0 = all; above 0 the importance ratios are biased"),
};

/** Fields of rewards and advantages. */
const grpoAdvantages = {
  success_reward: numberAbove(0)
    .default(10)
    .describe(
      "reward of an episode that reached its goal, others get 0; it cancels out unless scale_rewards is none",
    ),
  invalid_action_penalty: numberFrom(0)
    .default(0.1)
    .describe(
      "taken from the advantage (not the reward) of rows with invalid actions, and given back evenly to all rows of the group",
    ),
  algo: choice(["grpo", "rloo", "gigpo", "hgpo", "rlvmr"])
    .default("grpo")
    .describe("estimator of advantages"),
  gamma: fraction().default(0.95).describe("discount of step rewards (gigpo, hgpo)"),
  scale_rewards: choice(["group", "batch", "none"])
    .default("group")
    .describe("divide advantages by the standard deviation of the group, of the batch, or not (Dr. GRPO)"),
  cross_steps: flag()
    .default(false)
    .describe(
      "group statistics with one entry for each row (long episodes weigh more, as verl-agent does) instead of one for each episode",
    ),
  mask_truncated_completions: flag()
    .default(false)
    .describe("leave rows out of the loss whose action hit max_completion_length; they get no penalty then"),
};

/** Fields of the policy loss. */
const grpoLoss = {
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
  kl_estimator: choice(["k1", "k2", "k3"])
    .default("k3")
    .describe("per-token KL estimate (verl: kl, mse, low_var_kl)"),
  entropy_coef: numberFrom(0).default(0).describe("weight of the entropy bonus (verl: entropy_coeff)"),
  loss_aggregation: choice(["token_mean", "sequence_mean", "sequence_sum"])
    .default("token_mean")
    .describe(
      "token_mean = over all tokens of the mini-batch (TRL loss_type dapo, verl token-mean); sequence_mean = mean over " +
        "each row's tokens, then over rows (TRL grpo, verl seq-mean-token-mean); sequence_sum = row sums divided by rows " +
        "times max_completion_length (TRL dr_grpo, verl seq-mean-token-sum-norm)",
    ),
  skip_gradient_below: numberFrom(0)
    .default(0)
    .describe(
      "do not compute rows with |advantage| * sqrt(sum over tokens of (1 - p)^2) below this (p as sampled; equal rows added " +
        "up first): sure actions hardly move the policy, but cost as much; 0 = compute all that move it at all. Has no " +
        "effect with beta or entropy_coef",
    ),
};

export const grpoSection = section({
  ...grpoSampling,
  ...grpoAdvantages,
  ...grpoLoss,
  learning_rate: numberFrom(0).default(1e-6).describe("highest learning rate of AdamW"),
  ...optimiserFields,
});
