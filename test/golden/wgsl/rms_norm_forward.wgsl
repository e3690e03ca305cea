// rms_norm.forward
struct Params {
  N: u32,
  C: u32,
  eps: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>;
fn read_x(index: u32) -> f32 { return x[index]; }
fn write_y(index: u32, value: f32) { y[index] = value; }
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }


var<workgroup> row_partial: array<f32, 128>;
fn row_sum(value: f32, lane: u32) -> f32 {
  workgroupBarrier(); // earlier readers of row_partial are done
  row_partial[lane] = value;
  for (var width = 64u; width > 0u; width /= 2u) {
    workgroupBarrier(); // the level below is complete
    if (lane < width) { row_partial[lane] += row_partial[lane + width]; }
  }
  workgroupBarrier(); // the root is complete
  return row_partial[0];
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {

  let lane = local;
  let row = workgroup_index(group, groups);

  if (row >= params.N) { return; }
  let start = row * params.C;
  var squares = 0.0;
  for (var c = lane; c < params.C; c += 128u) { let value = read_x(start + c); squares += value * value; }
  let scale = inverseSqrt(row_sum(squares, lane) / f32(params.C) + params.eps);
  for (var c = lane; c < params.C; c += 128u) { write_y(start + c, read_x(start + c) * scale * gain[c]); }
  if (lane == 0u) { rstd[row] = scale; }
}