// causal_softmax.forward
struct Params {
  H: u32,
  N: u32,
  scale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<f32>;
@group(0) @binding(2) var<storage, read> sequence_start: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
fn read_scores(index: u32) -> f32 { return scores[index]; }
fn write_y(index: u32, value: f32) { y[index] = value; }
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let row = workgroup_index(group, groups) * 64u + local;
  if (row >= params.H * params.N) { return; }
  let i = row % params.N;
  let start = sequence_start[i];
  let first = row * params.N;
  var largest = read_scores(first + start);
  for (var j = start + 1u; j <= i; j++) { largest = max(largest, read_scores(first + j)); }
  var total = 0.0;
  for (var j = start; j <= i; j++) { total += exp(params.scale * (read_scores(first + j) - largest)); }
  for (var j = 0u; j < params.N; j++) {
    var share = 0.0;
    if (j >= start && j <= i) { share = exp(params.scale * (read_scores(first + j) - largest)) / total; }
    write_y(first + j, share);
  }
}