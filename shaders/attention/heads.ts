/** Columns of heads as matrices of their own, and back: one invocation moves one element. No shared memory. */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

const WORKGROUP = 64;

/** Workgroups for that many elements. */
export const workgroupsFor = (elements: number): number => Math.ceil(elements / WORKGROUP);

/** Declares `element`, the row of a matrix of `width` columns and the column in it. */
const head = (rows: string, width: string): string => wgsl`
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let element = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  let row = element / ${width};
  let column = element % ${width};
  if (row >= ${rows}) { return; }`;

/** y[h, n, d] = x[n, first + floor(h / group_size) D + d]. */
export function split(): string {
  return wgsl`${head("params.H * params.N", "params.D")}
  let h = row / params.N;
  write_y(element, read_x((row % params.N) * params.C + params.first + (h / params.group_size) * params.D + column));
}`;
}

/** d_x[n, c]: d_y of the heads that read the column, in ascending order; 0 where none did. */
export function splitBackward(): string {
  return wgsl`${head("params.N", "params.C")}
  let place = column - params.first; // wraps far beyond the heads for columns before the first
  let lowest = place / params.D * params.group_size;
  var upstream = 0.0;
  if (place < params.H / params.group_size * params.D) {
    for (var h = lowest; h < lowest + params.group_size; h++) {
      upstream += read_d_y((h * params.N + row) * params.D + place % params.D);
    }
  }
  store_d_x(element, upstream);
}`;
}

/** y[n, h D + d] = x[h, n, d]. */
export function join(): string {
  return wgsl`${head("params.N", "params.W")}
  write_y(element, read_x(((column / params.D) * params.N + row) * params.D + column % params.D));
}`;
}

export function joinBackward(): string {
  return wgsl`${head("params.H * params.N", "params.D")}
  store_d_x(element, read_d_y((row % params.N) * params.W + (row / params.N) * params.D + column));
}`;
}
