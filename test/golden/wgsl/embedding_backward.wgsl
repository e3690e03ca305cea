// embedding.backward
struct Params {
  C: u32,
  U: u32,
  accumulate_d_weight: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_y: array<f32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read> id: array<u32>;
@group(0) @binding(4) var<storage, read> segment_start: array<u32>;
@group(0) @binding(5) var<storage, read_write> d_weight: array<f32>;
fn read_d_y(index: u32) -> f32 { return d_y[index]; }
fn store_d_weight(index: u32, value: f32) {
  var sum = value;
  if (params.accumulate_d_weight != 0u) { sum = d_weight[index] + value; }
  d_weight[index] = sum;
}
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * 64u + local;
  let row = index / 1u;
  if (row >= params.U) { return; }
  let column = index % 1u;
  var sum = f32();
  for (var at = segment_start[row]; at < segment_start[row + 1u]; at++) { sum += read_d_y(order[at] * 1u + column); }
  store_d_weight(id[row] * 1u + column, sum);
}