/** The section `gcd` of a configuration: classification of actions beside the policy loss. Its defaults are ours (RECON). */
import { choice, flag, fraction, integerFrom, numberFrom, positiveFraction, section } from "./fields.js";

export const gcdSection = section({
  enabled: flag()
    .default(false)
    .describe(
      "train the policy to judge actions as good or bad beside acting (GCD); our reconstruction of the paper",
    ),
  lambda: numberFrom(0)
    .default(0.5)
    .describe("weight of the classification loss, after each loss has its own normaliser; sweep 0.1, 0.3, 1"),
  warmup_steps: integerFrom(0).default(5).describe("updates over which lambda rises linearly"),
  stop_above: fraction()
    .default(0.95)
    .describe("balanced accuracy above which an update counts as solved; 1 = never"),
  patience: integerFrom(1)
    .default(5)
    .describe("solved updates in a row after which lambda is 0, until one is not solved"),
  label_source: choice(["step_advantage", "rule", "meta", "trajectory", "critic"])
    .default("step_advantage")
    .describe(
      "where labels come from: step advantages in one anchor state, rules (refused, in vain, repeated), RLVMR's tag advantage, " +
        "the episode's outcome, or the world's expert",
    ),
  threshold: numberFrom(0)
    .default(0.1)
    .describe("advantages whose size is not above it are ties, and dropped"),
  min_visits: integerFrom(1)
    .default(1)
    .describe("visits of a state and action in a rollout below which they are dropped"),
  conflicts: choice(["drop", "mean"])
    .default("drop")
    .describe("what becomes of actions whose visits disagree: dropped, or judged by their mean"),
  across_states: flag()
    .default(true)
    .describe("pair actions of different states where those of one state do not suffice"),
  hard_pairs: integerFrom(0)
    .default(0)
    .describe(
      "labelled actions of an update whose gradients are compared, so that pairs that push each other most come first; one pass " +
        "over them more; 0 = none",
    ),
  max_pairs: integerFrom(1).default(32).describe("pairs of a good and a bad action in an update, at most"),
  max_per_state: integerFrom(2).default(2).describe("questions about one state in an update, at most"),
  max_per_task: integerFrom(1).default(8).describe("pairs about one task in an update, at most"),
  max_per_episode: integerFrom(1).default(4).describe("pairs from one episode in an update, at most"),
  max_token_share: positiveFraction()
    .default(0.25)
    .describe("tokens of classification, as a share of the tokens of play, at most"),
  mode: choice(["direct", "think"])
    .default("direct")
    .describe("direct = both verdicts' probabilities from one pass, exact gradient; think = sampled answers"),
  loss: choice(["grpo", "ce", "mixed"])
    .default("grpo")
    .describe(
      "grpo = reward of the right verdict (the paper's); ce = cross entropy of it; mixed = the mean of both (direct)",
    ),
  standardise: flag().default(true).describe("divide advantages of verdicts by their standard deviation"),
  num_generations: integerFrom(2).default(4).describe("K, answers to each question (think)"),
  max_completion_length: integerFrom(1).default(32).describe("tokens of one answer, at most (think)"),
  unparsable_penalty: numberFrom(0)
    .default(0)
    .describe("taken from the reward of answers without a verdict (think)"),
  cold_start_share: fraction()
    .default(0)
    .describe(
      "share of the imitation stage's rows that judge actions, labelled by the world's expert: teaches the form of a verdict",
    ),
  head: choice(["policy", "value"])
    .default("policy")
    .describe(
      "who judges: the policy by its tokens (GCD), or a linear classifier on the last hidden state (control)",
    ),
  shuffle_labels: flag()
    .default(false)
    .describe("deal the labels out anew in each update (control: same tokens, no sense)"),
});
