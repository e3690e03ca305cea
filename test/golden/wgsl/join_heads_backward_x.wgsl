// join_heads.backward_x
struct Params {
  H: u32,
  N: u32,
  D: u32,
  W: u32,
  accumulate_d_x: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_y: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_x: array<f32>;
fn read_d_y(index: u32) -> f32 { return d_y[index]; }
fn store_d_x(index: u32, value: f32) {
  var sum = value;
  if (params.accumulate_d_x != 0u) { sum = d_x[index] + value; }
  d_x[index] = sum;
}
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let element = workgroup_index(group, groups) * 64u + local;
  let row = element / params.D;
  let column = element % params.D;
  if (row >= params.H * params.N) { return; }
  store_d_x(element, read_d_y((row % params.N) * params.W + (row / params.N) * params.D + column));
}