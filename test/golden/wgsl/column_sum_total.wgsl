// column_sum.total
struct Params {
  N: u32,
  C: u32,
  P: u32,
  R: u32,
  accumulate_d_y: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_y: array<f32>;
fn store_d_y(index: u32, value: f32) {
  var sum = value;
  if (params.accumulate_d_y != 0u) { sum = d_y[index] + value; }
  d_y[index] = sum;
}
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let c = workgroup_index(group, groups) * 64u + local;
  if (c >= params.C) { return; }
  var sum = 0.0;
  for (var part = 0u; part < params.P; part++) { sum += partial[part * params.C + c]; }
  store_d_y(c, sum);
}