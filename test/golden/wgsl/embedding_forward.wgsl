// embedding.forward
struct Params {
  N: u32,
  V: u32,
  C: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> token: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
fn read_weight(index: u32) -> f32 { return weight[index]; }
fn write_y(index: u32, value: f32) { y[index] = value; }
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * 64u + local;
  let row = index / 1u;
  if (row >= params.N) { return; }
  let column = index % 1u;
  write_y(index, read_weight(token[row] * 1u + column));
}