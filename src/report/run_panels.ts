/** Which metrics of a run are looked at, and in which pictures: of the page and of reports. */

export interface Panel {
  readonly title: string;
  readonly about?: string;
  readonly keys: readonly string[];
  readonly range?: readonly [number, number];
}

/** In the order of the page. Panels of which a run has no number are left out. */
export const PANELS: readonly Panel[] = [
  { title: "Reward", about: "Mean over the rollouts of an update.", keys: ["reward"] },
  { title: "Loss", keys: ["loss"] },
  { title: "Entropy", about: "Minus the mean log-probability of sampled tokens, nats.", keys: ["entropy"] },
  {
    title: "KL",
    about: "To the reference policy, and between the policies before and after the update.",
    keys: ["kl", "approx_kl"],
  },
  {
    title: "Clip shares",
    about: "Share of tokens whose ratio was clipped.",
    keys: ["clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/dual_mean"],
  },
  {
    title: "Actions",
    about: "Share of steps that were not valid, and that repeat an action under the same observation.",
    keys: ["episodes/invalid_action_rate", "episodes/repeated_action_rate"],
  },
  {
    title: "Dead groups",
    about: "Share of groups whose rollouts all ended alike, before and after penalties.",
    keys: ["dead_groups/before_penalties", "dead_groups/after_penalties"],
    range: [0, 1],
  },
  { title: "Gradient norm", keys: ["grad_norm"] },
  { title: "Tokens per second", keys: ["perf/tokens_per_s", "perf/trained_tokens_per_s"] },
  { title: "GPU memory", about: "Bytes of buffers.", keys: ["gpu/bytes_live", "gpu/bytes_peak"] },
  { title: "Learning rate", keys: ["learning_rate"] },
];
