/** Entries of seeded projections: signs made of a hash, no table. One invocation an element, no shared memory. */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

export const WORKGROUP = 64;

/** Entry (row, column) of a projection: 1 / sqrt(rows) with a sign, or of the unit matrix. The mixing is murmur3's last step. */
const entry = `
fn mixed(value: u32) -> u32 {
  var h = value;
  h = (h ^ (h >> 16u)) * 0x85ebca6bu;
  h = (h ^ (h >> 13u)) * 0xc2b2ae35u;
  return h ^ (h >> 16u);
}
fn projection(row: u32, column: u32) -> f32 {
  if (params.is_unit == 1u) { return select(0.0, 1.0, row == column); }
  return select(params.size, -params.size, mixed(column ^ mixed(row ^ params.key)) >= 0x80000000u);
}`;

const head = (count: string): string => `${entry}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  if (index >= ${count}) { return; }`;

/** y[r, start + c] = entry (r, first + c), for C columns of y [R, pitch]. */
export function fill(): string {
  return wgsl`${head("params.R * params.C")}
  let r = index / params.C;
  let c = index - r * params.C;
  y[r * params.pitch + params.start + c] = projection(r, params.first + c);
}`;
}

/** y[n, r] = entry (r, token[n]). */
export function lookedUp(): string {
  return wgsl`${head("params.N * params.R")}
  y[index] = projection(index % params.R, token[index / params.R]);
}`;
}
