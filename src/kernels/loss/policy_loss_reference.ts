/** The policy loss in float64, written like its formulas; the contract is in policy_loss.ts. */
import type { ReferenceArrays, Scalars } from "../engine/op.js";
import { MAXIMUM, POLICY_STATISTICS, STATISTICS } from "./policy_statistics.js";

const LOG_RATIO_LIMIT = 20;

const clamp = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value));
const bounded = (value: number) => clamp(value, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT);
const isInside = (value: number) => Math.abs(value) <= LOG_RATIO_LIMIT;

/** The scalars of one stream, without their prefix. */
function streamScalars(scalars: Scalars, stream: number): Scalars {
  const prefix = stream === 1 ? "classification_" : "";
  const names = [
    "coef",
    "surrogate",
    "ratio_level",
    "clip_low",
    "clip_high",
    "dual_clip",
    "beta",
    "kl_kind",
    "entropy_coef",
  ];
  return Object.fromEntries(names.map((name) => [name, scalars[prefix + name]]));
}

export function policyLossReference(inputs: ReferenceArrays, scalars: Scalars) {
  const { N } = scalars;
  const d_log_prob = new Float64Array(N);
  const d_entropy = new Float64Array(N);
  const stats = new Float64Array(2 * STATISTICS);
  const streams = [streamScalars(scalars, 0), streamScalars(scalars, 1)];
  for (let t = 0; t < N; t++) {
    const weight = inputs.weight[t];
    if (!(weight > 0)) continue;
    const stream = inputs.stream?.[t] ? 1 : 0;
    const own = streams[stream];
    const { beta, entropy_coef } = own;
    const scale = weight * own.coef;
    const A = inputs.advantage[t];
    const entropy = inputs.entropy[t];
    const tokenLogRatio = inputs.log_prob[t] - inputs.old_log_prob[t];
    const sequence = own.ratio_level === 1 ? sequenceOf(inputs, t) : undefined;
    const policy = surrogateOf(sequence?.logRatio ?? tokenLogRatio, A, inputs.log_prob[t], own);
    const kl = inputs.reference_log_prob
      ? klOf(inputs.reference_log_prob[t] - inputs.log_prob[t], tokenLogRatio, own.kl_kind)
      : { value: 0, slope: 0 };
    // of a sequence ratio, a counted token moves the surrogates of all of them by 1 / length
    const surrogates =
      sequence && own.surrogate === 0 ? sequenceSlope(inputs, sequence, own) : weight * policy.slope;
    const seed = own.coef * (inputs.loss_scale?.[0] ?? 1);
    d_log_prob[t] = seed * (surrogates + weight * beta * kl.slope);
    d_entropy[t] = -seed * weight * entropy_coef;
    const { ratio, value, isDual, isLow, isHigh } = policy;
    const tokenRatio = Math.exp(bounded(tokenLogRatio));
    const members = inputs.count?.[t] ?? 1;
    const row = {
      tokens: members,
      loss: scale * (value + beta * kl.value - entropy_coef * entropy),
      policy_loss: weight * value,
      kl_loss: weight * kl.value,
      entropy: members * entropy,
      reference_kl: members * kl.value,
      clipped_low: members * Number(isLow),
      clipped_high: members * Number(isHigh),
      dual_clipped: members * Number(isDual),
      ratio: members * ratio,
      approximate_kl: members * (tokenRatio - 1 - bounded(tokenLogRatio)),
      ratio_max: ratio,
    };
    POLICY_STATISTICS.forEach((name, s) => {
      const at = stream * STATISTICS + s;
      stats[at] = s === MAXIMUM ? Math.max(stats[at], row[name]) : stats[at] + row[name];
    });
  }
  return { d_log_prob, d_entropy, stats };
}

interface Sequence {
  /** Its counted tokens. */
  readonly tokens: readonly number[];
  readonly logRatio: number;
}

function sequenceOf(
  { sequence_start, weight, log_prob, old_log_prob }: ReferenceArrays,
  t: number,
): Sequence {
  const tokens = [...weight.keys()].filter((u) => sequence_start[u] === sequence_start[t] && weight[u] > 0);
  return {
    tokens,
    logRatio: tokens.reduce((sum, u) => sum + log_prob[u] - old_log_prob[u], 0) / tokens.length,
  };
}

function sequenceSlope(
  { weight, advantage }: ReferenceArrays,
  { tokens, logRatio }: Sequence,
  own: Scalars,
): number {
  const slopes = tokens.map((u) => weight[u] * surrogateOf(logRatio, advantage[u], 0, own).slope);
  return slopes.reduce((sum, slope) => sum + slope, 0) / tokens.length;
}

/** The surrogate, and its derivative by the log-ratio. */
function surrogateOf(logRatio: number, A: number, logProb: number, own: Scalars) {
  const { surrogate, clip_low, clip_high, dual_clip } = own;
  const ratio = Math.exp(bounded(logRatio));
  const clippedRatio = clamp(ratio, 1 - clip_low, 1 + clip_high);
  const [isBelow, isAbove] = [ratio < 1 - clip_low, ratio > 1 + clip_high];
  if (surrogate === 1) {
    const slope = -A * clippedRatio;
    return {
      ratio,
      value: slope * logProb,
      slope,
      isDual: false,
      isLow: A !== 0 && isBelow,
      isHigh: A !== 0 && isAbove,
    };
  }
  const unclipped = -A * ratio;
  const clipped = -A * clippedRatio;
  const isDual = dual_clip > 0 && A < 0 && Math.max(unclipped, clipped) > -A * dual_clip;
  const isFlat = isDual || unclipped < clipped || !isInside(logRatio);
  const value = isDual ? -A * dual_clip : Math.max(unclipped, clipped);
  return {
    ratio,
    value,
    isDual,
    slope: isFlat ? 0 : unclipped,
    isLow: A < 0 && isBelow,
    isHigh: A > 0 && isAbove,
  };
}

/** The estimate and its derivative by log_prob. */
function klOf(difference: number, logRatio: number, kind: number): { value: number; slope: number } {
  const d = bounded(difference);
  const inside = isInside(difference) ? 1 : 0;
  const k3 = Math.exp(d) - d - 1;
  if (kind === 1) return { value: -d, slope: inside };
  if (kind === 2) return { value: (d * d) / 2, slope: -d * inside };
  if (kind === 4) return { value: k3, slope: -d * inside };
  if (kind === 5) {
    const ratio = Math.exp(bounded(logRatio));
    return { value: ratio * k3, slope: isInside(logRatio) ? -d * ratio * inside : 0 };
  }
  return { value: k3, slope: (1 - Math.exp(d)) * inside };
}
