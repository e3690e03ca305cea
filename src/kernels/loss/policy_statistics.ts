/** What the policy loss counts while it computes gradients, and how the counts of micro-batches join. */
/** Columns of `stats`, one row a stream. Sums over the tokens of weight above 0, but for the last, which is a maximum. */
export const POLICY_STATISTICS = [
  /** number of tokens, those that one stands for (`count`) among them, as in every sum without weights */
  "tokens",
  /** what the gradient is of: weight * (surrogate + beta KL - entropy_coef entropy), times the stream's coefficient */
  "loss",
  /** weight * surrogate */
  "policy_loss",
  /** weight * KL to the reference policy */
  "kl_loss",
  /** unweighted from here on */
  "entropy",
  "reference_kl",
  /** tokens whose clip took effect: ratio below 1 - clip_low at a negative advantage (cispo: at any but 0) */
  "clipped_low",
  /** ratio above 1 + clip_high at a positive advantage (cispo: at any but 0) */
  "clipped_high",
  "dual_clipped",
  /** of the token, or of its sequence where that is the level */
  "ratio",
  /** by the token's own ratio, ratio - 1 - log ratio: estimate of KL(behaviour policy || current policy) */
  "approximate_kl",
  "ratio_max",
] as const;

/** Columns of one stream. */
export const STATISTICS = POLICY_STATISTICS.length;
/** The column that is a maximum. */
export const MAXIMUM = POLICY_STATISTICS.indexOf("ratio_max");
/** Statistics of one stream over a whole batch. */
export interface PolicyStatistics {
  readonly tokens: number;
  readonly loss: number;
  readonly policyLoss: number;
  readonly klLoss: number;
  /** Means over tokens from here on. */
  readonly entropy: number;
  readonly referenceKl: number;
  readonly clipFractionLow: number;
  readonly clipFractionHigh: number;
  readonly dualClipFraction: number;
  readonly ratioMean: number;
  readonly approximateKl: number;
  readonly ratioMax: number;
}

/**
 * Joins the `stats` of the micro-batches of one step.
 * @returns one entry a stream: policy, classification; means of a stream without tokens are 0
 */
export function joinPolicyStatistics(
  parts: readonly ArrayLike<number>[],
): [PolicyStatistics, PolicyStatistics] {
  const ofStream = (stream: number): PolicyStatistics => {
    const column = (name: (typeof POLICY_STATISTICS)[number]) =>
      parts.map((part) => part[stream * STATISTICS + POLICY_STATISTICS.indexOf(name)] ?? 0);
    const sum = (name: (typeof POLICY_STATISTICS)[number]) => column(name).reduce((a, b) => a + b, 0);
    const tokens = sum("tokens");
    const mean = (name: (typeof POLICY_STATISTICS)[number]) => sum(name) / Math.max(1, tokens);
    return {
      tokens,
      loss: sum("loss"),
      policyLoss: sum("policy_loss"),
      klLoss: sum("kl_loss"),
      entropy: mean("entropy"),
      referenceKl: mean("reference_kl"),
      clipFractionLow: mean("clipped_low"),
      clipFractionHigh: mean("clipped_high"),
      dualClipFraction: mean("dual_clipped"),
      ratioMean: mean("ratio"),
      approximateKl: mean("approximate_kl"),
      ratioMax: Math.max(0, ...column("ratio_max")),
    };
  };
  return [ofStream(0), ofStream(1)];
}
