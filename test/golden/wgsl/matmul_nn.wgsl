// matmul.nn
struct Params {
  B: u32,
  M: u32,
  N: u32,
  K: u32,
  P: u32,
  R: u32,
  T: u32,
  eps: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
fn read_a(index: u32) -> f32 { return a[index]; }
fn read_b(index: u32) -> f32 { return b[index]; }
fn write_y(index: u32, value: f32) { y[index] = value; }
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

var<workgroup> tile_a: array<f32, 528>;
var<workgroup> tile_b: array<f32, 512>;

fn finish(part: u32, row: u32, column: u32, sum: vec4<f32>) {
  if (row >= params.M || column >= params.N) { return; }
  let start = (part * params.M + row) * params.N + column;
  var value = sum;
  for (var at = column; at < min(column + 4u, params.N); at += 1u) {
    let i = at - column;
     value[i] += bias[at];  write_y(start + i, value[i]);
  }
}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let column_tiles = (params.N + 31u) / 32u;
  let tiles = column_tiles * ((params.M + 31u) / 32u);
  let index = workgroup_index(group, groups);
  let tile = index % tiles;
  let part = index / tiles;
  if (part >= params.B * params.P) { return; }
  let k_start = (part % params.P) * params.R;
  let k_end = min(params.K, k_start + params.R);
  let a_start = part / params.P * params.M * params.K;
  let b_start = part / params.P * params.K * params.N;
  let row = tile / column_tiles * 32u;
  let column = tile % column_tiles * 32u;
  let own_row = local / 8u * 4u;
  let own_column = local % 8u * 4u;
  var sum0_0 = vec4<f32>();
  var sum1_0 = vec4<f32>();
  var sum2_0 = vec4<f32>();
  var sum3_0 = vec4<f32>();

  for (var k = k_start; k < k_end; k += 16u) {
    for (var slot = local; slot < 512u; slot += 64u) { let in_k = slot % 16u * 1u; let in_size = slot / 16u;
      let at_k = k + in_k;
      let at = row + in_size;
      var value = f32();
      if (at_k < k_end && at < params.M) {
        value = read_a((a_start + at * params.K + at_k));
        
        
      }
      tile_a[(in_k + 0u) * 33u + in_size] = value;
    }
    for (var slot = local; slot < 512u; slot += 64u) { let in_k = slot / 32u; let in_size = slot % 32u * 1u;
      let at_k = k + in_k;
      let at = column + in_size;
      var value = f32();
      if (at_k < k_end && at < params.N) {
        value = read_b((b_start + at_k * params.N + at));
        
        
      }
      tile_b[in_k * 32u + in_size + 0u] = value;
    }
    workgroupBarrier(); // the tiles are complete
    for (var step = 0u; step < 16u; step += 1u) {
      { let right0 = vec4<f32>(tile_b[(step + 0u) * 32u + own_column + 0u], tile_b[(step + 0u) * 32u + own_column + 1u], tile_b[(step + 0u) * 32u + own_column + 2u], tile_b[(step + 0u) * 32u + own_column + 3u]);
let left0 = tile_a[(step + 0u) * 33u + own_row + 0u]; sum0_0 += left0 * right0;
let left1 = tile_a[(step + 0u) * 33u + own_row + 1u]; sum1_0 += left1 * right0;
let left2 = tile_a[(step + 0u) * 33u + own_row + 2u]; sum2_0 += left2 * right0;
let left3 = tile_a[(step + 0u) * 33u + own_row + 3u]; sum3_0 += left3 * right0; }
    }
    workgroupBarrier(); // everybody has read the tiles
  }

  finish(part, row + own_row + 0u, column + own_column + 0u, sum0_0);
  finish(part, row + own_row + 1u, column + own_column + 0u, sum1_0);
  finish(part, row + own_row + 2u, column + own_column + 0u, sum2_0);
  finish(part, row + own_row + 3u, column + own_column + 0u, sum3_0);
}