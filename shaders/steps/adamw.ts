/**
 * AdamW over flat buckets: sums of squares, then updates. Floats are read as integer bits where a NaN could matter.
 *
 * The state buffer holds 8 words: 0 good steps, 1 skip flag of this step, 2 gradient norm, 3 clip scale,
 * 4 1/(1-beta1^t), 5 1/sqrt(1-beta2^t), 6 skipped steps, 7 what gradients are multiplied with: clip scale / loss scale
 * (2 to 5 and 7 are float bits).
 *
 * The loss scale holds 3 floats: 0 the scale, 1 its inverse, 2 good steps since it changed. Scales are powers of two, so that
 * multiplying by the inverse takes the scale out of a gradient exactly.
 *
 * Moments may be halves: m, and sqrt(v), both times 2^12, so that gradients from 2^-36 to 2^4 have a place. They are rounded up or
 * down at random, with chances that make the mean exact: an average that changes by less than a half's last bit in a step would
 * stand still if rounded to the nearest. The random bits depend on place and step alone.
 *
 * Between the two passes `sums` holds the state and the loss scale from before the step, 8 words, and then the sums. Every
 * workgroup of the update works out the step from it; the first one also writes what the step leaves behind.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** Words of `sums` before the sums: good steps, skipped steps, the three floats of the loss scale. */
export const SUMS_START = 8;

/** How a bucket's vec4s are cut into parts, one a workgroup, for either pass. */
export interface PassLayout {
  readonly lanes: number;
  /** Least vec4s of a lane. */
  readonly steps: number;
  /** Most parts of a bucket: in the first pass so that its sums are few, in the second so that they are added few times. */
  readonly parts: number;
}

/** CPU adapters: no barrier, one sum a lane. GPU: one sum a workgroup, by a tree over the lanes in 1 KiB of shared memory. */
export function sumLayout(isSoftware: boolean): PassLayout {
  return isSoftware ? { lanes: 8, steps: 512, parts: 32 } : { lanes: 256, steps: 16, parts: 512 };
}

/** CPU adapters: one SIMD group of invocations walks a long part. */
export function updateLayout(isSoftware: boolean): PassLayout {
  return isSoftware ? { lanes: 8, steps: 256, parts: 512 } : { lanes: 64, steps: 4, parts: 8192 };
}

/** Vec4s of each part of a bucket of `E` vec4s. */
export function partLength({ lanes, steps, parts }: PassLayout, E: number): number {
  return lanes * Math.max(steps, Math.ceil(E / (lanes * parts)));
}

/** Sums of squares, which have no sign of their own, and the mark of what is not finite as their sign. */
const sumFunctions = (lanes: number): string => `
fn marked(sum: f32, bad: bool) -> u32 { return bitcast<u32>(sum) | select(0u, 0x80000000u, bad); }
fn is_marked(sum: u32) -> bool { return (sum & 0x80000000u) != 0u; }
fn joined(a: u32, b: u32) -> u32 {
  return marked(abs(bitcast<f32>(a)) + abs(bitcast<f32>(b)), is_marked(a | b));
}
${lanes > 0 ? `var<workgroup> lane_sums: array<u32, ${lanes}>;` : ""}`;

/** Adds a value of each lane as a fixed tree: lane_sums[0], for lane 0 at once and for the others after a barrier. */
const addLanes = (lanes: number, value: string): string => `  lane_sums[lane] = ${value};
  for (var width = ${lanes / 2}u; width > 0u; width /= 2u) {
    workgroupBarrier(); // the level below is complete
    if (lane < width) { lane_sums[lane] = joined(lane_sums[lane], lane_sums[lane + width]); }
  }`;

/**
 * sums[first + p] = sum of squares of a part of the gradient, the loss scale taken out. Its sign is set when any of it is not
 * finite; what is not finite is left out of the sum. Lane l adds vec4s l, l + lanes, ... of its part in ascending order.
 */
export function sumSquares(isSoftware: boolean): string {
  const { lanes } = sumLayout(isSoftware);
  return wgsl`
${sumFunctions(isSoftware ? 0 : lanes)}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let part = workgroup_index(group, groups);
  let start = part * params.L;
  if (start >= params.E) { return; }
  if (params.first == ${SUMS_START}u && part == 0u && lane == 0u) {
    sums[0] = state[0];
    sums[1] = state[6];
    for (var i = 0u; i < 3u; i++) { sums[2u + i] = bitcast<u32>(loss_scale[i]); }
  }
  let end = min(start + params.L, params.E);
  var sum = vec4<f32>(0.0);
  var bad = false;
  for (var i = start + lane; i < end; i += ${lanes}u) {
    let bits = gradient[i];
    let is_finite = (bits & vec4<u32>(0x7f800000u)) != vec4<u32>(0x7f800000u);
    // only the sign tells, whatever the adapter makes of NaN
    let finite = bitcast<vec4<f32>>(select(vec4<u32>(0u), bits, is_finite)) * loss_scale[1];
    sum += finite * finite;
    bad |= !all(is_finite);
  }
  let mine = (sum.x + sum.y) + (sum.z + sum.w);
#if ${isSoftware}
  sums[params.first + part * ${lanes}u + lane] = marked(mine, bad);
#else
${addLanes(lanes, "marked(mine, bad)")}
  if (lane == 0u) { sums[params.first + part] = lane_sums[0]; }
#endif
}`;
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

/**
 * `read_halves` and `halves_of`: four moments in two words. Random bits by pcg4d (Jarzynski & Olano 2020) of place, step and bucket.
 */
const halfMoments = `
const MOMENT_SCALE = 4096.0;
fn random_words(place: u32, step: u32, bucket: u32) -> vec4<u32> {
  var v = vec4<u32>(place, step, bucket, 0x9e3779b9u) * 1664525u + 1013904223u;
  v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
  v ^= v >> vec4<u32>(16u);
  v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
  return v;
}
fn read_halves(words: vec2<u32>) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y)) / MOMENT_SCALE;
}
// random: 13 bits each
fn halves_of(value: vec4<f32>, random: vec4<u32>) -> vec2<u32> {
  // the largest half is 65504
  let scaled = clamp(value * MOMENT_SCALE, vec4<f32>(-65504.0), vec4<f32>(65504.0));
  let bits = bitcast<vec4<u32>>(scaled);
  let magnitude = bits & vec4<u32>(0x7fffffffu);
  let normal = min((magnitude + random) >> vec4<u32>(13u), vec4<u32>(0x23bffu)) - vec4<u32>(0x1c000u);
  // below 2^-14 halves are multiples of 2^-24
  let small = vec4<u32>(floor(min(abs(scaled), vec4<f32>(1.0)) * 16777216.0 + vec4<f32>(random) / 8192.0));
  let half = select(normal, small, magnitude < vec4<u32>(0x38800000u)) | ((bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u));
  return half.xz | (half.yw << vec2<u32>(16u));
}
`;

/**
 * `leave` writes the state, and the loss scale of the next step: half after a gradient that is not finite, but at least 1;
 * double after `growth_interval` good steps in a row, but at most `max_scale`; fixed when the interval is 0.
 */
const stepFunctions = `
// 1 - exp(x) for x < 0, by its series near 0 where the difference would cancel
fn one_minus_exp(x: f32) -> f32 {
  if (x < -0.5) { return 1.0 - exp(max(x, -80.0)); }
  var term = x;
  var sum = x;
  for (var k = 2u; k <= 9u; k++) { term *= x / f32(k); sum += term; }
  return -sum;
}
fn sum_before(index: u32) -> f32 { return bitcast<f32>(sums[index / 4u][index % 4u]); }
fn leave(bad: bool, norm: f32, clip: f32, scale: f32, correct1: f32, correct2: f32) {
  state[1] = u32(bad);
  state[2] = bitcast<u32>(norm);
  state[3] = bitcast<u32>(select(clip, 0.0, bad));
  state[6] = sums[0].y + u32(bad);
  if (!bad) {
    state[0] = sums[0].x + 1u;
    state[4] = bitcast<u32>(correct1);
    state[5] = bitcast<u32>(correct2);
    state[7] = bitcast<u32>(scale);
  }
  if (params.growth_interval == 0.0) { return; }
  let loss = sum_before(2u);
  let good = sum_before(4u) + 1.0;
  let is_due = good >= params.growth_interval;
  let halves = bad && loss > 1.0;
  let doubles = !bad && is_due && loss < params.max_scale;
  loss_scale[0] = loss * select(select(1.0, 2.0, doubles), 0.5, halves);
  loss_scale[1] = sum_before(3u) * select(select(1.0, 0.5, doubles), 2.0, halves);
  loss_scale[2] = select(good, 0.0, bad || is_due);
}
`;

/**
 * Works out from `sums` what the step does. Declares `bad` (the step is skipped), `norm` of the gradient, `clip` (its factor),
 * `scale`, `correct1` and `correct2` (bias corrections). The last three hold useful values only where `bad` is false. The host
 * computes log_beta in float64: 1 - beta^t would lose its digits in float32 at t = 1.
 */
const stepText = (isSoftware: boolean, lanes: number): string => {
  const first = SUMS_START / 4;
  const add = (i: string) => `{ let some = sums[${i}];
    total = joined(total, joined(joined(some.x, some.y), joined(some.z, some.w))); }`;
  const all = isSoftware
    ? `  for (var i = ${first}u; i < params.P; i++) ${add("i")}`
    : `  for (var i = ${first}u + lane; i < params.P; i += ${lanes}u) ${add("i")}
${addLanes(lanes, "total")}
  workgroupBarrier(); // the total is there
  total = lane_sums[0];`;
  return `  var total = 0u;
${all}
  let norm = sqrt(abs(bitcast<f32>(total)));
  // squares can overflow
  let bad = is_marked(total) || (bitcast<u32>(norm) & 0x7f800000u) == 0x7f800000u;
  let clip = select(1.0, min(1.0, params.max_norm / (norm + 1e-6)), params.max_norm > 0.0);
  let scale = clip * sum_before(3u);
  let step = f32(sums[0].x + 1u);
  let correct1 = 1.0 / one_minus_exp(step * params.log_beta1);
  let correct2 = inverseSqrt(one_minus_exp(step * params.log_beta2));`;
};

/**
 * One bucket's step, and its f16 copy. Nothing but the state is written when a gradient or the norm is not finite. Sums are
 * added alike by all workgroups: every lane on CPU adapters adds all of them in ascending order; on GPUs lane l adds vec4s l,
 * l + lanes, ..., and lanes are added as a fixed tree.
 */
export function update(isSoftware: boolean, hasHalf: boolean, hasHalfMoments: boolean): string {
  const { lanes } = updateLayout(isSoftware);
  return wgsl`
${hasHalf ? halfBits : ""}${hasHalfMoments ? halfMoments : ""}
${sumFunctions(isSoftware ? 0 : lanes)}
${stepFunctions}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let part = workgroup_index(group, groups);
  let start = part * params.L;
  if (start >= params.E) { return; }
${stepText(isSoftware, lanes)}
  if (params.leads != 0u && part == 0u && lane == 0u) { leave(bad, norm, clip, scale, correct1, correct2); }
  if (bad) { return; }
  let end = min(start + params.L, params.E);
  for (var i = start + lane; i < end; i += ${lanes}u) {
    let g = gradient[i] * scale;
#if ${hasHalfMoments}
    let root = read_halves(second_moment[i]);
    let m = params.beta1 * read_halves(first_moment[i]) + params.rest1 * g;
    let v = params.beta2 * root * root + params.rest2 * g * g;
    let random = random_words(i, sums[0].x, params.bucket);
    first_moment[i] = halves_of(m, random & vec4<u32>(0x1fffu));
    second_moment[i] = halves_of(sqrt(v), random >> vec4<u32>(19u));
#else
    let m = params.beta1 * first_moment[i] + params.rest1 * g;
    let v = params.beta2 * second_moment[i] + params.rest2 * g * g;
    first_moment[i] = m;
    second_moment[i] = v;
#endif
    let stepped = params.keep * value[i] - params.lr * (m * correct1) / (sqrt(v) * correct2 + params.eps);
    value[i] = stepped;
#if ${hasHalf}
    let bits = half_bits(stepped);
    half[i] = bits.xz | (bits.yw << vec2<u32>(16u));
#endif
  }
}`;
}
