// token_log_prob.backward
struct Params {
  N: u32,
  V: u32,
  temperature: f32,
  accumulate_d_logits: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> label: array<u32>;
@group(0) @binding(3) var<storage, read> entropy: array<f32>;
@group(0) @binding(4) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(5) var<storage, read> d_log_prob: array<f32>;
@group(0) @binding(6) var<storage, read> d_entropy: array<f32>;
@group(0) @binding(7) var<storage, read_write> d_logits: array<f32>;
fn store_d_logits(index: u32, value: f32) {
  var sum = value;
  if (params.accumulate_d_logits != 0u) { sum = d_logits[index] + value; }
  d_logits[index] = sum;
}
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let element = workgroup_index(group, groups) * 64u + local;
  let row = element / params.V;
  if (row >= params.N) { return; }
  let log_p = logits[element] / params.temperature - log_sum_exp[row];
  let p = exp(log_p);
  let hit = select(0.0, 1.0, element % params.V == label[row]);
  store_d_logits(element, (d_log_prob[row] * (hit - p) - d_entropy[row] * p * (log_p + entropy[row])) / params.temperature);
}