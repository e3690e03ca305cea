// policy_loss.gather
struct Params {
  N: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> old_log_prob: array<f32>;
@group(0) @binding(2) var<storage, read> advantage: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> count: array<f32>;
@group(0) @binding(5) var<storage, read> reference_log_prob: array<f32>;
@group(0) @binding(6) var<storage, read> stream: array<u32>;
@group(0) @binding(7) var<storage, read_write> told: array<vec4<f32>>;

fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let t = workgroup_index(group, groups) * 64u + local;
  if (t >= params.N) { return; }
  told[t * 2u] = vec4<f32>(old_log_prob[t], advantage[t], weight[t], count[t]);

  let reference = reference_log_prob[t];
  told[t * 2u + 1u] = vec4<f32>(reference, f32(stream[t] != 0u), 0.0, 0.0);

}