// gather_rows.backward_x
struct Params {
  R: u32,
  C: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_y: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> sum: array<f32>;
fn read_d_y(index: u32) -> f32 { return d_y[index]; }
fn read_sum(index: u32) -> f32 { return sum[index]; }
fn write_sum(index: u32, value: f32) { sum[index] = value; }
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let element = workgroup_index(group, groups) * 64u + local;
  if (element >= params.R * params.C) { return; }
  let source = index[element / params.C] * params.C + element % params.C;
  write_sum(source, read_sum(source) + read_d_y(element));
}