/** Rows by index: one invocation moves one element. No shared memory, no reduction (indices are distinct). */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

const head = wgsl`
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let element = workgroup_index(group, groups) * 64u + local;
  if (element >= params.R * params.C) { return; }
  let source = index[element / params.C] * params.C + element % params.C;`;

/** y[r] = x[index[r]]. */
export function forward(): string {
  return wgsl`${head}
  write_y(element, read_x(source));
}`;
}

/** d_x[index[r]] += d_y[r]; rows of d_x that nothing points to were cleared or hold earlier gradients. */
export function scatter(): string {
  return wgsl`${head}
  write_sum(source, read_sum(source) + read_d_y(element));
}`;
}
