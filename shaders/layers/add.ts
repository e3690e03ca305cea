/** Elementwise addition: one invocation adds four consecutive floats (the last one the rest). No shared memory. */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

const head = wgsl`
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let start = (workgroup_index(group, groups) * 64u + local) * 4u;
  let end = min(start + 4u, params.E);`;

/** y = a + b. */
export function forward(): string {
  return wgsl`${head}
  for (var i = start; i < end; i++) { write_y(i, read_a(i) + read_b(i)); }
}`;
}

/** sum += source, or sum -= source. */
export function accumulate(sign: "+" | "-"): string {
  return wgsl`${head}
  for (var i = start; i < end; i++) { write_sum(i, read_sum(i) ${sign} read_source(i)); }
}`;
}
