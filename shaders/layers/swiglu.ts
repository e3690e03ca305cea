/**
 * Gated activation y = silu(gate) * up. One invocation owns one element: a float, or four neighbouring ones where the
 * width allows it. No shared memory, no reduction.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

export const WORKGROUP = 64;

/** exp(-gate) is kept finite: past 80 the sigmoid is below 2e-35 either way. */
const head = (element: string): string => wgsl`
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  if (i >= params.E) { return; }
  let one = ${element}(1.0);
  let g = read_gate(i);
  let sigmoid = one / (one + exp(min(-g, ${element}(80.0))));`;

export function forward(element: string): string {
  return wgsl`${head(element)}
  write_y(i, g * sigmoid * read_up(i));
}`;
}

/** d_up = d_y silu(gate); d_gate = d_y up sigmoid (1 + gate (1 - sigmoid)). */
export function backward(element: string): string {
  return wgsl`${head(element)}
  let upstream = read_d_y(i);
  store_d_gate(i, upstream * read_up(i) * sigmoid * (one + g * (one - sigmoid)));
  store_d_up(i, upstream * g * sigmoid);
}`;
}
