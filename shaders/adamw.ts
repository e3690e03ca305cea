/**
 * AdamW over flat buckets: sum of squares, finish, update. Floats are read as integer bits where a NaN could matter.
 *
 * The state buffer holds 8 words: 0 good steps, 1 skip flag of this step, 2 gradient norm, 3 clip scale,
 * 4 1/(1-beta1^t), 5 1/sqrt(1-beta2^t), 6 skipped steps, 7 what gradients are multiplied with: clip scale / loss scale
 * (2 to 5 and 7 are float bits).
 *
 * The loss scale holds 3 floats: 0 the scale, 1 its inverse, 2 good steps since it changed. Scales are powers of two, so that
 * multiplying by the inverse takes the scale out of a gradient exactly.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** How one bucket's elements map to invocations in the sum of squares. */
export interface NormLayout {
  readonly lanes: number;
  /** vec4s each lane adds. */
  readonly steps: number;
  /** One partial a workgroup (tree over the lanes in shared memory) or one a lane. */
  readonly tree: boolean;
}

/** CPU adapters: no barrier, one partial a lane. GPU: one partial a workgroup of 256 lanes, 2 KiB of shared memory. */
export function normLayout(isSoftware: boolean): NormLayout {
  return isSoftware ? { lanes: 8, steps: 512, tree: false } : { lanes: 256, steps: 16, tree: true };
}

/** Elements one workgroup of the sum of squares covers. */
export function normElements({ lanes, steps }: NormLayout): number {
  return 4 * lanes * steps;
}

/** Partials one workgroup of the sum of squares writes. */
export function normPartials({ lanes, tree }: NormLayout): number {
  return tree ? 1 : lanes;
}

/**
 * partial[first + p] = sum of squares of a part of the gradient, the loss scale taken out; flag[first + p] = 1 when any of
 * it is not finite.
 * Lane l adds vec4s l, l + lanes, ... of its workgroup's part in ascending order; lanes are added as a fixed tree.
 */
export function sumSquares(layout: NormLayout): string {
  const { lanes, steps, tree } = layout;
  return wgsl`
#if ${tree}
var<workgroup> sums: array<f32, ${lanes}>;
var<workgroup> flags: array<u32, ${lanes}>;
#endif
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let part = workgroup_index(group, groups);
  let start = part * ${lanes * steps}u;
  if (start >= params.E) { return; }
  let end = min(start + ${lanes * steps}u, params.E);
  var sum = vec4<f32>(0.0);
  var bad = 0u;
  for (var i = start + lane; i < end; i += ${lanes}u) {
    let bits = gradient[i];
    let is_finite = (bits & vec4<u32>(0x7f800000u)) != vec4<u32>(0x7f800000u);
    // what is not finite is left out of the sum: only the flag tells, whatever the adapter makes of NaN
    let finite = bitcast<vec4<f32>>(select(vec4<u32>(0u), bits, is_finite)) * loss_scale[1];
    sum += finite * finite;
    bad |= u32(!all(is_finite));
  }
  let mine = (sum.x + sum.y) + (sum.z + sum.w);
#if ${tree}
  sums[lane] = mine;
  flags[lane] = bad;
  for (var width = ${lanes / 2}u; width > 0u; width /= 2u) {
    workgroupBarrier(); // the level below is complete
    if (lane < width) { sums[lane] += sums[lane + width]; flags[lane] |= flags[lane + width]; }
  }
  if (lane == 0u) { partial[params.first + part] = sums[0]; flag[params.first + part] = flags[0]; }
#else
  partial[params.first + part * ${lanes}u + lane] = mine;
  flag[params.first + part * ${lanes}u + lane] = bad;
#endif
}`;
}

/**
 * One workgroup turns the partials of all buckets into the step's state. Lane l adds partials l, l + lanes, ... in
 * ascending order, lanes are added as a fixed tree. log_beta comes from the host in full precision, so that
 * 1 - beta^t keeps its digits at t = 1. Then the loss scale of the next step: half after a gradient that is not finite, but
 * at least 1; double after `growth_interval` good steps in a row, but at most `max_scale`; fixed when the interval is 0.
 */
export function finish(lanes: number): string {
  return wgsl`
fn non_finite(bits: u32) -> bool { return (bits & 0x7f800000u) == 0x7f800000u; }
#if ${lanes > 1}
var<workgroup> sums: array<f32, ${lanes}>;
var<workgroup> flags: array<u32, ${lanes}>;
#endif
// 1 - exp(x) for x < 0, by its series near 0 where the difference would cancel
fn one_minus_exp(x: f32) -> f32 {
  if (x < -0.5) { return 1.0 - exp(max(x, -80.0)); }
  var term = x;
  var sum = x;
  for (var k = 2u; k <= 9u; k++) { term *= x / f32(k); sum += term; }
  return -sum;
}
fn rescale(is_bad: bool) {
  if (params.growth_interval == 0.0) { return; }
  let scale = loss_scale[0];
  let good = loss_scale[2] + 1.0;
  let is_due = good >= params.growth_interval;
  let halves = is_bad && scale > 1.0;
  let doubles = !is_bad && is_due && scale < params.max_scale;
  loss_scale[0] = scale * select(select(1.0, 2.0, doubles), 0.5, halves);
  loss_scale[1] *= select(select(1.0, 0.5, doubles), 2.0, halves);
  loss_scale[2] = select(good, 0.0, is_bad || is_due);
}
@compute @workgroup_size(${lanes})
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  var bad = 0u;
  for (var i = lane; i < params.P; i += ${lanes}u) { sum += partial[i]; bad |= flag[i]; }
#if ${lanes > 1}
  sums[lane] = sum;
  flags[lane] = bad;
  for (var width = ${lanes / 2}u; width > 0u; width /= 2u) {
    workgroupBarrier(); // the level below is complete
    if (lane < width) { sums[lane] += sums[lane + width]; flags[lane] |= flags[lane + width]; }
  }
  if (lane != 0u) { return; }
  sum = sums[0];
  bad = flags[0];
#endif
  let norm = sqrt(sum);
  bad |= u32(non_finite(bitcast<u32>(norm))); // squares can overflow
  state[1] = bad;
  state[2] = bitcast<u32>(norm);
  if (bad != 0u) {
    state[3] = 0u;
    state[6] += 1u;
    rescale(true);
    return;
  }
  let step = state[0] + 1u;
  state[0] = step;
  let clip = select(1.0, min(1.0, params.max_norm / (norm + 1e-6)), params.max_norm > 0.0);
  state[3] = bitcast<u32>(clip);
  state[4] = bitcast<u32>(1.0 / one_minus_exp(f32(step) * params.log_beta1));
  state[5] = bitcast<u32>(inverseSqrt(one_minus_exp(f32(step) * params.log_beta2)));
  state[7] = bitcast<u32>(clip * loss_scale[1]);
  rescale(false);
}`;
}

/** How one bucket's vec4s map to invocations in the update: each owns `steps` of them at stride `lanes`. */
export interface UpdateLayout {
  readonly lanes: number;
  readonly steps: number;
}

/** CPU adapters: one SIMD group of invocations walks a long part. */
export function updateLayout(isSoftware: boolean): UpdateLayout {
  return isSoftware ? { lanes: 8, steps: 64 } : { lanes: 64, steps: 4 };
}

/**
 * Bits of the nearest f16, ties to even; beyond 65,519 infinite. WGSL leaves open which way its own conversion rounds, but a
 * resumed run must find the halves that the host rounds from the saved floats.
 */
const halfBits = `
fn half_bits(value: vec4<f32>) -> vec4<u32> {
  let bits = bitcast<vec4<u32>>(value);
  let magnitude = bits & vec4<u32>(0x7fffffffu);
  let odd = (magnitude >> vec4<u32>(13u)) & vec4<u32>(1u);
  let normal = (magnitude - vec4<u32>(0x38000000u) + vec4<u32>(0xfffu) + odd) >> vec4<u32>(13u);
  // below 2^-14 halves are multiples of 2^-24
  let small = vec4<u32>(round(min(abs(value), vec4<f32>(1.0)) * 16777216.0));
  let finite = select(normal, small, magnitude < vec4<u32>(0x38800000u));
  let nearest = select(finite, vec4<u32>(0x7c00u), magnitude >= vec4<u32>(0x47800000u));
  return nearest | ((bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u));
}
`;

/** One bucket's step, and its f16 copy. Nothing is written when the flag is set. */
export function update({ lanes, steps }: UpdateLayout, hasHalf: boolean): string {
  return wgsl`
#if ${hasHalf}
${halfBits}
#endif
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  if (state[1] != 0u) { return; }
  let scale = bitcast<f32>(state[7]);
  let correct1 = bitcast<f32>(state[4]);
  let correct2 = bitcast<f32>(state[5]);
  let start = workgroup_index(group, groups) * ${lanes * steps}u;
  let end = min(start + ${lanes * steps}u, params.E);
  for (var i = start + lane; i < end; i += ${lanes}u) {
    let g = gradient[i] * scale;
    let m = params.beta1 * first_moment[i] + params.rest1 * g;
    let v = params.beta2 * second_moment[i] + params.rest2 * g * g;
    first_moment[i] = m;
    second_moment[i] = v;
    let stepped = params.keep * value[i] - params.lr * (m * correct1) / (sqrt(v) * correct2 + params.eps);
    value[i] = stepped;
#if ${hasHalf}
    let bits = half_bits(stepped);
    half[i] = bits.xz | (bits.yw << vec2<u32>(16u));
#endif
  }
}`;
}
