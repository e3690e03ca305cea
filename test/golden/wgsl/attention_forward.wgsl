// attention.forward
struct Params {
  N: u32,
  W: u32,
  P: u32,
  D: u32,
  Q: u32,
  H: u32,
  E: u32,
  heads: u32,
  kv_heads: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> position: array<u32>;
@group(0) @binding(3) var<storage, read> table: array<f32>;
@group(0) @binding(4) var<storage, read> sequence_start: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read_write> log_sum_exp: array<f32>;
fn read_qkv(index: u32) -> f32 { return qkv[index]; }
fn write_y(index: u32, value: f32) { y[index] = value; }
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

fn element_q(token: u32, head: u32, e: u32) -> f32 {
  let row = ((token) * 3u + 0u + head) * 4u;
  let angles = position[token] * 4u + e % 2u;
  let sine = table[angles + 2u];
  let partner = read_qkv(row + (e + 2u) % 4u);
  return read_qkv(row + e) * table[angles] + partner * select(sine, -sine, e < 2u);
}
fn element_k(token: u32, head: u32, e: u32) -> f32 {
  let row = ((token) * 3u + 1u + head) * 4u;
  let angles = position[token] * 4u + e % 2u;
  let sine = table[angles + 2u];
  let partner = read_qkv(row + (e + 2u) % 4u);
  return read_qkv(row + e) * table[angles] + partner * select(sine, -sine, e < 2u);
}
fn element_v(token: u32, head: u32, e: u32) -> f32 {
  return read_qkv(((token) * 3u + 2u + head) * 4u + e);
}

var<workgroup> tile_rows: array<f32, 2112>;
var<workgroup> tile_scanned: array<f32, 1056>;
var<workgroup> tile_shared: array<vec2<f32>, 256>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let index = workgroup_index(group, groups);
  let tiles = (params.N + 63u) / 64u;
  let head = index / tiles;
  if (head >= 1u) { return; }
  let row_start = (index % tiles) * 64u;
  let x = lane % 8u;
  let y_row = lane / 8u;
  let token_0 = min(row_start + y_row + 0u, params.N - 1u);
  let token_1 = min(row_start + y_row + 32u, params.N - 1u);
  let kv_head = head / 1u;
  let start_0 = sequence_start[token_0];
  let reach_0 = token_0 - start_0;
  let start_1 = sequence_start[token_1];
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
  var top_0 = -1e30;
  var total_0 = 0.0;
  var top_1 = -1e30;
  var total_1 = 0.0;
  for (var base = sequence_start[row_start]; base < min(row_start + 64u, params.N); base += 32u) {
    let filled = min(32u, min(row_start + 64u, params.N) - base);
    var s_0_0 = 0.0;
    var s_0_1 = 0.0;
    var s_0_2 = 0.0;
    var s_0_3 = 0.0;
    var s_1_0 = 0.0;
    var s_1_1 = 0.0;
    var s_1_2 = 0.0;
    var s_1_3 = 0.0;
    for (var first = 0u; first < params.E; first += 4u) {
    let end = min(first + 4u, params.E);
    workgroupBarrier(); // earlier readers are done
    for (var i = lane; i < 256u; i += 256u) {
      let token = min(row_start + i / 4u, params.N - 1u);
      let e = first + i % 4u;
      if (e < params.E) { tile_rows[i / 4u * 33u + i % 4u] = element_q(token, head, e) * 0.7213475204444817; }
    }
    for (var i = lane; i < 128u; i += 256u) {
      let token = min(base + i / 4u, params.N - 1u);
      let e = first + i % 4u;
      if (e < params.E) { tile_scanned[i / 4u * 33u + i % 4u] = element_k(token, kv_head, e); }
    }
    workgroupBarrier(); // the chunk is complete
    // counting from 0 to a minimum with a constant, it would be unrolled by Mesa
    for (var next = first; next < end; next++) {
      let e = next - first;
      let own_0 = tile_rows[(y_row + 0u) * 33u + e];
      let own_1 = tile_rows[(y_row + 32u) * 33u + e];
      let scanned_0 = tile_scanned[(x + 0u) * 33u + e];
      let scanned_1 = tile_scanned[(x + 8u) * 33u + e];
      let scanned_2 = tile_scanned[(x + 16u) * 33u + e];
      let scanned_3 = tile_scanned[(x + 24u) * 33u + e];
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
    s_0_0 = select(-1e30, s_0_0, base + x + 0u - start_0 <= reach_0);
    s_0_1 = select(-1e30, s_0_1, base + x + 8u - start_0 <= reach_0);
    s_0_2 = select(-1e30, s_0_2, base + x + 16u - start_0 <= reach_0);
    s_0_3 = select(-1e30, s_0_3, base + x + 24u - start_0 <= reach_0);
    var next_0 = max(top_0, max(max(max(s_0_0, s_0_1), s_0_2), s_0_3));
    s_1_0 = select(-1e30, s_1_0, base + x + 0u - start_1 <= reach_1);
    s_1_1 = select(-1e30, s_1_1, base + x + 8u - start_1 <= reach_1);
    s_1_2 = select(-1e30, s_1_2, base + x + 16u - start_1 <= reach_1);
    s_1_3 = select(-1e30, s_1_3, base + x + 24u - start_1 <= reach_1);
    var next_1 = max(top_1, max(max(max(s_1_0, s_1_1), s_1_2), s_1_3));
    { workgroupBarrier(); // earlier readers are done
    tile_shared[lane] = vec2<f32>(next_0, next_1);
    workgroupBarrier(); // every invocation of the row has told
    let joined = max(max(max(max(max(max(max(tile_shared[y_row * 8u + 0u], tile_shared[y_row * 8u + 1u]), tile_shared[y_row * 8u + 2u]), tile_shared[y_row * 8u + 3u]), tile_shared[y_row * 8u + 4u]), tile_shared[y_row * 8u + 5u]), tile_shared[y_row * 8u + 6u]), tile_shared[y_row * 8u + 7u]);
    next_0 = joined[0];
    next_1 = joined[1]; }
    let fade_0 = exp2(top_0 - next_0);
    top_0 = next_0;
    s_0_0 = exp2(s_0_0 - next_0);
    s_0_1 = exp2(s_0_1 - next_0);
    s_0_2 = exp2(s_0_2 - next_0);
    s_0_3 = exp2(s_0_3 - next_0);
    total_0 = total_0 * fade_0 + (s_0_0 + s_0_1 + s_0_2 + s_0_3);
    sums_0_0_0 *= fade_0;
    sums_0_0_1 *= fade_0;
    sums_0_0_2 *= fade_0;
    sums_0_0_3 *= fade_0;
    sums_0_1_0 *= fade_0;
    sums_0_1_1 *= fade_0;
    sums_0_1_2 *= fade_0;
    sums_0_1_3 *= fade_0;
    let fade_1 = exp2(top_1 - next_1);
    top_1 = next_1;
    s_1_0 = exp2(s_1_0 - next_1);
    s_1_1 = exp2(s_1_1 - next_1);
    s_1_2 = exp2(s_1_2 - next_1);
    s_1_3 = exp2(s_1_3 - next_1);
    total_1 = total_1 * fade_1 + (s_1_0 + s_1_1 + s_1_2 + s_1_3);
    sums_1_0_0 *= fade_1;
    sums_1_0_1 *= fade_1;
    sums_1_0_2 *= fade_1;
    sums_1_0_3 *= fade_1;
    sums_1_1_0 *= fade_1;
    sums_1_1_1 *= fade_1;
    sums_1_1_2 *= fade_1;
    sums_1_1_3 *= fade_1;
    workgroupBarrier(); // earlier readers are done
    tile_rows[(y_row + 0u) * 33u + (x + 0u)] = s_0_0;
    tile_rows[(y_row + 0u) * 33u + (x + 8u)] = s_0_1;
    tile_rows[(y_row + 0u) * 33u + (x + 16u)] = s_0_2;
    tile_rows[(y_row + 0u) * 33u + (x + 24u)] = s_0_3;
    tile_rows[(y_row + 32u) * 33u + (x + 0u)] = s_1_0;
    tile_rows[(y_row + 32u) * 33u + (x + 8u)] = s_1_1;
    tile_rows[(y_row + 32u) * 33u + (x + 16u)] = s_1_2;
    tile_rows[(y_row + 32u) * 33u + (x + 24u)] = s_1_3;
    {
    let first = 0u;
    workgroupBarrier(); // earlier readers of the scanned tokens are done, weights are complete
    for (var i = lane; i < 64u; i += 256u) {
      let token = min(base + i / 2u, params.N - 1u);
      let e = first + i % 2u;
      if (e < params.E) { tile_scanned[i / 2u * 33u + i % 2u] = element_v(token, kv_head, e); }
    }
    workgroupBarrier(); // the chunk is complete
    for (var j = 0u; j < (filled + 0u) / 1u; j++) {
      let weight_0 = tile_rows[(y_row + 0u) * 33u + j];
      let weight_1 = tile_rows[(y_row + 32u) * 33u + j];
      { let value = tile_scanned[(j * 1u + 0u) * 33u + x + 0u];
        sums_0_0_0 += weight_0 * value;
        sums_1_0_0 += weight_1 * value; }
      { let value = tile_scanned[(j * 1u + 0u) * 33u + x + 8u];
        sums_0_0_1 += weight_0 * value;
        sums_1_0_1 += weight_1 * value; }
      { let value = tile_scanned[(j * 1u + 0u) * 33u + x + 16u];
        sums_0_0_2 += weight_0 * value;
        sums_1_0_2 += weight_1 * value; }
      { let value = tile_scanned[(j * 1u + 0u) * 33u + x + 24u];
        sums_0_0_3 += weight_0 * value;
        sums_1_0_3 += weight_1 * value; }
    }
    }
    {
    let first = 2u;
    workgroupBarrier(); // earlier readers of the scanned tokens are done, weights are complete
    for (var i = lane; i < 64u; i += 256u) {
      let token = min(base + i / 2u, params.N - 1u);
      let e = first + i % 2u;
      if (e < params.E) { tile_scanned[i / 2u * 33u + i % 2u] = element_v(token, kv_head, e); }
    }
    workgroupBarrier(); // the chunk is complete
    for (var j = 0u; j < (filled + 0u) / 1u; j++) {
      let weight_0 = tile_rows[(y_row + 0u) * 33u + j];
      let weight_1 = tile_rows[(y_row + 32u) * 33u + j];
      { let value = tile_scanned[(j * 1u + 0u) * 33u + x + 0u];
        sums_0_1_0 += weight_0 * value;
        sums_1_1_0 += weight_1 * value; }
      { let value = tile_scanned[(j * 1u + 0u) * 33u + x + 8u];
        sums_0_1_1 += weight_0 * value;
        sums_1_1_1 += weight_1 * value; }
      { let value = tile_scanned[(j * 1u + 0u) * 33u + x + 16u];
        sums_0_1_2 += weight_0 * value;
        sums_1_1_2 += weight_1 * value; }
      { let value = tile_scanned[(j * 1u + 0u) * 33u + x + 24u];
        sums_0_1_3 += weight_0 * value;
        sums_1_1_3 += weight_1 * value; }
    }
    }
  }
    { workgroupBarrier(); // earlier readers are done
    tile_shared[lane] = vec2<f32>(total_0, total_1);
    workgroupBarrier(); // every invocation of the row has told
    let joined = tile_shared[y_row * 8u + 0u] + tile_shared[y_row * 8u + 1u] + tile_shared[y_row * 8u + 2u] + tile_shared[y_row * 8u + 3u] + tile_shared[y_row * 8u + 4u] + tile_shared[y_row * 8u + 5u] + tile_shared[y_row * 8u + 6u] + tile_shared[y_row * 8u + 7u];
    total_0 = joined[0];
    total_1 = joined[1]; }
  if (row_start + y_row + 0u < params.N) {
    let row = ((token_0) * 1u + head) * 4u;
    let scale = 1.0 / total_0;
    if (x + 0u < 2u) { write_y(row + (0u + x + 0u), sums_0_0_0 * scale); write_y(row + (2u + x + 0u), sums_0_1_0 * scale); }
    if (x + 8u < 2u) { write_y(row + (0u + x + 8u), sums_0_0_1 * scale); write_y(row + (2u + x + 8u), sums_0_1_1 * scale); }
    if (x + 16u < 2u) { write_y(row + (0u + x + 16u), sums_0_0_2 * scale); write_y(row + (2u + x + 16u), sums_0_1_2 * scale); }
    if (x + 24u < 2u) { write_y(row + (0u + x + 24u), sums_0_0_3 * scale); write_y(row + (2u + x + 24u), sums_0_1_3 * scale); }
    if (x == 0u) { log_sum_exp[token_0 * 1u + head] = (top_0 + log2(total_0)) * 0.6931471805599453; }
  }
  if (row_start + y_row + 32u < params.N) {
    let row = ((token_1) * 1u + head) * 4u;
    let scale = 1.0 / total_1;
    if (x + 0u < 2u) { write_y(row + (0u + x + 0u), sums_1_0_0 * scale); write_y(row + (2u + x + 0u), sums_1_1_0 * scale); }
    if (x + 8u < 2u) { write_y(row + (0u + x + 8u), sums_1_0_1 * scale); write_y(row + (2u + x + 8u), sums_1_1_1 * scale); }
    if (x + 16u < 2u) { write_y(row + (0u + x + 16u), sums_1_0_2 * scale); write_y(row + (2u + x + 16u), sums_1_1_2 * scale); }
    if (x + 24u < 2u) { write_y(row + (0u + x + 24u), sums_1_0_3 * scale); write_y(row + (2u + x + 24u), sums_1_1_3 * scale); }
    if (x == 0u) { log_sum_exp[token_1 * 1u + head] = (top_1 + log2(total_1)) * 0.6931471805599453; }
  }
}