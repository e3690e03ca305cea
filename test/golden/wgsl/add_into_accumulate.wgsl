// add_into.accumulate
struct Params {
  E: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<f32>;
@group(0) @binding(2) var<storage, read_write> sum: array<f32>;
fn read_source(index: u32) -> f32 { return source[index]; }
fn read_sum(index: u32) -> f32 { return sum[index]; }
fn write_sum(index: u32, value: f32) { sum[index] = value; }
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let start = (workgroup_index(group, groups) * 64u + local) * 4u;
  let end = min(start + 4u, params.E);
  for (var i = start; i < end; i++) { write_sum(i, read_sum(i) + read_source(i)); }
}