// policy_loss.tokens
struct Params {
  N: u32,
  P: u32,
  coef: f32,
  surrogate: u32,
  ratio_level: u32,
  clip_low: f32,
  clip_high: f32,
  dual_clip: f32,
  beta: f32,
  kl_kind: u32,
  entropy_coef: f32,
  classification_coef: f32,
  classification_surrogate: u32,
  classification_ratio_level: u32,
  classification_clip_low: f32,
  classification_clip_high: f32,
  classification_dual_clip: f32,
  classification_beta: f32,
  classification_kl_kind: u32,
  classification_entropy_coef: f32,
  accumulate_d_log_prob: u32,
  accumulate_d_entropy: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> log_prob: array<f32>;
@group(0) @binding(2) var<storage, read> entropy: array<f32>;
@group(0) @binding(3) var<storage, read> told: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> loss_scale: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_log_prob: array<f32>;
@group(0) @binding(6) var<storage, read_write> d_entropy: array<f32>;
@group(0) @binding(7) var<storage, read_write> partial: array<f32>;
fn store_d_log_prob(index: u32, value: f32) {
  var sum = value;
  if (params.accumulate_d_log_prob != 0u) { sum = d_log_prob[index] + value; }
  d_log_prob[index] = sum;
}
fn store_d_entropy(index: u32, value: f32) {
  var sum = value;
  if (params.accumulate_d_entropy != 0u) { sum = d_entropy[index] + value; }
  d_entropy[index] = sum;
}
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }


fn exp_minus_linear(d: f32) -> f32 {
  return select(exp(d) - d - 1.0, d * d * (0.5 + d * (0.16666667 + d * 0.041666668)), abs(d) < 0.02);
}
const LIMIT = 20.0;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let part = workgroup_index(group, groups) * 64u + local;
  if (part >= params.P) { return; }
  let first = part * 16u;
  let last = min(first + 16u, params.N);
  let start = part * 24u;
  var tokens = vec2<f32>(0.0);
  var losses = vec2<f32>(0.0);
  var policy_losses = vec2<f32>(0.0);
  var kl_losses = vec2<f32>(0.0);
  var entropies = vec2<f32>(0.0);
  var reference_kls = vec2<f32>(0.0);
  var low = vec2<f32>(0.0);
  var high = vec2<f32>(0.0);
  var dual = vec2<f32>(0.0);
  var ratios = vec2<f32>(0.0);
  var approximate_kls = vec2<f32>(0.0);
  var ratio_max = vec2<f32>(0.0);
  let seed = loss_scale[0];
  for (var t = first; t < last; t++) {
    let own = told[t * 2u];
    let w = own.z;
    if (!(w > 0.0)) {
      store_d_log_prob(t, 0.0);
      store_d_entropy(t, 0.0);
      continue;
    }
    let more = told[t * 2u + 1u];
    let is_classification = more.y != 0.0;
    let coef = select(params.coef, params.classification_coef, is_classification);
    let clip_low = select(params.clip_low, params.classification_clip_low, is_classification);
    let clip_high = select(params.clip_high, params.classification_clip_high, is_classification);
    let dual_clip = select(params.dual_clip, params.classification_dual_clip, is_classification);
    let beta = select(params.beta, params.classification_beta, is_classification);
    let entropy_coef = select(params.entropy_coef, params.classification_entropy_coef, is_classification);
    let token_log_ratio = log_prob[t] - own.x;
    let bounded = clamp(token_log_ratio, -LIMIT, LIMIT);
    let token_ratio = exp(bounded);
    var log_ratio = token_log_ratio;
    var ratio = token_ratio;

    let a = own.y;
    var surrogate = 0.0;
    var slope = 0.0;
    var is_dual = false;

    let unclipped = -a * ratio;
    let clipped = -a * clamp(ratio, 1.0 - clip_low, 1.0 + clip_high);
    surrogate = max(unclipped, clipped);
    slope = select(0.0, unclipped, unclipped >= clipped && abs(log_ratio) <= LIMIT);
    let cap = -a * dual_clip;
    is_dual = dual_clip > 0.0 && a < 0.0 && surrogate > cap;
    if (is_dual) {
      surrogate = cap;
      slope = 0.0;
    }
    var kl = 0.0;

    let difference = more.x - log_prob[t];
    let d = clamp(difference, -LIMIT, LIMIT);
    var kl_slope = 0.0;
    kl = exp_minus_linear(d);
    kl_slope = 1.0 - exp(d);
    slope += select(0.0, beta * kl_slope, abs(difference) <= LIMIT);

    let scale = coef * w;
    store_d_log_prob(t, scale * slope * seed);
    store_d_entropy(t, -scale * entropy_coef * seed);
    // one lane a stream: constant indices keep the sums in registers
    let lanes = select(vec2<f32>(1.0, 0.0), vec2<f32>(0.0, 1.0), is_classification);
    let members = lanes * own.w;
    let loss = scale * (surrogate + beta * kl - entropy_coef * entropy[t]);
    var is_low = false;
    var is_high = false;
    is_low = a < 0.0 && ratio < 1.0 - clip_low;
    is_high = a > 0.0 && ratio > 1.0 + clip_high;
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
  partial[start + 0u] = tokens.x;
  partial[start + 12u] = tokens.y;
  partial[start + 1u] = losses.x;
  partial[start + 13u] = losses.y;
  partial[start + 2u] = policy_losses.x;
  partial[start + 14u] = policy_losses.y;
  partial[start + 3u] = kl_losses.x;
  partial[start + 15u] = kl_losses.y;
  partial[start + 4u] = entropies.x;
  partial[start + 16u] = entropies.y;
  partial[start + 5u] = reference_kls.x;
  partial[start + 17u] = reference_kls.y;
  partial[start + 6u] = low.x;
  partial[start + 18u] = low.y;
  partial[start + 7u] = high.x;
  partial[start + 19u] = high.y;
  partial[start + 8u] = dual.x;
  partial[start + 20u] = dual.y;
  partial[start + 9u] = ratios.x;
  partial[start + 21u] = ratios.y;
  partial[start + 10u] = approximate_kls.x;
  partial[start + 22u] = approximate_kls.y;
  partial[start + 11u] = ratio_max.x;
  partial[start + 23u] = ratio_max.y;
}