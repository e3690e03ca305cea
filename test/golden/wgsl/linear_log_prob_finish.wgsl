// linear_log_prob.finish
struct Params {
  N: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> running: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> log_prob: array<f32>;
@group(0) @binding(3) var<storage, read_write> entropy: array<f32>;
@group(0) @binding(4) var<storage, read_write> log_sum_exp: array<f32>;

fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let row = workgroup_index(group, groups) * 64u + local;
  if (row >= params.N) { return; }
  let sums = running[row];
  let log_sum = log(sums.y);
  log_prob[row] = sums.w - sums.x - log_sum;
  entropy[row] = log_sum - sums.z / sums.y;
  log_sum_exp[row] = sums.x + log_sum;
}