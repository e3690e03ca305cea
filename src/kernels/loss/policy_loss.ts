import * as shader from "../../../shaders/loss/policy_loss.js";
import { TOKENS_PER_PART, total } from "../../../shaders/loss/token_statistics.js";
import { rowLayout } from "../../../shaders/rows.js";
import { ArgumentError } from "../../core/errors.js";
import { defineOp, f32, f32Param, optional, type Scalars, u32, u32Param } from "../engine/op.js";

/** Columns of `stats`, one row a stream. Sums over the tokens of weight above 0, but for the last, which is a maximum. */
export const POLICY_STATISTICS = [
  /** number of tokens */
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
  /** tokens whose clip took effect: ratio below 1 - clip_low at a negative advantage */
  "clipped_low",
  /** ratio above 1 + clip_high at a positive advantage */
  "clipped_high",
  "dual_clipped",
  "ratio",
  /** ratio - 1 - log ratio: estimate of KL(behaviour policy || current policy) */
  "approximate_kl",
  "ratio_max",
] as const;

const STATISTICS = POLICY_STATISTICS.length;
const MAXIMUM = POLICY_STATISTICS.indexOf("ratio_max");
const LOG_RATIO_LIMIT = 20;

/**
 * Clipped policy-gradient loss of packed tokens, with its gradients. Per token, r = exp(log_prob - old_log_prob),
 * A the advantage, d = reference_log_prob - log_prob:
 *   surrogate = max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)), and at most -A dual_clip where A < 0 and dual_clip > 0
 *   KL = -d (k1), d^2 / 2 (k2) or exp(d) - d - 1 (k3)
 *   loss = sum weight * coefficient * (surrogate + beta KL - entropy_coef entropy)
 * `weight` holds the token mask and the normaliser of the whole batch (src/core/aggregation.ts), so gradients of
 * micro-batches add up. coefficient is 1 in stream 0 (policy) and `classification_coef` in stream 1 (classification rows).
 * Gradients (not statistics) are multiplied by `loss_scale`, see src/optim/loss_scale.ts.
 * Tokens of weight 0 give gradients of exactly 0, whatever their other values.
 * @remarks At a tie the unclipped branch counts, so the gradient at r = 1 is -A weight even with clip 0. Log-ratios
 * (and d) are clamped to +-20, with no gradient outside.
 * @source Schulman et al. 2017, eq. 7; dual clip Ye et al. 2020, eq. 5; asymmetric clip DAPO 2025, eq. 8; k1 to k3 Schulman 2020
 */
export const policyLoss = defineOp({
  name: "policy_loss",
  inputs: {
    log_prob: f32("N"),
    entropy: f32("N"),
    old_log_prob: f32("N"),
    reference_log_prob: optional(f32("N")),
    advantage: f32("N"),
    weight: f32("N"),
    stream: optional(u32("N")),
    loss_scale: optional(f32("1")),
  },
  outputs: { d_log_prob: f32("N"), d_entropy: f32("N"), stats: f32(`2 ${STATISTICS}`) },
  params: {
    clip_low: f32Param(0.2),
    clip_high: f32Param(0.2),
    dual_clip: f32Param(0),
    beta: f32Param(0),
    kl_kind: u32Param(3),
    entropy_coef: f32Param(0),
    classification_coef: f32Param(1),
  },
  derived: ["P"],
  derive: checkParams,
  scratch: { partial: f32(`P ${2 * STATISTICS}`) },
  forward: [
    {
      entry: "tokens",
      constants: ["kl_kind"],
      shader: ({ constants, has }) =>
        shader.tokens({
          reference: has("reference_log_prob"),
          stream: has("stream"),
          lossScale: has("loss_scale"),
          klKind: constants.kl_kind,
        }),
      reads: [
        "log_prob",
        "entropy",
        "old_log_prob",
        "reference_log_prob",
        "advantage",
        "weight",
        "stream",
        "loss_scale",
      ],
      writes: ["d_log_prob", "d_entropy", "partial"],
      workgroups: ({ P }) => Math.ceil(P / 64),
    },
    {
      entry: "total",
      shader: ({ facts }) => total(rowLayout(facts.isSoftware), 2 * STATISTICS, STATISTICS, MAXIMUM),
      reads: ["partial"],
      writes: ["stats"],
      workgroups: (_, { isSoftware }) => Math.ceil((2 * STATISTICS) / rowLayout(isSoftware).rows),
    },
  ],
  backward: { none: "its gradients are outputs: seed the tape with d_log_prob and d_entropy" },
  reference,
  cost: ({ N }) => ({ forward: { flops: 40 * N, bytes: 36 * N } }),
});

function checkParams(scalars: Scalars): Scalars {
  const { N, clip_low, clip_high, dual_clip, kl_kind } = scalars;
  const rules: [string, number, boolean, string][] = [
    ["clip_low", clip_low, clip_low >= 0 && clip_low <= 1, "a number in [0, 1]"],
    ["clip_high", clip_high, clip_high >= 0, "at least 0"],
    ["dual_clip", dual_clip, dual_clip === 0 || dual_clip > 1, "more than 1, or 0 for none"],
    ["kl_kind", kl_kind, [1, 2, 3].includes(kl_kind), "1, 2 or 3"],
  ];
  for (const [name, value, holds, rule] of rules) {
    if (!holds) {
      throw new ArgumentError(
        `[policy_loss] ${name} is out of range: got ${value}, expected ${rule}. Change it.`,
      );
    }
  }
  return { P: Math.ceil(N / TOKENS_PER_PART) };
}

function reference(inputs: Readonly<Record<string, Float64Array>>, scalars: Scalars) {
  const { N, clip_low, clip_high, beta, entropy_coef, classification_coef } = scalars;
  const d_log_prob = new Float64Array(N);
  const d_entropy = new Float64Array(N);
  const stats = new Float64Array(2 * STATISTICS);
  for (let t = 0; t < N; t++) {
    const weight = inputs.weight[t];
    if (!(weight > 0)) continue;
    const stream = inputs.stream?.[t] ? 1 : 0;
    const scale = weight * (stream === 1 ? classification_coef : 1);
    const A = inputs.advantage[t];
    const entropy = inputs.entropy[t];
    const policy = surrogateOf(inputs.log_prob[t] - inputs.old_log_prob[t], A, scalars);
    const kl = inputs.reference_log_prob
      ? klOf(inputs.reference_log_prob[t] - inputs.log_prob[t], scalars.kl_kind)
      : { value: 0, slope: 0 };
    const seed = scale * (inputs.loss_scale?.[0] ?? 1);
    d_log_prob[t] = seed * (policy.slope + beta * kl.slope);
    d_entropy[t] = -seed * entropy_coef;
    const { ratio, value, isDual } = policy;
    const row = {
      tokens: 1,
      loss: scale * (value + beta * kl.value - entropy_coef * entropy),
      policy_loss: weight * value,
      kl_loss: weight * kl.value,
      entropy,
      reference_kl: kl.value,
      clipped_low: Number(A < 0 && ratio < 1 - clip_low),
      clipped_high: Number(A > 0 && ratio > 1 + clip_high),
      dual_clipped: Number(isDual),
      ratio,
      approximate_kl: ratio - 1 - Math.log(ratio),
      ratio_max: ratio,
    };
    POLICY_STATISTICS.forEach((name, s) => {
      const at = stream * STATISTICS + s;
      stats[at] = s === MAXIMUM ? Math.max(stats[at], row[name]) : stats[at] + row[name];
    });
  }
  return { d_log_prob, d_entropy, stats };
}

function surrogateOf(logRatio: number, A: number, { clip_low, clip_high, dual_clip }: Scalars) {
  const ratio = Math.exp(Math.min(LOG_RATIO_LIMIT, Math.max(-LOG_RATIO_LIMIT, logRatio)));
  const unclipped = -A * ratio;
  const clipped = -A * Math.min(1 + clip_high, Math.max(1 - clip_low, ratio));
  const isDual = dual_clip > 0 && A < 0 && Math.max(unclipped, clipped) > -A * dual_clip;
  const isFlat = isDual || unclipped < clipped || Math.abs(logRatio) > LOG_RATIO_LIMIT;
  const value = isDual ? -A * dual_clip : Math.max(unclipped, clipped);
  return { ratio, value, isDual, slope: isFlat ? 0 : unclipped };
}

/** The estimate and its derivative by log_prob. */
function klOf(difference: number, kind: number): { value: number; slope: number } {
  const d = Math.min(LOG_RATIO_LIMIT, Math.max(-LOG_RATIO_LIMIT, difference));
  const inside = Math.abs(difference) <= LOG_RATIO_LIMIT ? 1 : 0;
  if (kind === 1) return { value: -d, slope: inside };
  if (kind === 2) return { value: (d * d) / 2, slope: -d * inside };
  return { value: Math.exp(d) - d - 1, slope: (1 - Math.exp(d)) * inside };
}

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
