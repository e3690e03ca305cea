// rms_norm.backward_x + rms_norm.backward_gain
struct Params0 {
  N: u32,
  C: u32,
  P: u32,
  accumulate_d_x: u32,
}
struct Params1 {
  N: u32,
  C: u32,
  P: u32,
  accumulate_d_gain: u32,
}
struct Params {
  @align(16) kernel_0: Params0,
  @align(16) kernel_1: Params1,
  @align(16) first: vec4<u32>,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tensor_0: array<f32>;
@group(0) @binding(2) var<storage, read> tensor_1: array<f32>;
@group(0) @binding(3) var<storage, read> tensor_2: array<f32>;
@group(0) @binding(4) var<storage, read> tensor_3: array<f32>;
@group(0) @binding(5) var<storage, read_write> tensor_4: array<f32>;
@group(0) @binding(6) var<storage, read_write> tensor_5: array<f32>;
var<workgroup> memory_f32_0: array<f32, 128>;
fn workgroup_index_0(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x - params.first[0]; }
fn read_x_0(index: u32) -> f32 { return tensor_0[index]; }
fn read_d_y_0(index: u32) -> f32 { return tensor_3[index]; }
fn store_d_x_0(index: u32, value: f32) {
  var sum = value;
  if (params.kernel_0.accumulate_d_x != 0u) { sum = tensor_4[index] + value; }
  tensor_4[index] = sum;
}

fn upstream_0(index: u32) -> f32 { return read_d_y_0(index); }


fn row_sum_0(value: f32, lane: u32) -> f32 {
  workgroupBarrier(); // earlier readers of memory_f32_0 are done
  memory_f32_0[lane] = value;
  for (var width = 64u; width > 0u; width /= 2u) {
    workgroupBarrier(); // the level below is complete
    if (lane < width) { memory_f32_0[lane] += memory_f32_0[lane + width]; }
  }
  workgroupBarrier(); // the root is complete
  return memory_f32_0[0];
}

fn main_0( group: vec3<u32>,  groups: vec3<u32>,
         local: u32) {

  let lane = local;
  let row = workgroup_index_0(group, groups);

  if (row >= params.kernel_0.N) { return; }
  let size = params.kernel_0.C / 1u;
  let start = row * size;
  var products = f32();
  for (var c = lane; c < size; c += 128u) { products += upstream_0(start + c) * tensor_1[c] * read_x_0(start + c); }
  let scale = tensor_2[row];
  let mean = row_sum_0(products, lane) * scale * scale / f32(params.kernel_0.C);
  for (var c = lane; c < size; c += 128u) {
    store_d_x_0(start + c, scale * (upstream_0(start + c) * tensor_1[c] - read_x_0(start + c) * mean));
  }
}
fn workgroup_index_1(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x - params.first[1]; }
fn read_x_1(index: u32) -> f32 { return tensor_0[index]; }
fn read_d_y_1(index: u32) -> f32 { return tensor_3[index]; }
fn store_d_gain_1(index: u32, value: f32) {
  var sum = value;
  if (params.kernel_1.accumulate_d_gain != 0u) { sum = tensor_5[index] + value; }
  tensor_5[index] = sum;
}

fn upstream_1(index: u32) -> f32 { return read_d_y_1(index); }



fn main_1( group: vec3<u32>,  groups: vec3<u32>,
         local: u32) {
  let size = params.kernel_1.C / 1u;
  let lane = local / 16u;
  let c = workgroup_index_1(group, groups) * 16u + local % 16u;
  var sum = f32();
  if (c < size) {
    for (var row = lane; row < params.kernel_1.N; row += 8u) {
      sum += upstream_1(row * size + c) * read_x_1(row * size + c) * tensor_2[row];
    }
  }

  memory_f32_0[local] = sum;
  workgroupBarrier(); // the sums of all lanes are there
  for (var i = 1u; i < 8u; i++) { sum += memory_f32_0[i * 16u + local % 16u]; }

  if (lane == 0u && c < size) { store_d_gain_1(c, sum); }
}
@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(num_workgroups) num_workgroups: vec3<u32>, @builtin(local_invocation_index) local_invocation_index: u32) {
  let index = workgroup_id.x + workgroup_id.y * num_workgroups.x;
  if (index < params.first[1]) { main_0(workgroup_id, num_workgroups, local_invocation_index); } else { main_1(workgroup_id, num_workgroups, local_invocation_index); }
}