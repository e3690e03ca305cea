// join_heads.forward
struct Params {
  H: u32,
  N: u32,
  D: u32,
  W: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
fn read_x(index: u32) -> f32 { return x[index]; }
fn write_y(index: u32, value: f32) { y[index] = value; }
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let element = workgroup_index(group, groups) * 64u + local;
  let row = element / params.W;
  let column = element % params.W;
  if (row >= params.N) { return; }
  write_y(element, read_x(((column / params.D) * params.N + row) * params.D + column % params.D));
}