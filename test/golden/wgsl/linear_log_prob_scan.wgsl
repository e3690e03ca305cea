// linear_log_prob.scan
struct Params {
  N: u32,
  W: u32,
  first: u32,
  inverse_temperature: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<f32>;
@group(0) @binding(2) var<storage, read> label: array<u32>;
@group(0) @binding(3) var<storage, read_write> running: array<vec4<f32>>;

fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }


var<workgroup> row_sums_values: array<vec2<f32>, 128>;
fn row_sums(value: vec2<f32>, lane: u32) -> vec2<f32> {
  workgroupBarrier(); // earlier readers are done
  row_sums_values[lane] = value;
  workgroupBarrier(); // every lane's value is there
  if (lane < 8u) {
    var part = row_sums_values[lane];
    for (var i = lane + 8u; i < 128u; i += 8u) { part = part + row_sums_values[i]; }
    row_sums_values[lane] = part;
  }
  workgroupBarrier(); // every group's value is there
  var all = row_sums_values[0];
  for (var i = 1u; i < 8u; i++) { all = all + row_sums_values[i]; }
  return all;
}

var<workgroup> row_max_values: array<f32, 128>;
fn row_max(value: f32, lane: u32) -> f32 {
  workgroupBarrier(); // earlier readers are done
  row_max_values[lane] = value;
  workgroupBarrier(); // every lane's value is there
  if (lane < 8u) {
    var part = row_max_values[lane];
    for (var i = lane + 8u; i < 128u; i += 8u) { part = max(part, row_max_values[i]); }
    row_max_values[lane] = part;
  }
  workgroupBarrier(); // every group's value is there
  var all = row_max_values[0];
  for (var i = 1u; i < 8u; i++) { all = max(all, row_max_values[i]); }
  return all;
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {

  let lane = local;
  let row = workgroup_index(group, groups);

  if (row >= params.N) { return; }
  let start = row * params.W;
  var largest = -3.0e38;
  for (var c = lane; c < params.W; c += 128u) { largest = max(largest, z[start + c] * params.inverse_temperature); }
  largest = row_max(largest, lane);
  let before = running[row];
  let is_first = params.first == 0u;
  let top = select(max(before.x, largest), largest, is_first);
  var sums = vec2<f32>(0.0);
  for (var c = lane; c < params.W; c += 128u) {
    let shifted = z[start + c] * params.inverse_temperature - top;
    let e = exp(shifted);
    let term = vec2<f32>(e, e * shifted);
    sums += term;
  }
  sums = row_sums(sums, lane);
  if (lane == 0u) {
    var chosen = 0.0;
    if (!is_first) {
      let shift = before.x - top;
      let scale = exp(shift);
      sums += vec2<f32>(before.y, before.z + before.y * shift) * scale;
      chosen = before.w;
    }
    let column = label[row] - params.first; // wraps far beyond W for tokens of earlier tiles
    if (column < params.W) { chosen = z[start + column] * params.inverse_temperature; }
    running[row] = vec4<f32>(top, sums, chosen);
  }
}