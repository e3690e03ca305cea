// linear_log_prob.logit_gradient
struct Params {
  N: u32,
  W: u32,
  first: u32,
  inverse_temperature: f32,
  width: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> label: array<u32>;
@group(0) @binding(2) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(3) var<storage, read> entropy: array<f32>;
@group(0) @binding(4) var<storage, read> up_log_prob: array<f32>;
@group(0) @binding(5) var<storage, read> up_entropy: array<f32>;
@group(0) @binding(6) var<storage, read_write> z: array<f32>;

fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * 64u + local;
  let per_row = params.W / 1u;
  let row = index / per_row;
  if (row >= params.N) { return; }
  let column = params.first + (index - row * per_row) * 1u;
  let log_p = z[index] * params.inverse_temperature - log_sum_exp[row];
  let p = exp(log_p);
  let hit = select(f32(0.0), f32(1.0), column == label[row]);
  z[index] = (up_log_prob[row] * (hit - p) - up_entropy[row] * p * (log_p + entropy[row])) * params.inverse_temperature;
}