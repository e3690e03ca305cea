// matmul.nn + matmul.tn
struct Params0 {
  B: u32,
  M: u32,
  N: u32,
  K: u32,
  P: u32,
  R: u32,
  T: u32,
  eps: f32,
}
struct Params1 {
  B: u32,
  M: u32,
  N: u32,
  K: u32,
  P: u32,
  R: u32,
  T: u32,
  eps: f32,
  accumulate_d_sum: u32,
}
struct Params {
  @align(16) kernel_0: Params0,
  @align(16) kernel_1: Params1,
  @align(16) first: vec4<u32>,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tensor_0: array<f32>;
@group(0) @binding(2) var<storage, read> tensor_1: array<f32>;
@group(0) @binding(3) var<storage, read_write> tensor_2: array<f32>;
@group(0) @binding(4) var<storage, read> tensor_3: array<f32>;
@group(0) @binding(5) var<storage, read_write> tensor_4: array<f32>;
@group(0) @binding(6) var<storage, read_write> tensor_5: array<f32>;
var<workgroup> memory_f32_0: array<f32, 272>;
var<workgroup> memory_f32_1: array<f32, 1024>;
var<workgroup> memory_f32_2: array<f32, 16>;
fn workgroup_index_0(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x - params.first[0]; }
fn read_a_0(index: u32) -> f32 { return tensor_0[index]; }
fn read_b_0(index: u32) -> f32 { return tensor_1[index]; }
fn write_y_0(index: u32, value: f32) { tensor_2[index] = value; }




fn finish_0(part: u32, row: u32, column: u32, sum: vec4<f32>) {
  if (row >= params.kernel_0.M || column >= params.kernel_0.N) { return; }
  let start = (part * params.kernel_0.M + row) * params.kernel_0.N + column;
  var value = sum;
  for (var at = column; at < min(column + 4u, params.kernel_0.N); at += 1u) {
    let i = at - column;
       write_y_0(start + i, value[i]);
  }
}
fn main_0( group: vec3<u32>,  groups: vec3<u32>,
         local: u32) {
  let column_tiles = (params.kernel_0.N + 63u) / 64u;
  let tiles = column_tiles * ((params.kernel_0.M + 15u) / 16u);
  let index = workgroup_index_0(group, groups);
  let tile = index % tiles;
  let part = index / tiles;
  if (part >= params.kernel_0.B * params.kernel_0.P) { return; }
  let k_start = (part % params.kernel_0.P) * params.kernel_0.R;
  let k_end = min(params.kernel_0.K, k_start + params.kernel_0.R);
  let a_start = part / params.kernel_0.P * params.kernel_0.M * params.kernel_0.K;
  let b_start = part / params.kernel_0.P * params.kernel_0.K * params.kernel_0.N;
  let row = tile / column_tiles * 16u;
  let column = tile % column_tiles * 64u;
  let own_row = local / 16u * 4u;
  let own_column = local % 16u * 4u;
  var sum0_0 = vec4<f32>();
  var sum1_0 = vec4<f32>();
  var sum2_0 = vec4<f32>();
  var sum3_0 = vec4<f32>();

  for (var k = k_start; k < k_end; k += 16u) {
    for (var slot = local; slot < 256u; slot += 64u) { let in_k = slot % 16u * 1u; let in_size = slot / 16u;
      let at_k = k + in_k;
      let at = row + in_size;
      var value = f32();
      if (at_k < k_end && at < params.kernel_0.M) {
        value = read_a_0((a_start + at * params.kernel_0.K + at_k));
        
        
      }
      memory_f32_0[(in_k + 0u) * 17u + in_size] = value;
    }
    for (var slot = local; slot < 1024u; slot += 64u) { let in_k = slot / 64u; let in_size = slot % 64u * 1u;
      let at_k = k + in_k;
      let at = column + in_size;
      var value = f32();
      if (at_k < k_end && at < params.kernel_0.N) {
        value = read_b_0((b_start + at_k * params.kernel_0.N + at));
        
        
      }
      memory_f32_1[in_k * 64u + in_size + 0u] = value;
    }
    workgroupBarrier(); // the tiles are complete
    for (var step = 0u; step < 16u; step += 1u) {
      { let right0 = vec4<f32>(memory_f32_1[(step + 0u) * 64u + own_column + 0u], memory_f32_1[(step + 0u) * 64u + own_column + 1u], memory_f32_1[(step + 0u) * 64u + own_column + 2u], memory_f32_1[(step + 0u) * 64u + own_column + 3u]);
let left0 = memory_f32_0[(step + 0u) * 17u + own_row + 0u]; sum0_0 += left0 * right0;
let left1 = memory_f32_0[(step + 0u) * 17u + own_row + 1u]; sum1_0 += left1 * right0;
let left2 = memory_f32_0[(step + 0u) * 17u + own_row + 2u]; sum2_0 += left2 * right0;
let left3 = memory_f32_0[(step + 0u) * 17u + own_row + 3u]; sum3_0 += left3 * right0; }
    }
    workgroupBarrier(); // everybody has read the tiles
  }

  finish_0(part, row + own_row + 0u, column + own_column + 0u, sum0_0);
  finish_0(part, row + own_row + 1u, column + own_column + 0u, sum1_0);
  finish_0(part, row + own_row + 2u, column + own_column + 0u, sum2_0);
  finish_0(part, row + own_row + 3u, column + own_column + 0u, sum3_0);
}
fn workgroup_index_1(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x - params.first[1]; }
fn read_a_1(index: u32) -> f32 { return tensor_0[index]; }
fn read_b_1(index: u32) -> f32 { return tensor_3[index]; }
fn write_y_1(index: u32, value: f32) { tensor_4[index] = value; }
fn store_d_sum_1(index: u32, value: f32) {
  var sum = value;
  if (params.kernel_1.accumulate_d_sum != 0u) { sum = tensor_5[index] + value; }
  tensor_5[index] = sum;
}




fn finish_1(part: u32, row: u32, column: u32, sum: vec4<f32>) {
  if (row >= params.kernel_1.M || column >= params.kernel_1.N) { return; }
  let start = (part * params.kernel_1.M + row) * params.kernel_1.N + column;
  var value = sum;
  for (var at = column; at < min(column + 4u, params.kernel_1.N); at += 1u) {
    let i = at - column;
       write_y_1(start + i, value[i]);
  }
}
fn main_1( group: vec3<u32>,  groups: vec3<u32>,
         local: u32) {
  let column_tiles = (params.kernel_1.N + 63u) / 64u;
  let tiles = column_tiles * ((params.kernel_1.M + 15u) / 16u);
  let index = workgroup_index_1(group, groups);
  let tile = index % tiles;
  let part = index / tiles;
  if (part >= params.kernel_1.B * params.kernel_1.P) { return; }
  let k_start = (part % params.kernel_1.P) * params.kernel_1.R;
  let k_end = min(params.kernel_1.K, k_start + params.kernel_1.R);
  let a_start = part / params.kernel_1.P * params.kernel_1.M * params.kernel_1.K;
  let b_start = part / params.kernel_1.P * params.kernel_1.K * params.kernel_1.N;
  let row = tile / column_tiles * 16u;
  let column = tile % column_tiles * 64u;
  let own_row = local / 16u * 4u;
  let own_column = local % 16u * 4u;
  var sum0_0 = vec4<f32>();
  var sum1_0 = vec4<f32>();
  var sum2_0 = vec4<f32>();
  var sum3_0 = vec4<f32>();
  var row_sum0 = f32();
  for (var k = k_start; k < k_end; k += 16u) {
    for (var slot = local; slot < 256u; slot += 64u) { let in_k = slot / 16u; let in_size = slot % 16u * 1u;
      let at_k = k + in_k;
      let at = row + in_size;
      var value = f32();
      if (at_k < k_end && at < params.kernel_1.M) {
        value = read_a_1((a_start + at_k * params.kernel_1.M + at));
        row_sum0 += value;
        
      }
      memory_f32_0[in_k * 17u + in_size + 0u] = value;
    }
    for (var slot = local; slot < 1024u; slot += 64u) { let in_k = slot / 64u; let in_size = slot % 64u * 1u;
      let at_k = k + in_k;
      let at = column + in_size;
      var value = f32();
      if (at_k < k_end && at < params.kernel_1.N) {
        value = read_b_1((b_start + at_k * params.kernel_1.N + at));
        
        
      }
      memory_f32_1[in_k * 64u + in_size + 0u] = value;
    }
    workgroupBarrier(); // the tiles are complete
    for (var step = 0u; step < 16u; step += 1u) {
      { let right0 = vec4<f32>(memory_f32_1[(step + 0u) * 64u + own_column + 0u], memory_f32_1[(step + 0u) * 64u + own_column + 1u], memory_f32_1[(step + 0u) * 64u + own_column + 2u], memory_f32_1[(step + 0u) * 64u + own_column + 3u]);
let left0 = memory_f32_0[(step + 0u) * 17u + own_row + 0u]; sum0_0 += left0 * right0;
let left1 = memory_f32_0[(step + 0u) * 17u + own_row + 1u]; sum1_0 += left1 * right0;
let left2 = memory_f32_0[(step + 0u) * 17u + own_row + 2u]; sum2_0 += left2 * right0;
let left3 = memory_f32_0[(step + 0u) * 17u + own_row + 3u]; sum3_0 += left3 * right0; }
    }
    workgroupBarrier(); // everybody has read the tiles
  }
  memory_f32_0[local * 1u + 0u] = row_sum0;
  workgroupBarrier(); // the sums of all invocations are there
  if (local < 16u) {
    var total = 0.0;
    for (var i = 0u; i < 4u; i++) { total += memory_f32_0[i * 16u + local]; }
    let value = total;
    memory_f32_2[local] = value;
    if (column == 0u && row + local < params.kernel_1.M) { store_d_sum_1(row + local, value); }
  }
  workgroupBarrier(); // the values of all rows are there
  finish_1(part, row + own_row + 0u, column + own_column + 0u, sum0_0);
  finish_1(part, row + own_row + 1u, column + own_column + 0u, sum1_0);
  finish_1(part, row + own_row + 2u, column + own_column + 0u, sum2_0);
  finish_1(part, row + own_row + 3u, column + own_column + 0u, sum3_0);
}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(num_workgroups) num_workgroups: vec3<u32>, @builtin(local_invocation_index) local_invocation_index: u32) {
  let index = workgroup_id.x + workgroup_id.y * num_workgroups.x;
  if (index < params.first[1]) { main_0(workgroup_id, num_workgroups, local_invocation_index); } else { main_1(workgroup_id, num_workgroups, local_invocation_index); }
}