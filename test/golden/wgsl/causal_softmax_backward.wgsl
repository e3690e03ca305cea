// causal_softmax.backward
struct Params {
  H: u32,
  N: u32,
  scale: f32,
  accumulate_d_scores: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sequence_start: array<u32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> d_y: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_scores: array<f32>;
fn read_y(index: u32) -> f32 { return y[index]; }
fn read_d_y(index: u32) -> f32 { return d_y[index]; }
fn store_d_scores(index: u32, value: f32) {
  var sum = value;
  if (params.accumulate_d_scores != 0u) { sum = d_scores[index] + value; }
  d_scores[index] = sum;
}
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let row = workgroup_index(group, groups) * 64u + local;
  if (row >= params.H * params.N) { return; }
  let i = row % params.N;
  let start = sequence_start[i];
  let first = row * params.N;
  var mean = 0.0;
  for (var j = start; j <= i; j++) { mean += read_y(first + j) * read_d_y(first + j); }
  for (var j = 0u; j < params.N; j++) {
    var gradient = 0.0;
    if (j >= start && j <= i) { gradient = params.scale * read_y(first + j) * (read_d_y(first + j) - mean); }
    store_d_scores(first + j, gradient);
  }
}