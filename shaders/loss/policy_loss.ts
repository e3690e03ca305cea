/**
 * Clipped policy-gradient loss: gradients of every token and partial statistics in one pass; one invocation owns 16
 * consecutive tokens and adds them in ascending order. No shared memory. Log-ratios are clamped to +-20 (exp stays finite).
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { expMinusLinear, tokenPart } from "./token_statistics.js";

export interface PolicyLossText {
  readonly reference: boolean;
  readonly stream: boolean;
  readonly lossScale: boolean;
  /** 1, 2 or 3. */
  readonly klKind: number;
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

export function tokens({ reference, stream, lossScale, klKind }: PolicyLossText): string {
  return wgsl`
${expMinusLinear}
const LIMIT = 20.0;
${tokenPart}
  let start = part * ${2 * SUMS.length}u;
${SUMS.map((name) => `  var ${name} = vec2<f32>(0.0);`).join("\n")}
  let seed = ${lossScale ? "loss_scale[0]" : "1.0"};
  for (var t = first; t < last; t++) {
    let w = weight[t];
    if (!(w > 0.0)) {
      store_d_log_prob(t, 0.0);
      store_d_entropy(t, 0.0);
      continue;
    }
#if ${stream}
    let is_classification = stream[t] != 0u;
#else
    let is_classification = false;
#endif
    let coefficient = select(1.0, params.classification_coef, is_classification);
    let log_ratio = log_prob[t] - old_log_prob[t];
    let bounded = clamp(log_ratio, -LIMIT, LIMIT);
    let ratio = exp(bounded);
    let a = advantage[t];
    let unclipped = -a * ratio;
    let clipped = -a * clamp(ratio, 1.0 - params.clip_low, 1.0 + params.clip_high);
    var surrogate = max(unclipped, clipped);
    var slope = select(0.0, unclipped, unclipped >= clipped && abs(log_ratio) <= LIMIT);
    let cap = -a * params.dual_clip;
    let is_dual = params.dual_clip > 0.0 && a < 0.0 && surrogate > cap;
    if (is_dual) {
      surrogate = cap;
      slope = 0.0;
    }
    var kl = 0.0;
#if ${reference}
    let difference = reference_log_prob[t] - log_prob[t];
    let d = clamp(difference, -LIMIT, LIMIT);
#if ${klKind === 1}
    kl = -d;
    let kl_slope = 1.0;
#elif ${klKind === 2}
    kl = 0.5 * d * d;
    let kl_slope = -d;
#else
    kl = exp_minus_linear(d);
    let kl_slope = 1.0 - exp(d);
#endif
    slope += select(0.0, params.beta * kl_slope, abs(difference) <= LIMIT);
#endif
    let scale = coefficient * w;
    store_d_log_prob(t, scale * slope * seed);
    store_d_entropy(t, -scale * params.entropy_coef * seed);
    // one lane a stream: constant indices keep the sums in registers
    let lanes = select(vec2<f32>(1.0, 0.0), vec2<f32>(0.0, 1.0), is_classification);
    let loss = scale * (surrogate + params.beta * kl - params.entropy_coef * entropy[t]);
    let is_low = f32(a < 0.0 && ratio < 1.0 - params.clip_low);
    let is_high = f32(a > 0.0 && ratio > 1.0 + params.clip_high);
    tokens += lanes;
    losses += lanes * loss;
    policy_losses += lanes * (w * surrogate);
    kl_losses += lanes * (w * kl);
    entropies += lanes * entropy[t];
    reference_kls += lanes * kl;
    low += lanes * is_low;
    high += lanes * is_high;
    dual += lanes * f32(is_dual);
    ratios += lanes * ratio;
    approximate_kls += lanes * exp_minus_linear(bounded);
    ratio_max = max(ratio_max, lanes * ratio);
  }
${SUMS.map((name, column) => `  partial[start + ${column}u] = ${name}.x;\n  partial[start + ${SUMS.length + column}u] = ${name}.y;`).join("\n")}
}`;
}
