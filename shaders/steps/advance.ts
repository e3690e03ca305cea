/**
 * What a sampled token changes in the state of its sequence; one invocation a sequence. No shared memory, no reduction.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

export const WORKGROUP = 64;

/**
 * Row `first + b` of the state takes sampled[b]. `position` is the place of `token` in its sequence, `counter` the number
 * of tokens sampled. A sequence that has met an end token works on place 0 from then on, where its slot of the cache is
 * of no use to anybody and attention is short; running ones are past place 0, since prompts are not empty.
 */
export function advance(): string {
  return wgsl`
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let b = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  if (b >= params.B) { return; }
  let row = params.first + b;
  let place = position[row];
  if (place == 0u) { return; }
  let count = counter[row];
  let next = sampled[b];
  history_token[count * params.R + row] = next;
  history_log_prob[count * params.R + row] = log_prob[b];
  var is_end = false;
  for (var e = 0u; e < params.E; e++) { is_end = is_end || end_token[e] == next; }
  token[row] = next;
  counter[row] = count + 1u;
  // the place of the first sampled token is set before prefill
  position[row] = select(place + min(count, 1u), 0u, is_end);
}`;
}
