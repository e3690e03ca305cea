// swiglu.backward
struct Params {
  N: u32,
  F: u32,
  E: u32,
  accumulate_d_gate: u32,
  accumulate_d_up: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<f32>;
@group(0) @binding(2) var<storage, read> up: array<f32>;
@group(0) @binding(3) var<storage, read> d_y: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_gate: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_up: array<f32>;
fn read_gate(index: u32) -> f32 { return gate[index]; }
fn read_up(index: u32) -> f32 { return up[index]; }
fn read_d_y(index: u32) -> f32 { return d_y[index]; }
fn store_d_gate(index: u32, value: f32) {
  var sum = value;
  if (params.accumulate_d_gate != 0u) { sum = d_gate[index] + value; }
  d_gate[index] = sum;
}
fn store_d_up(index: u32, value: f32) {
  var sum = value;
  if (params.accumulate_d_up != 0u) { sum = d_up[index] + value; }
  d_up[index] = sum;
}
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let i = workgroup_index(group, groups) * 64u + local;
  if (i >= params.E) { return; }
  let one = f32(1.0);
  let g = read_gate(i);
  let sigmoid = one / (one + exp(min(-g, f32(80.0))));
  let upstream = read_d_y(i);
  store_d_gate(i, upstream * read_up(i) * sigmoid * (one + g * (one - sigmoid)));
  store_d_up(i, upstream * g * sigmoid);
}