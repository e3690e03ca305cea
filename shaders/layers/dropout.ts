/** Leaves elements out at random: one invocation an element. No shared memory, no reduction. */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { philox } from "../philox.js";

const WORKGROUP = 64;

/** Workgroups for that many elements. */
export const workgroupsFor = (elements: number): number => Math.ceil(elements / WORKGROUP);

/** `factor` of an element: 0, or scale / (1 - rate). */
const head = wgsl`${philox}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let element = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  if (element >= params.N * params.C) { return; }
  let kept = uniform_of(vec4<u32>(element, 0u, 0u, 0u)) >= params.rate;
  let factor = select(0.0, params.scale / (1.0 - params.rate), kept);`;

export function forward(): string {
  return wgsl`${head}
  write_y(element, factor * read_x(element));
}`;
}

export function backward(): string {
  return wgsl`${head}
  store_d_x(element, factor * read_d_y(element));
}`;
}
