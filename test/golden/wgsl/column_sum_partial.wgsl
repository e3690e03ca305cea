// column_sum.partial
struct Params {
  N: u32,
  C: u32,
  P: u32,
  R: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;
fn read_x(index: u32) -> f32 { return x[index]; }
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups);
  let blocks = (params.C + 63u) / 64u;
  let part = index / blocks;
  let c = (index % blocks) * 64u + local;
  if (part >= params.P || c >= params.C) { return; }
  var sum = 0.0;
  for (var row = part * params.R; row < min(params.N, (part + 1u) * params.R); row++) { sum += read_x(row * params.C + c); }
  partial[part * params.C + c] = sum;
}