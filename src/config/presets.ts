/** Named algorithms: each sets fields of the section `grpo` that nobody gave. */
import { isSection } from "./fields.js";

/** Values that replace defaults, by field of the section `grpo`. */
type Preset = Readonly<Record<string, string | number | boolean>>;

/** verl-agent's scripts for ALFWorld, its defaults where they are silent. */
const VERL_AGENT: Preset = {
  num_generations: 8,
  tasks_per_step: 16,
  mini_batch_size: 256,
  success_reward: 10,
  invalid_action_penalty: 0.1,
  penalty_in: "reward",
  norm: "mean_std",
  std: "unbiased",
  std_epsilon: 1e-6,
  cross_steps: true,
  gamma: 0.95,
  step_advantage_weight: 1,
  epsilon: 0.2,
  delta: 3,
  beta: 0.01,
  kl_estimator: "k3",
  entropy_coef: 0.001,
  loss_aggregation: "token_mean",
  learning_rate: 1e-6,
};

/**
 * - `grpo`: the defaults, which are TRL's where TRL has the option.
 * - `rloo`: leave-one-out (2402.14740).
 * - `dr_grpo`: no spread, sums over a constant (2503.20783).
 * - `dapo`: two clips, groups with contrast, truncated answers masked (2503.14476).
 * - `gspo`: sequence ratios with their narrow clip; needs several mini-batches in a rollout (2507.18071).
 * - `gigpo`: 2505.10978, by verl-agent's scripts. - `hgpo`: 2602.22817. - `rlvmr`: 2507.22844, by its scripts.
 */
export const PRESETS = {
  grpo: {},
  rloo: {},
  dr_grpo: { scale_rewards: "none", loss_aggregation: "sequence_sum", beta: 0 },
  dapo: {
    num_generations: 16,
    filter_groups: true,
    mask_truncated_completions: true,
    epsilon: 0.2,
    epsilon_high: 0.28,
    beta: 0,
    loss_aggregation: "token_mean",
  },
  gspo: {
    mini_batch_size: 256,
    importance_sampling_level: "sequence",
    epsilon: 3e-4,
    epsilon_high: 4e-4,
    beta: 0,
    loss_aggregation: "sequence_mean",
  },
  gigpo: VERL_AGENT,
  hgpo: { ...VERL_AGENT, std: "population", history_length: 2, history_alpha: 1, history_outcome: false },
  rlvmr: { ...VERL_AGENT, tag_weight: 1 },
} as const satisfies Readonly<Record<string, Preset>>;

export type Algorithm = keyof typeof PRESETS;
export const ALGORITHMS = Object.keys(PRESETS) as [Algorithm, ...Algorithm[]];

/** Fields that an algorithm sets; none for a word that is not one. */
function presetOf(algorithm: unknown): Preset {
  return typeof algorithm === "string" && Object.hasOwn(PRESETS, algorithm)
    ? PRESETS[algorithm as Algorithm]
    : {};
}

/** Settings with the preset of `grpo.algo` under what was given. Anything that is no section is left to the schema. */
export function withPreset(settings: unknown): unknown {
  if (!isSection(settings) || !isSection(settings.grpo)) return settings;
  const given = Object.entries(settings.grpo).filter(([, value]) => value !== undefined);
  return { ...settings, grpo: { ...presetOf(settings.grpo.algo), ...Object.fromEntries(given) } };
}

/** A field of a preset, as it stands in a configuration. */
export interface PresetField {
  readonly field: string;
  readonly preset: string | number | boolean;
  readonly value: unknown;
}

/** What the preset of a configuration set, and where other values were given. */
export function presetFields(
  grpo: Readonly<Record<string, unknown>> & { readonly algo: Algorithm },
): PresetField[] {
  return Object.entries(presetOf(grpo.algo)).map(([field, preset]) => ({
    field,
    preset,
    value: grpo[field],
  }));
}
