/**
 * Clipped policy-gradient loss. `gather` lays what callers tell of a token side by side. `tokens`: gradients of every token and
 * partial statistics in one pass; one invocation owns 16 consecutive tokens and adds them in ascending order.
 * `sequences` runs before it where a stream has sequence ratios: the invocation of a sequence's first token owns the sequence and
 * adds its tokens in ascending order; all others return. No shared memory. Log-ratios are clamped to +-20 (exp stays finite).
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { expMinusLinear, tokenPart } from "./token_statistics.js";

/** How one stream's text differs from another's. */
export interface StreamText {
  /** A value of KL_KINDS. */
  readonly klKind: number;
  readonly isCispo: boolean;
  /** The ratio is that of the whole sequence. */
  readonly isSequence: boolean;
}

/** Which of the optional tensors are there. */
interface Told {
  readonly reference: boolean;
  readonly stream: boolean;
}

export interface PolicyLossText extends Told {
  readonly lossScale: boolean;
  readonly policy: StreamText;
  readonly classification: StreamText;
}

/** Sums of one stream in the order of POLICY_STATISTICS. */
const SUMS = [
  "tokens",
  "losses",
  "policy_losses",
  "kl_losses",
  "entropies",
  "reference_kls",
  "low",
  "high",
  "dual",
  "ratios",
  "approximate_kls",
  "ratio_max",
];

/** Text that may differ between streams: one copy when it does not. */
function byStream(
  { stream, policy, classification }: PolicyLossText,
  of: (text: StreamText) => string,
): string {
  const own = of(policy);
  const other = of(classification);
  if (!stream || own === other) return own;
  return `    if (is_classification) {\n${other}\n    } else {\n${own}\n    }`;
}

/** Declares the scalars of the token's stream. */
function streamScalars(stream: boolean, names: readonly string[]): string {
  const lines = names.map((name) => {
    const own = `params.${name}`;
    return `    let ${name} = ${stream ? `select(${own}, params.classification_${name}, is_classification)` : own};`;
  });
  return lines.join("\n");
}

/** vec4 of each token in `told`. */
export const toldVectors = ({ reference, stream }: Told): 1 | 2 => (reference || stream ? 2 : 1);

/** `told` of each token: [behaviour log-probability, advantage, weight, count], then [reference log-probability, stream]. */
export function gather({ count, ...told }: Told & { readonly count: boolean }): string {
  const { reference, stream } = told;
  const vectors = toldVectors(told);
  return wgsl`
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let t = workgroup_index(group, groups) * 64u + local;
  if (t >= params.N) { return; }
  told[t * ${vectors}u] = vec4<f32>(old_log_prob[t], advantage[t], weight[t], ${count ? "count[t]" : "1.0"});
#if ${vectors === 2}
  let reference = ${reference ? "reference_log_prob[t]" : "0.0"};
  told[t * 2u + 1u] = vec4<f32>(reference, ${stream ? "f32(stream[t] != 0u)" : "0.0"}, 0.0, 0.0);
#endif
}`;
}

/** Declares `own`, the first vector told of a token. */
const ownOf = (text: Told, token: string) => `    let own = told[${token} * ${toldVectors(text)}u];`;

/** Declares `more`, the second one where there is one, and whose stream the token is of. */
const moreOf = (
  text: Told,
  token: string,
) => `${toldVectors(text) === 2 ? `    let more = told[${token} * 2u + 1u];` : ""}
    let is_classification = ${text.stream ? "more.y != 0.0" : "false"};`;

/** The clipped surrogate of advantage a; slope is its derivative by the logarithm of the ratio, but for the clamp. */
const clippedSurrogate = `
    let unclipped = -a * ratio;
    let clipped = -a * clamp(ratio, 1.0 - clip_low, 1.0 + clip_high);
    surrogate = max(unclipped, clipped);
    slope = select(0.0, unclipped, unclipped >= clipped && abs(log_ratio) <= LIMIT);
    let cap = -a * dual_clip;
    is_dual = dual_clip > 0.0 && a < 0.0 && surrogate > cap;
    if (is_dual) {
      surrogate = cap;
      slope = 0.0;
    }`;

/** The ratio is a constant factor of log_prob, so that clipped tokens keep a gradient. */
const detachedSurrogate = `
    slope = -a * clamp(ratio, 1.0 - clip_low, 1.0 + clip_high);
    surrogate = slope * log_prob[t];`;

/** Declares kl and kl_slope of a stream, from d and the token's own ratio. */
function klText(kind: number): string {
  if (kind === 1) return "    kl = -d;\n    kl_slope = 1.0;";
  if (kind === 2) return "    kl = 0.5 * d * d;\n    kl_slope = -d;";
  if (kind === 4) return "    kl = exp_minus_linear(d);\n    kl_slope = -d;";
  if (kind === 5)
    return "    kl = token_ratio * exp_minus_linear(d);\n    kl_slope = select(0.0, -d * token_ratio, abs(token_log_ratio) <= LIMIT);";
  return "    kl = exp_minus_linear(d);\n    kl_slope = 1.0 - exp(d);";
}

/**
 * sequence_terms[t] of each token of a sequence: [mean log-ratio over its counted tokens, derivative of its weighted
 * surrogates by the log-probability of any of them].
 */
export function sequences(text: PolicyLossText): string {
  return wgsl`
const LIMIT = 20.0;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let first = workgroup_index(group, groups) * 64u + local;
  if (first >= params.N || sequence_start[first] != first) { return; }
  var count = 0.0;
  var sum = 0.0;
  var end = first;
  for (; end < params.N && sequence_start[end] == first; end++) {
${ownOf(text, "end")}
    if (own.z > 0.0) {
      count += 1.0;
      sum += log_prob[end] - own.x;
    }
  }
  count = max(count, 1.0);
  let log_ratio = sum / count;
  let ratio = exp(clamp(log_ratio, -LIMIT, LIMIT));
${moreOf(text, "first")}
${streamScalars(text.stream, ["clip_low", "clip_high", "dual_clip"])}
  var slopes = 0.0;
  for (var t = first; t < end; t++) {
${ownOf(text, "t")}
    let w = own.z;
    if (!(w > 0.0)) { continue; }
    let a = own.y;
    var surrogate = 0.0;
    var slope = 0.0;
    var is_dual = false;
${clippedSurrogate}
    slopes += w * slope;
  }
  for (var t = first; t < end; t++) { sequence_terms[t] = vec2<f32>(log_ratio, slopes / count); }
}`;
}

export function tokens(text: PolicyLossText): string {
  const { reference, stream, lossScale } = text;
  return wgsl`
${expMinusLinear}
const LIMIT = 20.0;
${tokenPart}
  let start = part * ${2 * SUMS.length}u;
${SUMS.map((name) => `  var ${name} = vec2<f32>(0.0);`).join("\n")}
  let seed = ${lossScale ? "loss_scale[0]" : "1.0"};
  for (var t = first; t < last; t++) {
${ownOf(text, "t")}
    let w = own.z;
    if (!(w > 0.0)) {
      store_d_log_prob(t, 0.0);
      store_d_entropy(t, 0.0);
      continue;
    }
${moreOf(text, "t")}
${streamScalars(stream, ["coef", "clip_low", "clip_high", "dual_clip", "beta", "entropy_coef"])}
    let token_log_ratio = log_prob[t] - own.x;
    let bounded = clamp(token_log_ratio, -LIMIT, LIMIT);
    let token_ratio = exp(bounded);
    var log_ratio = token_log_ratio;
    var ratio = token_ratio;
${byStream(text, ({ isSequence }) => (isSequence ? "    log_ratio = sequence_terms[t].x;\n    ratio = exp(clamp(log_ratio, -LIMIT, LIMIT));" : ""))}
    let a = own.y;
    var surrogate = 0.0;
    var slope = 0.0;
    var is_dual = false;
${byStream(text, ({ isCispo, isSequence }) => {
  if (isCispo) return detachedSurrogate;
  // every counted token of the sequence moves the common ratio by the same amount
  return isSequence ? `${clippedSurrogate}\n    slope = sequence_terms[t].y / w;` : clippedSurrogate;
})}
    var kl = 0.0;
#if ${reference}
    let difference = more.x - log_prob[t];
    let d = clamp(difference, -LIMIT, LIMIT);
    var kl_slope = 0.0;
${byStream(text, ({ klKind }) => klText(klKind))}
    slope += select(0.0, beta * kl_slope, abs(difference) <= LIMIT);
#endif
    let scale = coef * w;
    store_d_log_prob(t, scale * slope * seed);
    store_d_entropy(t, -scale * entropy_coef * seed);
    // one lane a stream: constant indices keep the sums in registers
    let lanes = select(vec2<f32>(1.0, 0.0), vec2<f32>(0.0, 1.0), is_classification);
    let members = lanes * own.w;
    let loss = scale * (surrogate + beta * kl - entropy_coef * entropy[t]);
    var is_low = false;
    var is_high = false;
${byStream(text, ({ isCispo }) =>
  isCispo
    ? "    is_low = a != 0.0 && ratio < 1.0 - clip_low;\n    is_high = a != 0.0 && ratio > 1.0 + clip_high;"
    : "    is_low = a < 0.0 && ratio < 1.0 - clip_low;\n    is_high = a > 0.0 && ratio > 1.0 + clip_high;",
)}
    tokens += members;
    losses += lanes * loss;
    policy_losses += lanes * (w * surrogate);
    kl_losses += lanes * (w * kl);
    entropies += members * entropy[t];
    reference_kls += members * kl;
    low += members * f32(is_low);
    high += members * f32(is_high);
    dual += members * f32(is_dual);
    ratios += members * ratio;
    approximate_kls += members * exp_minus_linear(bounded);
    ratio_max = max(ratio_max, lanes * ratio);
  }
${SUMS.map((name, column) => `  partial[start + ${column}u] = ${name}.x;\n  partial[start + ${SUMS.length + column}u] = ${name}.y;`).join("\n")}
}`;
}
