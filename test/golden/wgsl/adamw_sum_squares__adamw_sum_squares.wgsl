// adamw.sum_squares + adamw.sum_squares
struct Params0 {
  E: u32,
  L: u32,
  first: u32,
}
struct Params1 {
  E: u32,
  L: u32,
  first: u32,
}
struct Params {
  @align(16) kernel_0: Params0,
  @align(16) kernel_1: Params1,
  @align(16) first: vec4<u32>,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tensor_0: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> tensor_1: array<u32>;
@group(0) @binding(3) var<storage, read> tensor_2: array<f32>;
@group(0) @binding(4) var<storage, read_write> tensor_3: array<u32>;
@group(0) @binding(5) var<storage, read> tensor_4: array<vec4<u32>>;
var<workgroup> memory_u32_0: array<u32, 256>;
fn workgroup_index_0(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x - params.first[0]; }



fn marked_0(sum: f32, bad: bool) -> u32 { return bitcast<u32>(sum) | select(0u, 0x80000000u, bad); }
fn is_marked_0(sum: u32) -> bool { return (sum & 0x80000000u) != 0u; }
fn joined_0(a: u32, b: u32) -> u32 {
  return marked_0(abs(bitcast<f32>(a)) + abs(bitcast<f32>(b)), is_marked_0(a | b));
}

fn main_0( group: vec3<u32>,  groups: vec3<u32>,
         lane: u32) {
  let part = workgroup_index_0(group, groups);
  let start = part * params.kernel_0.L;
  if (start >= params.kernel_0.E) { return; }
  if (params.kernel_0.first == 8u && part == 0u && lane == 0u) {
    tensor_3[0] = tensor_1[0];
    tensor_3[1] = tensor_1[6];
    for (var i = 0u; i < 3u; i++) { tensor_3[2u + i] = bitcast<u32>(tensor_2[i]); }
  }
  let end = min(start + params.kernel_0.L, params.kernel_0.E);
  var sum = vec4<f32>(0.0);
  var bad = false;
  for (var i = start + lane; i < end; i += 256u) {
    let bits = tensor_0[i];
    let is_finite = (bits & vec4<u32>(0x7f800000u)) != vec4<u32>(0x7f800000u);
    // only the sign tells, whatever the adapter makes of NaN
    let finite = bitcast<vec4<f32>>(select(vec4<u32>(0u), bits, is_finite)) * tensor_2[1];
    sum += finite * finite;
    bad |= !all(is_finite);
  }
  let mine = (sum.x + sum.y) + (sum.z + sum.w);

  memory_u32_0[lane] = marked_0(mine, bad);
  for (var width = 128u; width > 0u; width /= 2u) {
    workgroupBarrier(); // the level below is complete
    if (lane < width) { memory_u32_0[lane] = joined_0(memory_u32_0[lane], memory_u32_0[lane + width]); }
  }
  if (lane == 0u) { tensor_3[params.kernel_0.first + part] = memory_u32_0[0]; }

}
fn workgroup_index_1(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x - params.first[1]; }



fn marked_1(sum: f32, bad: bool) -> u32 { return bitcast<u32>(sum) | select(0u, 0x80000000u, bad); }
fn is_marked_1(sum: u32) -> bool { return (sum & 0x80000000u) != 0u; }
fn joined_1(a: u32, b: u32) -> u32 {
  return marked_1(abs(bitcast<f32>(a)) + abs(bitcast<f32>(b)), is_marked_1(a | b));
}

fn main_1( group: vec3<u32>,  groups: vec3<u32>,
         lane: u32) {
  let part = workgroup_index_1(group, groups);
  let start = part * params.kernel_1.L;
  if (start >= params.kernel_1.E) { return; }
  if (params.kernel_1.first == 8u && part == 0u && lane == 0u) {
    tensor_3[0] = tensor_1[0];
    tensor_3[1] = tensor_1[6];
    for (var i = 0u; i < 3u; i++) { tensor_3[2u + i] = bitcast<u32>(tensor_2[i]); }
  }
  let end = min(start + params.kernel_1.L, params.kernel_1.E);
  var sum = vec4<f32>(0.0);
  var bad = false;
  for (var i = start + lane; i < end; i += 256u) {
    let bits = tensor_4[i];
    let is_finite = (bits & vec4<u32>(0x7f800000u)) != vec4<u32>(0x7f800000u);
    // only the sign tells, whatever the adapter makes of NaN
    let finite = bitcast<vec4<f32>>(select(vec4<u32>(0u), bits, is_finite)) * tensor_2[1];
    sum += finite * finite;
    bad |= !all(is_finite);
  }
  let mine = (sum.x + sum.y) + (sum.z + sum.w);

  memory_u32_0[lane] = marked_1(mine, bad);
  for (var width = 128u; width > 0u; width /= 2u) {
    workgroupBarrier(); // the level below is complete
    if (lane < width) { memory_u32_0[lane] = joined_1(memory_u32_0[lane], memory_u32_0[lane + width]); }
  }
  if (lane == 0u) { tensor_3[params.kernel_1.first + part] = memory_u32_0[0]; }

}
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(num_workgroups) num_workgroups: vec3<u32>, @builtin(local_invocation_index) local_invocation_index: u32) {
  let index = workgroup_id.x + workgroup_id.y * num_workgroups.x;
  if (index < params.first[1]) { main_0(workgroup_id, num_workgroups, local_invocation_index); } else { main_1(workgroup_id, num_workgroups, local_invocation_index); }
}