// adamw.update + adamw.update
struct Params0 {
  E: u32,
  L: u32,
  P: u32,
  leads: u32,
  lr: f32,
  keep: f32,
  beta1: f32,
  rest1: f32,
  log_beta1: f32,
  beta2: f32,
  rest2: f32,
  log_beta2: f32,
  eps: f32,
  max_norm: f32,
  growth_interval: f32,
  max_scale: f32,
  bucket: u32,
}
struct Params1 {
  E: u32,
  L: u32,
  P: u32,
  leads: u32,
  lr: f32,
  keep: f32,
  beta1: f32,
  rest1: f32,
  log_beta1: f32,
  beta2: f32,
  rest2: f32,
  log_beta2: f32,
  eps: f32,
  max_norm: f32,
  growth_interval: f32,
  max_scale: f32,
  bucket: u32,
}
struct Params {
  @align(16) kernel_0: Params0,
  @align(16) kernel_1: Params1,
  @align(16) first: vec4<u32>,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tensor_0: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> tensor_1: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> tensor_2: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> tensor_3: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> tensor_4: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> tensor_5: array<u32>;
@group(0) @binding(7) var<storage, read_write> tensor_6: array<f32>;
@group(0) @binding(8) var<storage, read> tensor_7: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> tensor_8: array<vec4<f32>>;
@group(0) @binding(10) var<storage, read_write> tensor_9: array<vec4<f32>>;
@group(0) @binding(11) var<storage, read_write> tensor_10: array<vec4<f32>>;
var<workgroup> memory_u32_0: array<u32, 64>;
fn workgroup_index_0(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x - params.first[0]; }




fn marked_0(sum: f32, bad: bool) -> u32 { return bitcast<u32>(sum) | select(0u, 0x80000000u, bad); }
fn is_marked_0(sum: u32) -> bool { return (sum & 0x80000000u) != 0u; }
fn joined_0(a: u32, b: u32) -> u32 {
  return marked_0(abs(bitcast<f32>(a)) + abs(bitcast<f32>(b)), is_marked_0(a | b));
}


// 1 - exp(x) for x < 0, by its series near 0 where the difference would cancel
fn one_minus_exp_0(x: f32) -> f32 {
  if (x < -0.5) { return 1.0 - exp(max(x, -80.0)); }
  var term = x;
  var sum = x;
  for (var k = 2u; k <= 9u; k++) { term *= x / f32(k); sum += term; }
  return -sum;
}
fn sum_before_0(index: u32) -> f32 { return bitcast<f32>(tensor_0[index / 4u][index % 4u]); }
fn leave_0(bad: bool, norm: f32, clip: f32, scale: f32, correct1: f32, correct2: f32) {
  tensor_5[1] = u32(bad);
  tensor_5[2] = bitcast<u32>(norm);
  tensor_5[3] = bitcast<u32>(select(clip, 0.0, bad));
  tensor_5[6] = tensor_0[0].y + u32(bad);
  if (!bad) {
    tensor_5[0] = tensor_0[0].x + 1u;
    tensor_5[4] = bitcast<u32>(correct1);
    tensor_5[5] = bitcast<u32>(correct2);
    tensor_5[7] = bitcast<u32>(scale);
  }
  if (params.kernel_0.growth_interval == 0.0) { return; }
  let loss = sum_before_0(2u);
  let good = sum_before_0(4u) + 1.0;
  let is_due = good >= params.kernel_0.growth_interval;
  let halves = bad && loss > 1.0;
  let doubles = !bad && is_due && loss < params.kernel_0.max_scale;
  tensor_6[0] = loss * select(select(1.0, 2.0, doubles), 0.5, halves);
  tensor_6[1] = sum_before_0(3u) * select(select(1.0, 0.5, doubles), 2.0, halves);
  tensor_6[2] = select(good, 0.0, bad || is_due);
}

fn main_0( group: vec3<u32>,  groups: vec3<u32>,
         lane: u32) {
  let part = workgroup_index_0(group, groups);
  let start = part * params.kernel_0.L;
  if (start >= params.kernel_0.E) { return; }
  var total = 0u;
  for (var i = 2u + lane; i < params.kernel_0.P; i += 64u) { let some = tensor_0[i];
    total = joined_0(total, joined_0(joined_0(some.x, some.y), joined_0(some.z, some.w))); }
  memory_u32_0[lane] = total;
  for (var width = 32u; width > 0u; width /= 2u) {
    workgroupBarrier(); // the level below is complete
    if (lane < width) { memory_u32_0[lane] = joined_0(memory_u32_0[lane], memory_u32_0[lane + width]); }
  }
  workgroupBarrier(); // the total is there
  total = memory_u32_0[0];
  let norm = sqrt(abs(bitcast<f32>(total)));
  // squares can overflow
  let bad = is_marked_0(total) || (bitcast<u32>(norm) & 0x7f800000u) == 0x7f800000u;
  let clip = select(1.0, min(1.0, params.kernel_0.max_norm / (norm + 1e-6)), params.kernel_0.max_norm > 0.0);
  let scale = clip * sum_before_0(3u);
  let step = f32(tensor_0[0].x + 1u);
  let correct1 = 1.0 / one_minus_exp_0(step * params.kernel_0.log_beta1);
  let correct2 = inverseSqrt(one_minus_exp_0(step * params.kernel_0.log_beta2));
  if (params.kernel_0.leads != 0u && part == 0u && lane == 0u) { leave_0(bad, norm, clip, scale, correct1, correct2); }
  if (bad) { return; }
  let end = min(start + params.kernel_0.L, params.kernel_0.E);
  for (var i = start + lane; i < end; i += 64u) {
    let g = tensor_1[i] * scale;

    let m = params.kernel_0.beta1 * tensor_3[i] + params.kernel_0.rest1 * g;
    let v = params.kernel_0.beta2 * tensor_4[i] + params.kernel_0.rest2 * g * g;
    tensor_3[i] = m;
    tensor_4[i] = v;

    let stepped = params.kernel_0.keep * tensor_2[i] - params.kernel_0.lr * (m * correct1) / (sqrt(v) * correct2 + params.kernel_0.eps);
    tensor_2[i] = stepped;

  }
}
fn workgroup_index_1(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x - params.first[1]; }




fn marked_1(sum: f32, bad: bool) -> u32 { return bitcast<u32>(sum) | select(0u, 0x80000000u, bad); }
fn is_marked_1(sum: u32) -> bool { return (sum & 0x80000000u) != 0u; }
fn joined_1(a: u32, b: u32) -> u32 {
  return marked_1(abs(bitcast<f32>(a)) + abs(bitcast<f32>(b)), is_marked_1(a | b));
}


// 1 - exp(x) for x < 0, by its series near 0 where the difference would cancel
fn one_minus_exp_1(x: f32) -> f32 {
  if (x < -0.5) { return 1.0 - exp(max(x, -80.0)); }
  var term = x;
  var sum = x;
  for (var k = 2u; k <= 9u; k++) { term *= x / f32(k); sum += term; }
  return -sum;
}
fn sum_before_1(index: u32) -> f32 { return bitcast<f32>(tensor_0[index / 4u][index % 4u]); }
fn leave_1(bad: bool, norm: f32, clip: f32, scale: f32, correct1: f32, correct2: f32) {
  tensor_5[1] = u32(bad);
  tensor_5[2] = bitcast<u32>(norm);
  tensor_5[3] = bitcast<u32>(select(clip, 0.0, bad));
  tensor_5[6] = tensor_0[0].y + u32(bad);
  if (!bad) {
    tensor_5[0] = tensor_0[0].x + 1u;
    tensor_5[4] = bitcast<u32>(correct1);
    tensor_5[5] = bitcast<u32>(correct2);
    tensor_5[7] = bitcast<u32>(scale);
  }
  if (params.kernel_1.growth_interval == 0.0) { return; }
  let loss = sum_before_1(2u);
  let good = sum_before_1(4u) + 1.0;
  let is_due = good >= params.kernel_1.growth_interval;
  let halves = bad && loss > 1.0;
  let doubles = !bad && is_due && loss < params.kernel_1.max_scale;
  tensor_6[0] = loss * select(select(1.0, 2.0, doubles), 0.5, halves);
  tensor_6[1] = sum_before_1(3u) * select(select(1.0, 0.5, doubles), 2.0, halves);
  tensor_6[2] = select(good, 0.0, bad || is_due);
}

fn main_1( group: vec3<u32>,  groups: vec3<u32>,
         lane: u32) {
  let part = workgroup_index_1(group, groups);
  let start = part * params.kernel_1.L;
  if (start >= params.kernel_1.E) { return; }
  var total = 0u;
  for (var i = 2u + lane; i < params.kernel_1.P; i += 64u) { let some = tensor_0[i];
    total = joined_1(total, joined_1(joined_1(some.x, some.y), joined_1(some.z, some.w))); }
  memory_u32_0[lane] = total;
  for (var width = 32u; width > 0u; width /= 2u) {
    workgroupBarrier(); // the level below is complete
    if (lane < width) { memory_u32_0[lane] = joined_1(memory_u32_0[lane], memory_u32_0[lane + width]); }
  }
  workgroupBarrier(); // the total is there
  total = memory_u32_0[0];
  let norm = sqrt(abs(bitcast<f32>(total)));
  // squares can overflow
  let bad = is_marked_1(total) || (bitcast<u32>(norm) & 0x7f800000u) == 0x7f800000u;
  let clip = select(1.0, min(1.0, params.kernel_1.max_norm / (norm + 1e-6)), params.kernel_1.max_norm > 0.0);
  let scale = clip * sum_before_1(3u);
  let step = f32(tensor_0[0].x + 1u);
  let correct1 = 1.0 / one_minus_exp_1(step * params.kernel_1.log_beta1);
  let correct2 = inverseSqrt(one_minus_exp_1(step * params.kernel_1.log_beta2));
  if (params.kernel_1.leads != 0u && part == 0u && lane == 0u) { leave_1(bad, norm, clip, scale, correct1, correct2); }
  if (bad) { return; }
  let end = min(start + params.kernel_1.L, params.kernel_1.E);
  for (var i = start + lane; i < end; i += 64u) {
    let g = tensor_7[i] * scale;

    let m = params.kernel_1.beta1 * tensor_9[i] + params.kernel_1.rest1 * g;
    let v = params.kernel_1.beta2 * tensor_10[i] + params.kernel_1.rest2 * g * g;
    tensor_9[i] = m;
    tensor_10[i] = v;

    let stepped = params.kernel_1.keep * tensor_8[i] - params.kernel_1.lr * (m * correct1) / (sqrt(v) * correct2 + params.kernel_1.eps);
    tensor_8[i] = stepped;

  }
}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(num_workgroups) num_workgroups: vec3<u32>, @builtin(local_invocation_index) local_invocation_index: u32) {
  let index = workgroup_id.x + workgroup_id.y * num_workgroups.x;
  if (index < params.first[1]) { main_0(workgroup_id, num_workgroups, local_invocation_index); } else { main_1(workgroup_id, num_workgroups, local_invocation_index); }
}