// split_heads.forward
struct Params {
  N: u32,
  C: u32,
  H: u32,
  D: u32,
  first: u32,
  heads: u32,
  group_size: u32,
  width: u32,
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
  let row = element / params.D;
  let column = element % params.D;
  if (row >= params.H * params.N) { return; }
  let h = row / params.N;
  write_y(element, read_x((row % params.N) * params.C + params.first + (h / params.group_size) * params.D + column));
}