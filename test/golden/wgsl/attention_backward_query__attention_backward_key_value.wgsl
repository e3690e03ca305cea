// attention.backward_query + attention.backward_key_value
struct Params0 {
  N: u32,
  E: u32,
  accumulate_d_qkv: u32,
}
struct Params1 {
  N: u32,
  E: u32,
  accumulate_d_qkv: u32,
}
struct Params {
  @align(16) kernel_0: Params0,
  @align(16) kernel_1: Params1,
  @align(16) first: vec4<u32>,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tensor_0: array<f32>;
@group(0) @binding(2) var<storage, read> tensor_1: array<u32>;
@group(0) @binding(3) var<storage, read> tensor_2: array<f32>;
@group(0) @binding(4) var<storage, read> tensor_3: array<f32>;
@group(0) @binding(5) var<storage, read> tensor_4: array<f32>;
@group(0) @binding(6) var<storage, read> tensor_5: array<u32>;
@group(0) @binding(7) var<storage, read> tensor_6: array<f32>;
@group(0) @binding(8) var<storage, read_write> tensor_7: array<f32>;
@group(0) @binding(9) var<storage, read> tensor_8: array<u32>;
var<workgroup> memory_f32_0: array<f32, 2112>;
var<workgroup> memory_f32_1: array<f32, 1056>;
var<workgroup> memory_vec2f32_0: array<vec2<f32>, 256>;
fn workgroup_index_0(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x - params.first[0]; }
fn read_qkv_0(index: u32) -> f32 { return tensor_0[index]; }
fn read_y_0(index: u32) -> f32 { return tensor_3[index]; }
fn read_d_y_0(index: u32) -> f32 { return tensor_6[index]; }
fn store_d_qkv_0(index: u32, value: f32) {
  var sum = value;
  if (params.kernel_0.accumulate_d_qkv != 0u) { sum = tensor_7[index] + value; }
  tensor_7[index] = sum;
}

fn element_q_0(token: u32, head: u32, e: u32) -> f32 {
  let row = ((token) * 3u + 0u + head) * 4u;
  let angles = tensor_1[token] * 4u + e % 2u;
  let sine = tensor_2[angles + 2u];
  let partner = read_qkv_0(row + (e + 2u) % 4u);
  return read_qkv_0(row + e) * tensor_2[angles] + partner * select(sine, -sine, e < 2u);
}
fn element_k_0(token: u32, head: u32, e: u32) -> f32 {
  let row = ((token) * 3u + 1u + head) * 4u;
  let angles = tensor_1[token] * 4u + e % 2u;
  let sine = tensor_2[angles + 2u];
  let partner = read_qkv_0(row + (e + 2u) % 4u);
  return read_qkv_0(row + e) * tensor_2[angles] + partner * select(sine, -sine, e < 2u);
}
fn element_v_0(token: u32, head: u32, e: u32) -> f32 {
  return read_qkv_0(((token) * 3u + 2u + head) * 4u + e);
}




fn main_0( group: vec3<u32>,  groups: vec3<u32>,
         lane: u32) {
  let index = workgroup_index_0(group, groups);
  let tiles = (params.kernel_0.N + 63u) / 64u;
  let head = index / tiles;
  if (head >= 1u) { return; }
  let row_start = (index % tiles) * 64u;
  let x = lane % 8u;
  let y_row = lane / 8u;
  let token_0 = min(row_start + y_row + 0u, params.kernel_0.N - 1u);
  let token_1 = min(row_start + y_row + 32u, params.kernel_0.N - 1u);
  let kv_head = head / 1u;
  let start_0 = tensor_5[token_0];
  let reach_0 = token_0 - start_0;
  let start_1 = tensor_5[token_1];
  let reach_1 = token_1 - start_1;
  var sums_0_0_0 = f32();
  var sums_0_0_1 = f32();
  var sums_0_0_2 = f32();
  var sums_0_0_3 = f32();
  var sums_0_1_0 = f32();
  var sums_0_1_1 = f32();
  var sums_0_1_2 = f32();
  var sums_0_1_3 = f32();
  var sums_1_0_0 = f32();
  var sums_1_0_1 = f32();
  var sums_1_0_2 = f32();
  var sums_1_0_3 = f32();
  var sums_1_1_0 = f32();
  var sums_1_1_1 = f32();
  var sums_1_1_2 = f32();
  var sums_1_1_3 = f32();
  let log_sum_0 = tensor_4[token_0 * 1u + head] * 1.4426950408889634;
  var r_0 = 0.0;
  for (var e = x; e < params.kernel_0.E; e += 8u) {
    r_0 += read_d_y_0(((token_0) * 1u + head) * 4u + e) * read_y_0(((token_0) * 1u + head) * 4u + e);
  }
  let log_sum_1 = tensor_4[token_1 * 1u + head] * 1.4426950408889634;
  var r_1 = 0.0;
  for (var e = x; e < params.kernel_0.E; e += 8u) {
    r_1 += read_d_y_0(((token_1) * 1u + head) * 4u + e) * read_y_0(((token_1) * 1u + head) * 4u + e);
  }
    { workgroupBarrier(); // earlier readers are done
    memory_vec2f32_0[lane] = vec2<f32>(r_0, r_1);
    workgroupBarrier(); // every invocation of the row has told
    let joined = memory_vec2f32_0[y_row * 8u + 0u] + memory_vec2f32_0[y_row * 8u + 1u] + memory_vec2f32_0[y_row * 8u + 2u] + memory_vec2f32_0[y_row * 8u + 3u] + memory_vec2f32_0[y_row * 8u + 4u] + memory_vec2f32_0[y_row * 8u + 5u] + memory_vec2f32_0[y_row * 8u + 6u] + memory_vec2f32_0[y_row * 8u + 7u];
    r_0 = joined[0];
    r_1 = joined[1]; }
  for (var base = tensor_5[row_start]; base < min(row_start + 64u, params.kernel_0.N); base += 32u) {
    let filled = min(32u, min(row_start + 64u, params.kernel_0.N) - base);
    var s_0_0 = 0.0;
    var s_0_1 = 0.0;
    var s_0_2 = 0.0;
    var s_0_3 = 0.0;
    var s_1_0 = 0.0;
    var s_1_1 = 0.0;
    var s_1_2 = 0.0;
    var s_1_3 = 0.0;
    for (var first = 0u; first < params.kernel_0.E; first += 4u) {
    let end = min(first + 4u, params.kernel_0.E);
    workgroupBarrier(); // earlier readers are done
    for (var i = lane; i < 256u; i += 256u) {
      let token = min(row_start + i / 4u, params.kernel_0.N - 1u);
      let e = first + i % 4u;
      if (e < params.kernel_0.E) { memory_f32_0[i / 4u * 33u + i % 4u] = element_q_0(token, head, e) * 0.7213475204444817; }
    }
    for (var i = lane; i < 128u; i += 256u) {
      let token = min(base + i / 4u, params.kernel_0.N - 1u);
      let e = first + i % 4u;
      if (e < params.kernel_0.E) { memory_f32_1[i / 4u * 33u + i % 4u] = element_k_0(token, kv_head, e); }
    }
    workgroupBarrier(); // the chunk is complete
    // counting from 0 to a minimum with a constant, it would be unrolled by Mesa
    for (var next = first; next < end; next++) {
      let e = next - first;
      let own_0 = memory_f32_0[(y_row + 0u) * 33u + e];
      let own_1 = memory_f32_0[(y_row + 32u) * 33u + e];
      let scanned_0 = memory_f32_1[(x + 0u) * 33u + e];
      let scanned_1 = memory_f32_1[(x + 8u) * 33u + e];
      let scanned_2 = memory_f32_1[(x + 16u) * 33u + e];
      let scanned_3 = memory_f32_1[(x + 24u) * 33u + e];
      s_0_0 += own_0 * scanned_0;
      s_0_1 += own_0 * scanned_1;
      s_0_2 += own_0 * scanned_2;
      s_0_3 += own_0 * scanned_3;
      s_1_0 += own_1 * scanned_0;
      s_1_1 += own_1 * scanned_1;
      s_1_2 += own_1 * scanned_2;
      s_1_3 += own_1 * scanned_3;
    }
    }
    var p_0_0 = 0.0;
    var p_0_1 = 0.0;
    var p_0_2 = 0.0;
    var p_0_3 = 0.0;
    var p_1_0 = 0.0;
    var p_1_1 = 0.0;
    var p_1_2 = 0.0;
    var p_1_3 = 0.0;
    for (var first = 0u; first < params.kernel_0.E; first += 4u) {
    let end = min(first + 4u, params.kernel_0.E);
    workgroupBarrier(); // earlier readers are done
    for (var i = lane; i < 256u; i += 256u) {
      let token = min(row_start + i / 4u, params.kernel_0.N - 1u);
      let e = first + i % 4u;
      if (e < params.kernel_0.E) { memory_f32_0[i / 4u * 33u + i % 4u] = read_d_y_0(((token) * 1u + head) * 4u + e); }
    }
    for (var i = lane; i < 128u; i += 256u) {
      let token = min(base + i / 4u, params.kernel_0.N - 1u);
      let e = first + i % 4u;
      if (e < params.kernel_0.E) { memory_f32_1[i / 4u * 33u + i % 4u] = element_v_0(token, kv_head, e); }
    }
    workgroupBarrier(); // the chunk is complete
    // counting from 0 to a minimum with a constant, it would be unrolled by Mesa
    for (var next = first; next < end; next++) {
      let e = next - first;
      let own_0 = memory_f32_0[(y_row + 0u) * 33u + e];
      let own_1 = memory_f32_0[(y_row + 32u) * 33u + e];
      let scanned_0 = memory_f32_1[(x + 0u) * 33u + e];
      let scanned_1 = memory_f32_1[(x + 8u) * 33u + e];
      let scanned_2 = memory_f32_1[(x + 16u) * 33u + e];
      let scanned_3 = memory_f32_1[(x + 24u) * 33u + e];
      p_0_0 += own_0 * scanned_0;
      p_0_1 += own_0 * scanned_1;
      p_0_2 += own_0 * scanned_2;
      p_0_3 += own_0 * scanned_3;
      p_1_0 += own_1 * scanned_0;
      p_1_1 += own_1 * scanned_1;
      p_1_2 += own_1 * scanned_2;
      p_1_3 += own_1 * scanned_3;
    }
    }
    s_0_0 = exp2(select(-1e30, s_0_0 - log_sum_0, base + x + 0u - start_0 <= reach_0)) * (p_0_0 - r_0);
    s_0_1 = exp2(select(-1e30, s_0_1 - log_sum_0, base + x + 8u - start_0 <= reach_0)) * (p_0_1 - r_0);
    s_0_2 = exp2(select(-1e30, s_0_2 - log_sum_0, base + x + 16u - start_0 <= reach_0)) * (p_0_2 - r_0);
    s_0_3 = exp2(select(-1e30, s_0_3 - log_sum_0, base + x + 24u - start_0 <= reach_0)) * (p_0_3 - r_0);
    s_1_0 = exp2(select(-1e30, s_1_0 - log_sum_1, base + x + 0u - start_1 <= reach_1)) * (p_1_0 - r_1);
    s_1_1 = exp2(select(-1e30, s_1_1 - log_sum_1, base + x + 8u - start_1 <= reach_1)) * (p_1_1 - r_1);
    s_1_2 = exp2(select(-1e30, s_1_2 - log_sum_1, base + x + 16u - start_1 <= reach_1)) * (p_1_2 - r_1);
    s_1_3 = exp2(select(-1e30, s_1_3 - log_sum_1, base + x + 24u - start_1 <= reach_1)) * (p_1_3 - r_1);
    workgroupBarrier(); // earlier readers are done
    memory_f32_0[(y_row + 0u) * 33u + (x + 0u)] = s_0_0;
    memory_f32_0[(y_row + 0u) * 33u + (x + 8u)] = s_0_1;
    memory_f32_0[(y_row + 0u) * 33u + (x + 16u)] = s_0_2;
    memory_f32_0[(y_row + 0u) * 33u + (x + 24u)] = s_0_3;
    memory_f32_0[(y_row + 32u) * 33u + (x + 0u)] = s_1_0;
    memory_f32_0[(y_row + 32u) * 33u + (x + 8u)] = s_1_1;
    memory_f32_0[(y_row + 32u) * 33u + (x + 16u)] = s_1_2;
    memory_f32_0[(y_row + 32u) * 33u + (x + 24u)] = s_1_3;
    {
    let first = 0u;
    workgroupBarrier(); // earlier readers of the scanned tokens are done, weights are complete
    for (var i = lane; i < 64u; i += 256u) {
      let token = min(base + i / 2u, params.kernel_0.N - 1u);
      let e = first + i % 2u;
      if (e < params.kernel_0.E) { memory_f32_1[i / 2u * 33u + i % 2u] = element_k_0(token, kv_head, e); }
    }
    workgroupBarrier(); // the chunk is complete
    for (var j = 0u; j < (filled + 0u) / 1u; j++) {
      let weight_0 = memory_f32_0[(y_row + 0u) * 33u + j];
      let weight_1 = memory_f32_0[(y_row + 32u) * 33u + j];
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 0u];
        sums_0_0_0 += weight_0 * value;
        sums_1_0_0 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 8u];
        sums_0_0_1 += weight_0 * value;
        sums_1_0_1 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 16u];
        sums_0_0_2 += weight_0 * value;
        sums_1_0_2 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 24u];
        sums_0_0_3 += weight_0 * value;
        sums_1_0_3 += weight_1 * value; }
    }
    }
    {
    let first = 2u;
    workgroupBarrier(); // earlier readers of the scanned tokens are done, weights are complete
    for (var i = lane; i < 64u; i += 256u) {
      let token = min(base + i / 2u, params.kernel_0.N - 1u);
      let e = first + i % 2u;
      if (e < params.kernel_0.E) { memory_f32_1[i / 2u * 33u + i % 2u] = element_k_0(token, kv_head, e); }
    }
    workgroupBarrier(); // the chunk is complete
    for (var j = 0u; j < (filled + 0u) / 1u; j++) {
      let weight_0 = memory_f32_0[(y_row + 0u) * 33u + j];
      let weight_1 = memory_f32_0[(y_row + 32u) * 33u + j];
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 0u];
        sums_0_1_0 += weight_0 * value;
        sums_1_1_0 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 8u];
        sums_0_1_1 += weight_0 * value;
        sums_1_1_1 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 16u];
        sums_0_1_2 += weight_0 * value;
        sums_1_1_2 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 24u];
        sums_0_1_3 += weight_0 * value;
        sums_1_1_3 += weight_1 * value; }
    }
    }
  }
  if (row_start + y_row + 0u < params.kernel_0.N) {
    let row = ((token_0) * 3u + 0u + head) * 4u;
    let angles = tensor_1[token_0] * 4u;
    if (x + 0u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 0u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 0u)] * 0.5;
      store_d_qkv_0(row + (0u + x + 0u), sums_0_0_0 * cosine + sums_0_1_0 * sine);
      store_d_qkv_0(row + (2u + x + 0u), sums_0_1_0 * cosine - sums_0_0_0 * sine);
    } }
    if (x + 8u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 8u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 8u)] * 0.5;
      store_d_qkv_0(row + (0u + x + 8u), sums_0_0_1 * cosine + sums_0_1_1 * sine);
      store_d_qkv_0(row + (2u + x + 8u), sums_0_1_1 * cosine - sums_0_0_1 * sine);
    } }
    if (x + 16u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 16u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 16u)] * 0.5;
      store_d_qkv_0(row + (0u + x + 16u), sums_0_0_2 * cosine + sums_0_1_2 * sine);
      store_d_qkv_0(row + (2u + x + 16u), sums_0_1_2 * cosine - sums_0_0_2 * sine);
    } }
    if (x + 24u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 24u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 24u)] * 0.5;
      store_d_qkv_0(row + (0u + x + 24u), sums_0_0_3 * cosine + sums_0_1_3 * sine);
      store_d_qkv_0(row + (2u + x + 24u), sums_0_1_3 * cosine - sums_0_0_3 * sine);
    } }
  }
  if (row_start + y_row + 32u < params.kernel_0.N) {
    let row = ((token_1) * 3u + 0u + head) * 4u;
    let angles = tensor_1[token_1] * 4u;
    if (x + 0u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 0u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 0u)] * 0.5;
      store_d_qkv_0(row + (0u + x + 0u), sums_1_0_0 * cosine + sums_1_1_0 * sine);
      store_d_qkv_0(row + (2u + x + 0u), sums_1_1_0 * cosine - sums_1_0_0 * sine);
    } }
    if (x + 8u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 8u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 8u)] * 0.5;
      store_d_qkv_0(row + (0u + x + 8u), sums_1_0_1 * cosine + sums_1_1_1 * sine);
      store_d_qkv_0(row + (2u + x + 8u), sums_1_1_1 * cosine - sums_1_0_1 * sine);
    } }
    if (x + 16u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 16u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 16u)] * 0.5;
      store_d_qkv_0(row + (0u + x + 16u), sums_1_0_2 * cosine + sums_1_1_2 * sine);
      store_d_qkv_0(row + (2u + x + 16u), sums_1_1_2 * cosine - sums_1_0_2 * sine);
    } }
    if (x + 24u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 24u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 24u)] * 0.5;
      store_d_qkv_0(row + (0u + x + 24u), sums_1_0_3 * cosine + sums_1_1_3 * sine);
      store_d_qkv_0(row + (2u + x + 24u), sums_1_1_3 * cosine - sums_1_0_3 * sine);
    } }
  }
}
fn workgroup_index_1(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x - params.first[1]; }
fn read_qkv_1(index: u32) -> f32 { return tensor_0[index]; }
fn read_y_1(index: u32) -> f32 { return tensor_3[index]; }
fn read_d_y_1(index: u32) -> f32 { return tensor_6[index]; }
fn store_d_qkv_1(index: u32, value: f32) {
  var sum = value;
  if (params.kernel_1.accumulate_d_qkv != 0u) { sum = tensor_7[index] + value; }
  tensor_7[index] = sum;
}

fn element_q_1(token: u32, head: u32, e: u32) -> f32 {
  let row = ((token) * 3u + 0u + head) * 4u;
  let angles = tensor_1[token] * 4u + e % 2u;
  let sine = tensor_2[angles + 2u];
  let partner = read_qkv_1(row + (e + 2u) % 4u);
  return read_qkv_1(row + e) * tensor_2[angles] + partner * select(sine, -sine, e < 2u);
}
fn element_k_1(token: u32, head: u32, e: u32) -> f32 {
  let row = ((token) * 3u + 1u + head) * 4u;
  let angles = tensor_1[token] * 4u + e % 2u;
  let sine = tensor_2[angles + 2u];
  let partner = read_qkv_1(row + (e + 2u) % 4u);
  return read_qkv_1(row + e) * tensor_2[angles] + partner * select(sine, -sine, e < 2u);
}
fn element_v_1(token: u32, head: u32, e: u32) -> f32 {
  return read_qkv_1(((token) * 3u + 2u + head) * 4u + e);
}




fn main_1( group: vec3<u32>,  groups: vec3<u32>,
         lane: u32) {
  let index = workgroup_index_1(group, groups);
  let tiles = (params.kernel_1.N + 63u) / 64u;
  let head = index / tiles;
  if (head >= 1u) { return; }
  let row_start = (index % tiles) * 64u;
  let x = lane % 8u;
  let y_row = lane / 8u;
  let token_0 = min(row_start + y_row + 0u, params.kernel_1.N - 1u);
  let token_1 = min(row_start + y_row + 32u, params.kernel_1.N - 1u);
  var key_sums_0_0_0 = f32();
  var key_sums_0_0_1 = f32();
  var key_sums_0_0_2 = f32();
  var key_sums_0_0_3 = f32();
  var key_sums_0_1_0 = f32();
  var key_sums_0_1_1 = f32();
  var key_sums_0_1_2 = f32();
  var key_sums_0_1_3 = f32();
  var key_sums_1_0_0 = f32();
  var key_sums_1_0_1 = f32();
  var key_sums_1_0_2 = f32();
  var key_sums_1_0_3 = f32();
  var key_sums_1_1_0 = f32();
  var key_sums_1_1_1 = f32();
  var key_sums_1_1_2 = f32();
  var key_sums_1_1_3 = f32();
  var value_sums_0_0_0 = f32();
  var value_sums_0_0_1 = f32();
  var value_sums_0_0_2 = f32();
  var value_sums_0_0_3 = f32();
  var value_sums_0_1_0 = f32();
  var value_sums_0_1_1 = f32();
  var value_sums_0_1_2 = f32();
  var value_sums_0_1_3 = f32();
  var value_sums_1_0_0 = f32();
  var value_sums_1_0_1 = f32();
  var value_sums_1_0_2 = f32();
  var value_sums_1_0_3 = f32();
  var value_sums_1_1_0 = f32();
  var value_sums_1_1_1 = f32();
  var value_sums_1_1_2 = f32();
  var value_sums_1_1_3 = f32();
  let reach_0 = tensor_8[token_0] - token_0;
  let reach_1 = tensor_8[token_1] - token_1;
  let last = tensor_8[min(row_start + 64u, params.kernel_1.N) - 1u];
  for (var query_head = head * 1u; query_head < (head + 1u) * 1u; query_head++) {
  for (var base = row_start; base < last; base += 32u) {
    let filled = min(32u, last - base);
    workgroupBarrier(); // earlier readers are done
    {
      let token = min(base + lane / 8u, params.kernel_1.N - 1u);
      var r = 0.0;
      for (var e = lane % 8u; e < params.kernel_1.E; e += 8u) {
        r += read_d_y_1(((token) * 1u + query_head) * 4u + e) * read_y_1(((token) * 1u + query_head) * 4u + e);
      }
      memory_vec2f32_0[lane / 2u][lane % 2u] = r;
    }
    var s_0_0 = 0.0;
    var s_0_1 = 0.0;
    var s_0_2 = 0.0;
    var s_0_3 = 0.0;
    var s_1_0 = 0.0;
    var s_1_1 = 0.0;
    var s_1_2 = 0.0;
    var s_1_3 = 0.0;
    for (var first = 0u; first < params.kernel_1.E; first += 4u) {
    let end = min(first + 4u, params.kernel_1.E);
    workgroupBarrier(); // earlier readers are done
    for (var i = lane; i < 256u; i += 256u) {
      let token = min(row_start + i / 4u, params.kernel_1.N - 1u);
      let e = first + i % 4u;
      if (e < params.kernel_1.E) { memory_f32_0[i / 4u * 33u + i % 4u] = element_k_1(token, head, e) * 0.7213475204444817; }
    }
    for (var i = lane; i < 128u; i += 256u) {
      let token = min(base + i / 4u, params.kernel_1.N - 1u);
      let e = first + i % 4u;
      if (e < params.kernel_1.E) { memory_f32_1[i / 4u * 33u + i % 4u] = element_q_1(token, query_head, e); }
    }
    workgroupBarrier(); // the chunk is complete
    // counting from 0 to a minimum with a constant, it would be unrolled by Mesa
    for (var next = first; next < end; next++) {
      let e = next - first;
      let own_0 = memory_f32_0[(y_row + 0u) * 33u + e];
      let own_1 = memory_f32_0[(y_row + 32u) * 33u + e];
      let scanned_0 = memory_f32_1[(x + 0u) * 33u + e];
      let scanned_1 = memory_f32_1[(x + 8u) * 33u + e];
      let scanned_2 = memory_f32_1[(x + 16u) * 33u + e];
      let scanned_3 = memory_f32_1[(x + 24u) * 33u + e];
      s_0_0 += own_0 * scanned_0;
      s_0_1 += own_0 * scanned_1;
      s_0_2 += own_0 * scanned_2;
      s_0_3 += own_0 * scanned_3;
      s_1_0 += own_1 * scanned_0;
      s_1_1 += own_1 * scanned_1;
      s_1_2 += own_1 * scanned_2;
      s_1_3 += own_1 * scanned_3;
    }
    }
    var p_0_0 = 0.0;
    var p_0_1 = 0.0;
    var p_0_2 = 0.0;
    var p_0_3 = 0.0;
    var p_1_0 = 0.0;
    var p_1_1 = 0.0;
    var p_1_2 = 0.0;
    var p_1_3 = 0.0;
    for (var first = 0u; first < params.kernel_1.E; first += 4u) {
    let end = min(first + 4u, params.kernel_1.E);
    workgroupBarrier(); // earlier readers are done
    for (var i = lane; i < 256u; i += 256u) {
      let token = min(row_start + i / 4u, params.kernel_1.N - 1u);
      let e = first + i % 4u;
      if (e < params.kernel_1.E) { memory_f32_0[i / 4u * 33u + i % 4u] = element_v_1(token, head, e); }
    }
    for (var i = lane; i < 128u; i += 256u) {
      let token = min(base + i / 4u, params.kernel_1.N - 1u);
      let e = first + i % 4u;
      if (e < params.kernel_1.E) { memory_f32_1[i / 4u * 33u + i % 4u] = read_d_y_1(((token) * 1u + query_head) * 4u + e); }
    }
    workgroupBarrier(); // the chunk is complete
    // counting from 0 to a minimum with a constant, it would be unrolled by Mesa
    for (var next = first; next < end; next++) {
      let e = next - first;
      let own_0 = memory_f32_0[(y_row + 0u) * 33u + e];
      let own_1 = memory_f32_0[(y_row + 32u) * 33u + e];
      let scanned_0 = memory_f32_1[(x + 0u) * 33u + e];
      let scanned_1 = memory_f32_1[(x + 8u) * 33u + e];
      let scanned_2 = memory_f32_1[(x + 16u) * 33u + e];
      let scanned_3 = memory_f32_1[(x + 24u) * 33u + e];
      p_0_0 += own_0 * scanned_0;
      p_0_1 += own_0 * scanned_1;
      p_0_2 += own_0 * scanned_2;
      p_0_3 += own_0 * scanned_3;
      p_1_0 += own_1 * scanned_0;
      p_1_1 += own_1 * scanned_1;
      p_1_2 += own_1 * scanned_2;
      p_1_3 += own_1 * scanned_3;
    }
    }
    let log_sum_0 = tensor_4[min(base + x + 0u, params.kernel_1.N - 1u) * 1u + query_head] * 1.4426950408889634;
    let joined_0 = memory_vec2f32_0[(x + 0u) * 4u + 0u] + memory_vec2f32_0[(x + 0u) * 4u + 1u] + memory_vec2f32_0[(x + 0u) * 4u + 2u] + memory_vec2f32_0[(x + 0u) * 4u + 3u];
    let r_0 = joined_0[0] + joined_0[1];
    let log_sum_1 = tensor_4[min(base + x + 8u, params.kernel_1.N - 1u) * 1u + query_head] * 1.4426950408889634;
    let joined_1 = memory_vec2f32_0[(x + 8u) * 4u + 0u] + memory_vec2f32_0[(x + 8u) * 4u + 1u] + memory_vec2f32_0[(x + 8u) * 4u + 2u] + memory_vec2f32_0[(x + 8u) * 4u + 3u];
    let r_1 = joined_1[0] + joined_1[1];
    let log_sum_2 = tensor_4[min(base + x + 16u, params.kernel_1.N - 1u) * 1u + query_head] * 1.4426950408889634;
    let joined_2 = memory_vec2f32_0[(x + 16u) * 4u + 0u] + memory_vec2f32_0[(x + 16u) * 4u + 1u] + memory_vec2f32_0[(x + 16u) * 4u + 2u] + memory_vec2f32_0[(x + 16u) * 4u + 3u];
    let r_2 = joined_2[0] + joined_2[1];
    let log_sum_3 = tensor_4[min(base + x + 24u, params.kernel_1.N - 1u) * 1u + query_head] * 1.4426950408889634;
    let joined_3 = memory_vec2f32_0[(x + 24u) * 4u + 0u] + memory_vec2f32_0[(x + 24u) * 4u + 1u] + memory_vec2f32_0[(x + 24u) * 4u + 2u] + memory_vec2f32_0[(x + 24u) * 4u + 3u];
    let r_3 = joined_3[0] + joined_3[1];
    let weight_0_0 = exp2(select(-1e30, s_0_0 - log_sum_0, base + x + 0u - token_0 < reach_0));
    p_0_0 = weight_0_0 * (p_0_0 - r_0);
    let weight_0_1 = exp2(select(-1e30, s_0_1 - log_sum_1, base + x + 8u - token_0 < reach_0));
    p_0_1 = weight_0_1 * (p_0_1 - r_1);
    let weight_0_2 = exp2(select(-1e30, s_0_2 - log_sum_2, base + x + 16u - token_0 < reach_0));
    p_0_2 = weight_0_2 * (p_0_2 - r_2);
    let weight_0_3 = exp2(select(-1e30, s_0_3 - log_sum_3, base + x + 24u - token_0 < reach_0));
    p_0_3 = weight_0_3 * (p_0_3 - r_3);
    let weight_1_0 = exp2(select(-1e30, s_1_0 - log_sum_0, base + x + 0u - token_1 < reach_1));
    p_1_0 = weight_1_0 * (p_1_0 - r_0);
    let weight_1_1 = exp2(select(-1e30, s_1_1 - log_sum_1, base + x + 8u - token_1 < reach_1));
    p_1_1 = weight_1_1 * (p_1_1 - r_1);
    let weight_1_2 = exp2(select(-1e30, s_1_2 - log_sum_2, base + x + 16u - token_1 < reach_1));
    p_1_2 = weight_1_2 * (p_1_2 - r_2);
    let weight_1_3 = exp2(select(-1e30, s_1_3 - log_sum_3, base + x + 24u - token_1 < reach_1));
    p_1_3 = weight_1_3 * (p_1_3 - r_3);
    workgroupBarrier(); // earlier readers are done
    memory_f32_0[(y_row + 0u) * 33u + (x + 0u)] = p_0_0;
    memory_f32_0[(y_row + 0u) * 33u + (x + 8u)] = p_0_1;
    memory_f32_0[(y_row + 0u) * 33u + (x + 16u)] = p_0_2;
    memory_f32_0[(y_row + 0u) * 33u + (x + 24u)] = p_0_3;
    memory_f32_0[(y_row + 32u) * 33u + (x + 0u)] = p_1_0;
    memory_f32_0[(y_row + 32u) * 33u + (x + 8u)] = p_1_1;
    memory_f32_0[(y_row + 32u) * 33u + (x + 16u)] = p_1_2;
    memory_f32_0[(y_row + 32u) * 33u + (x + 24u)] = p_1_3;
    {
    let first = 0u;
    workgroupBarrier(); // earlier readers of the scanned tokens are done, weights are complete
    for (var i = lane; i < 64u; i += 256u) {
      let token = min(base + i / 2u, params.kernel_1.N - 1u);
      let e = first + i % 2u;
      if (e < params.kernel_1.E) { memory_f32_1[i / 2u * 33u + i % 2u] = element_q_1(token, query_head, e); }
    }
    workgroupBarrier(); // the chunk is complete
    for (var j = 0u; j < (filled + 0u) / 1u; j++) {
      let weight_0 = memory_f32_0[(y_row + 0u) * 33u + j];
      let weight_1 = memory_f32_0[(y_row + 32u) * 33u + j];
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 0u];
        key_sums_0_0_0 += weight_0 * value;
        key_sums_1_0_0 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 8u];
        key_sums_0_0_1 += weight_0 * value;
        key_sums_1_0_1 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 16u];
        key_sums_0_0_2 += weight_0 * value;
        key_sums_1_0_2 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 24u];
        key_sums_0_0_3 += weight_0 * value;
        key_sums_1_0_3 += weight_1 * value; }
    }
    }
    {
    let first = 2u;
    workgroupBarrier(); // earlier readers of the scanned tokens are done, weights are complete
    for (var i = lane; i < 64u; i += 256u) {
      let token = min(base + i / 2u, params.kernel_1.N - 1u);
      let e = first + i % 2u;
      if (e < params.kernel_1.E) { memory_f32_1[i / 2u * 33u + i % 2u] = element_q_1(token, query_head, e); }
    }
    workgroupBarrier(); // the chunk is complete
    for (var j = 0u; j < (filled + 0u) / 1u; j++) {
      let weight_0 = memory_f32_0[(y_row + 0u) * 33u + j];
      let weight_1 = memory_f32_0[(y_row + 32u) * 33u + j];
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 0u];
        key_sums_0_1_0 += weight_0 * value;
        key_sums_1_1_0 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 8u];
        key_sums_0_1_1 += weight_0 * value;
        key_sums_1_1_1 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 16u];
        key_sums_0_1_2 += weight_0 * value;
        key_sums_1_1_2 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 24u];
        key_sums_0_1_3 += weight_0 * value;
        key_sums_1_1_3 += weight_1 * value; }
    }
    }
    workgroupBarrier(); // earlier readers are done
    memory_f32_0[(y_row + 0u) * 33u + (x + 0u)] = weight_0_0;
    memory_f32_0[(y_row + 0u) * 33u + (x + 8u)] = weight_0_1;
    memory_f32_0[(y_row + 0u) * 33u + (x + 16u)] = weight_0_2;
    memory_f32_0[(y_row + 0u) * 33u + (x + 24u)] = weight_0_3;
    memory_f32_0[(y_row + 32u) * 33u + (x + 0u)] = weight_1_0;
    memory_f32_0[(y_row + 32u) * 33u + (x + 8u)] = weight_1_1;
    memory_f32_0[(y_row + 32u) * 33u + (x + 16u)] = weight_1_2;
    memory_f32_0[(y_row + 32u) * 33u + (x + 24u)] = weight_1_3;
    {
    let first = 0u;
    workgroupBarrier(); // earlier readers of the scanned tokens are done, weights are complete
    for (var i = lane; i < 64u; i += 256u) {
      let token = min(base + i / 2u, params.kernel_1.N - 1u);
      let e = first + i % 2u;
      if (e < params.kernel_1.E) { memory_f32_1[i / 2u * 33u + i % 2u] = read_d_y_1(((token) * 1u + query_head) * 4u + e); }
    }
    workgroupBarrier(); // the chunk is complete
    for (var j = 0u; j < (filled + 0u) / 1u; j++) {
      let weight_0 = memory_f32_0[(y_row + 0u) * 33u + j];
      let weight_1 = memory_f32_0[(y_row + 32u) * 33u + j];
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 0u];
        value_sums_0_0_0 += weight_0 * value;
        value_sums_1_0_0 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 8u];
        value_sums_0_0_1 += weight_0 * value;
        value_sums_1_0_1 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 16u];
        value_sums_0_0_2 += weight_0 * value;
        value_sums_1_0_2 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 24u];
        value_sums_0_0_3 += weight_0 * value;
        value_sums_1_0_3 += weight_1 * value; }
    }
    }
    {
    let first = 2u;
    workgroupBarrier(); // earlier readers of the scanned tokens are done, weights are complete
    for (var i = lane; i < 64u; i += 256u) {
      let token = min(base + i / 2u, params.kernel_1.N - 1u);
      let e = first + i % 2u;
      if (e < params.kernel_1.E) { memory_f32_1[i / 2u * 33u + i % 2u] = read_d_y_1(((token) * 1u + query_head) * 4u + e); }
    }
    workgroupBarrier(); // the chunk is complete
    for (var j = 0u; j < (filled + 0u) / 1u; j++) {
      let weight_0 = memory_f32_0[(y_row + 0u) * 33u + j];
      let weight_1 = memory_f32_0[(y_row + 32u) * 33u + j];
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 0u];
        value_sums_0_1_0 += weight_0 * value;
        value_sums_1_1_0 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 8u];
        value_sums_0_1_1 += weight_0 * value;
        value_sums_1_1_1 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 16u];
        value_sums_0_1_2 += weight_0 * value;
        value_sums_1_1_2 += weight_1 * value; }
      { let value = memory_f32_1[(j * 1u + 0u) * 33u + x + 24u];
        value_sums_0_1_3 += weight_0 * value;
        value_sums_1_1_3 += weight_1 * value; }
    }
    }
  }
  }
  if (row_start + y_row + 0u < params.kernel_1.N) {
    let row = ((token_0) * 3u + 1u + head) * 4u;
    let angles = tensor_1[token_0] * 4u;
    if (x + 0u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 0u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 0u)] * 0.5;
      store_d_qkv_1(row + (0u + x + 0u), key_sums_0_0_0 * cosine + key_sums_0_1_0 * sine);
      store_d_qkv_1(row + (2u + x + 0u), key_sums_0_1_0 * cosine - key_sums_0_0_0 * sine);
    } }
    if (x + 8u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 8u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 8u)] * 0.5;
      store_d_qkv_1(row + (0u + x + 8u), key_sums_0_0_1 * cosine + key_sums_0_1_1 * sine);
      store_d_qkv_1(row + (2u + x + 8u), key_sums_0_1_1 * cosine - key_sums_0_0_1 * sine);
    } }
    if (x + 16u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 16u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 16u)] * 0.5;
      store_d_qkv_1(row + (0u + x + 16u), key_sums_0_0_2 * cosine + key_sums_0_1_2 * sine);
      store_d_qkv_1(row + (2u + x + 16u), key_sums_0_1_2 * cosine - key_sums_0_0_2 * sine);
    } }
    if (x + 24u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 24u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 24u)] * 0.5;
      store_d_qkv_1(row + (0u + x + 24u), key_sums_0_0_3 * cosine + key_sums_0_1_3 * sine);
      store_d_qkv_1(row + (2u + x + 24u), key_sums_0_1_3 * cosine - key_sums_0_0_3 * sine);
    } }
  }
  if (row_start + y_row + 32u < params.kernel_1.N) {
    let row = ((token_1) * 3u + 1u + head) * 4u;
    let angles = tensor_1[token_1] * 4u;
    if (x + 0u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 0u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 0u)] * 0.5;
      store_d_qkv_1(row + (0u + x + 0u), key_sums_1_0_0 * cosine + key_sums_1_1_0 * sine);
      store_d_qkv_1(row + (2u + x + 0u), key_sums_1_1_0 * cosine - key_sums_1_0_0 * sine);
    } }
    if (x + 8u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 8u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 8u)] * 0.5;
      store_d_qkv_1(row + (0u + x + 8u), key_sums_1_0_1 * cosine + key_sums_1_1_1 * sine);
      store_d_qkv_1(row + (2u + x + 8u), key_sums_1_1_1 * cosine - key_sums_1_0_1 * sine);
    } }
    if (x + 16u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 16u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 16u)] * 0.5;
      store_d_qkv_1(row + (0u + x + 16u), key_sums_1_0_2 * cosine + key_sums_1_1_2 * sine);
      store_d_qkv_1(row + (2u + x + 16u), key_sums_1_1_2 * cosine - key_sums_1_0_2 * sine);
    } }
    if (x + 24u < 2u) { {
      let cosine = tensor_2[angles + (0u + x + 24u)] * 0.5;
      let sine = tensor_2[angles + (2u + x + 24u)] * 0.5;
      store_d_qkv_1(row + (0u + x + 24u), key_sums_1_0_3 * cosine + key_sums_1_1_3 * sine);
      store_d_qkv_1(row + (2u + x + 24u), key_sums_1_1_3 * cosine - key_sums_1_0_3 * sine);
    } }
  }
  if (row_start + y_row + 0u < params.kernel_1.N) {
    let row = ((token_0) * 3u + 2u + head) * 4u;
    
    if (x + 0u < 2u) { store_d_qkv_1(row + (0u + x + 0u), value_sums_0_0_0); store_d_qkv_1(row + (2u + x + 0u), value_sums_0_1_0); }
    if (x + 8u < 2u) { store_d_qkv_1(row + (0u + x + 8u), value_sums_0_0_1); store_d_qkv_1(row + (2u + x + 8u), value_sums_0_1_1); }
    if (x + 16u < 2u) { store_d_qkv_1(row + (0u + x + 16u), value_sums_0_0_2); store_d_qkv_1(row + (2u + x + 16u), value_sums_0_1_2); }
    if (x + 24u < 2u) { store_d_qkv_1(row + (0u + x + 24u), value_sums_0_0_3); store_d_qkv_1(row + (2u + x + 24u), value_sums_0_1_3); }
  }
  if (row_start + y_row + 32u < params.kernel_1.N) {
    let row = ((token_1) * 3u + 2u + head) * 4u;
    
    if (x + 0u < 2u) { store_d_qkv_1(row + (0u + x + 0u), value_sums_1_0_0); store_d_qkv_1(row + (2u + x + 0u), value_sums_1_1_0); }
    if (x + 8u < 2u) { store_d_qkv_1(row + (0u + x + 8u), value_sums_1_0_1); store_d_qkv_1(row + (2u + x + 8u), value_sums_1_1_1); }
    if (x + 16u < 2u) { store_d_qkv_1(row + (0u + x + 16u), value_sums_1_0_2); store_d_qkv_1(row + (2u + x + 16u), value_sums_1_1_2); }
    if (x + 24u < 2u) { store_d_qkv_1(row + (0u + x + 24u), value_sums_1_0_3); store_d_qkv_1(row + (2u + x + 24u), value_sums_1_1_3); }
  }
}
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(num_workgroups) num_workgroups: vec3<u32>, @builtin(local_invocation_index) local_invocation_index: u32) {
  let index = workgroup_id.x + workgroup_id.y * num_workgroups.x;
  if (index < params.first[1]) { main_0(workgroup_id, num_workgroups, local_invocation_index); } else { main_1(workgroup_id, num_workgroups, local_invocation_index); }
}