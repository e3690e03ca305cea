// cross_entropy.tokens
struct Params {
  N: u32,
  P: u32,
  accumulate_d_log_prob: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> log_prob: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> loss_scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_log_prob: array<f32>;
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;
fn store_d_log_prob(index: u32, value: f32) {
  var sum = value;
  if (params.accumulate_d_log_prob != 0u) { sum = d_log_prob[index] + value; }
  d_log_prob[index] = sum;
}
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }


@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let part = workgroup_index(group, groups) * 64u + local;
  if (part >= params.P) { return; }
  let first = part * 16u;
  let last = min(first + 16u, params.N);
  let seed = loss_scale[0];
  var count = 0.0;
  var loss = 0.0;
  var likelihood = 0.0;
  for (var t = first; t < last; t++) {
    let w = weight[t];
    if (w > 0.0) {
      store_d_log_prob(t, -w * seed);
      count += 1.0;
      loss -= w * log_prob[t];
      likelihood += log_prob[t];
    } else {
      store_d_log_prob(t, 0.0);
    }
  }
  partial[part * 3u] = count;
  partial[part * 3u + 1u] = loss;
  partial[part * 3u + 2u] = likelihood;
}