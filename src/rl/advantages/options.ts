/** How advantages are estimated: names as in the configuration, defaults as in the code that each algorithm comes from. */
import { ArgumentError } from "../../core/errors.js";

/** Estimators, not presets: dr_grpo, dapo and gspo are settings of `grpo`. */
export const ESTIMATORS = ["grpo", "rloo", "gigpo", "hgpo", "rlvmr"] as const;
export type Estimator = (typeof ESTIMATORS)[number];

export interface AdvantageOptions {
  readonly algo: Estimator;
  /**
   * `mean_std`: deviations from a mean are divided by a standard deviation; `mean`: by nothing (verl-agent: mean_std_norm,
   * mean_norm). Outcomes, steps and tags alike. Without effect for `rloo`, which never divides. Default `mean_std`.
   */
  readonly norm?: "mean_std" | "mean";
  /** Which standard deviation divides outcomes under `mean_std`: of the group, of all groups together, or none. Default `group`. */
  readonly scale_rewards?: "group" | "batch" | "none";
  /** Divisor of squared deviations, N - 1 or N. Default `unbiased`; `population` for hgpo, as its code has it. */
  readonly std?: "unbiased" | "population";
  /** Added to a standard deviation before dividing. Default 1e-4 for grpo and rloo (TRL), 1e-6 for the others (verl-agent). */
  readonly std_epsilon?: number;
  /**
   * Statistics of outcomes over rows, so that long episodes weigh more, rather than over episodes. Default false for grpo
   * and rloo, true for the others (verl-agent).
   */
  readonly cross_steps?: boolean;
  /** Taken from rows whose action is not valid; 0 or more. Default 0. */
  readonly invalid_action_penalty?: number;
  /**
   * Where penalties go. `advantage`: a part of its own, never divided by a spread. `reward`: into the scores of the row
   * before means and spreads are taken, as verl-agent does. Default `advantage` for grpo and rloo, `reward` for the others.
   */
  readonly penalty_in?: "advantage" | "reward";
  /** Under `reward`: also divide where all outcomes are equal, so that penalties alone make the spread. Default true. */
  readonly scale_dead_groups?: boolean;
  /** Bound of |total|; the part `clamp` holds what was cut. Default null, no bound. */
  readonly max_advantage?: number | null;
  /** Rows whose answer was truncated get 0 in every part: the loss masks them. Default false. */
  readonly mask_truncated?: boolean;
  /** Discount of step rewards, 0 to 1. Default 1. */
  readonly gamma?: number;
  /** Weight omega of the step part (gigpo, hgpo). Default 1. */
  readonly step_advantage_weight?: number;
  /** hgpo: K, earlier states that the deepest groups have in common, 0 or more. Default 2. */
  readonly history_length?: number;
  /** hgpo: level k weighs (k + 1)^alpha. Default 1. */
  readonly history_alpha?: number;
  /** hgpo: the outcome part is one more level, of weight 1. Default false. */
  readonly history_outcome?: boolean;
  /** rlvmr: weight w in A = outcome + w tag. Default 1. Not together with `tag_alpha`. */
  readonly tag_weight?: number;
  /** rlvmr: alpha in A = alpha outcome + (1 - alpha) tag. Default null: `tag_weight` holds. */
  readonly tag_alpha?: number | null;
  /**
   * rlvmr: rewards of steps by the paper's rules (`rules`, needs the column `action`), or the column `stepReward`
   * (`step_reward`). Default: `rules` when every row has an action, else `step_reward`.
   */
  readonly tag_reward?: "rules" | "step_reward";
  /** rlvmr: steps of one tag that an episode is paid for, the first ones. Default null, no cap. */
  readonly max_paid_tags?: number | null;
  /** rlvmr: a reflection at the first step is paid, as in the paper's code. Default true. */
  readonly first_step_reflection?: boolean;
}

export type ResolvedOptions = Required<AdvantageOptions>;

const LIKE_TRL = { std: "unbiased", std_epsilon: 1e-4, cross_steps: false, penalty_in: "advantage" } as const;
const LIKE_VERL_AGENT = {
  std: "unbiased",
  std_epsilon: 1e-6,
  cross_steps: true,
  penalty_in: "reward",
} as const;

const OWN: Readonly<Record<Estimator, Partial<AdvantageOptions>>> = {
  grpo: LIKE_TRL,
  rloo: LIKE_TRL,
  gigpo: LIKE_VERL_AGENT,
  hgpo: { ...LIKE_VERL_AGENT, std: "population" },
  rlvmr: LIKE_VERL_AGENT,
};

const SHARED = {
  norm: "mean_std",
  scale_rewards: "group",
  invalid_action_penalty: 0,
  scale_dead_groups: true,
  max_advantage: null,
  mask_truncated: false,
  gamma: 1,
  step_advantage_weight: 1,
  history_length: 2,
  history_alpha: 1,
  history_outcome: false,
  tag_weight: 1,
  tag_alpha: null,
  tag_reward: "step_reward",
  max_paid_tags: null,
  first_step_reflection: true,
} as const;

interface Rule {
  readonly expected: string;
  readonly holds: (value: unknown) => boolean;
}

const word = (...words: string[]): Rule => ({
  expected: words.join(" or "),
  holds: (value) => words.includes(value as string),
});
const flag: Rule = { expected: "true or false", holds: (value) => typeof value === "boolean" };
const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);
const from = (low: number): Rule => ({
  expected: `a number, ${low} or more`,
  holds: (value) => isNumber(value) && value >= low,
});
const fraction: Rule = {
  expected: "a number from 0 to 1",
  holds: (value) => isNumber(value) && value >= 0 && value <= 1,
};
const integerFrom = (low: number): Rule => ({
  expected: `an integer, ${low} or more`,
  holds: (value) => Number.isInteger(value) && (value as number) >= low,
});
const orNull = ({ expected, holds }: Rule): Rule => ({
  expected: `${expected}, or null`,
  holds: (value) => value === null || holds(value),
});

const RULES: Readonly<Record<keyof AdvantageOptions, Rule>> = {
  algo: word(...ESTIMATORS),
  norm: word("mean_std", "mean"),
  scale_rewards: word("group", "batch", "none"),
  std: word("unbiased", "population"),
  std_epsilon: from(0),
  cross_steps: flag,
  invalid_action_penalty: from(0),
  penalty_in: word("advantage", "reward"),
  scale_dead_groups: flag,
  max_advantage: orNull({
    expected: "a number above 0",
    holds: (value) => isNumber(value) && value > 0,
  }),
  mask_truncated: flag,
  gamma: fraction,
  step_advantage_weight: from(0),
  history_length: integerFrom(0),
  history_alpha: from(0),
  history_outcome: flag,
  tag_weight: from(0),
  tag_alpha: orNull(fraction),
  tag_reward: word("rules", "step_reward"),
  max_paid_tags: orNull(integerFrom(0)),
  first_step_reflection: flag,
};

/**
 * Options with their defaults. Options that are undefined count as not given.
 * @param hasActions whether every row has an action: decides `tag_reward`
 * @throws ArgumentError for an unknown option or a value out of range
 */
export function resolveOptions(given: AdvantageOptions, hasActions: boolean): ResolvedOptions {
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  for (const [name, value] of Object.entries(set)) {
    if (!Object.hasOwn(RULES, name)) {
      throw new ArgumentError(
        `[advantages] unknown option: got ${name}, expected one of ${Object.keys(RULES).join(", ")}. Correct the name.`,
      );
    }
    const { expected, holds } = RULES[name as keyof AdvantageOptions];
    if (!holds(value)) throw wrongOption(name, JSON.stringify(value) ?? String(value), expected);
  }
  if (!Object.hasOwn(set, "algo")) throw wrongOption("algo", "nothing", RULES.algo.expected);
  if (typeof given.tag_alpha === "number" && given.tag_weight !== undefined) {
    throw wrongOption("tag_weight", String(given.tag_weight), "to be left out when tag_alpha is given");
  }
  const tag_reward = hasActions ? "rules" : "step_reward";
  return { ...SHARED, ...OWN[given.algo], tag_reward, ...set } as ResolvedOptions;
}

function wrongOption(name: string, got: string, expected: string): ArgumentError {
  return new ArgumentError(
    `[advantages] option ${name} is wrong: got ${got}, expected ${expected}. Change it.`,
  );
}
