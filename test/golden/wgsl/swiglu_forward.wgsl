// swiglu.forward
struct Params {
  N: u32,
  F: u32,
  E: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<f32>;
@group(0) @binding(2) var<storage, read> up: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
fn read_gate(index: u32) -> f32 { return gate[index]; }
fn read_up(index: u32) -> f32 { return up[index]; }
fn write_y(index: u32, value: f32) { y[index] = value; }
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let i = workgroup_index(group, groups) * 64u + local;
  if (i >= params.E) { return; }
  let one = f32(1.0);
  let g = read_gate(i);
  let sigmoid = one / (one + exp(min(-g, f32(80.0))));
  write_y(i, g * sigmoid * read_up(i));
}