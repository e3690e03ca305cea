/** Columns of matrices: one invocation moves one element. No shared memory, no reduction. */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

const WORKGROUP = 64;

/** Workgroups for that many elements. */
export const workgroupsFor = (elements: number): number => Math.ceil(elements / WORKGROUP);

/** Declares `element`, and its `row` and `column` in a matrix of `width` columns; returns past the last of `rows`. */
export const elementEntry = (width: string, rows = "params.N"): string => wgsl`
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let element = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  let row = element / ${width};
  let column = element % ${width};
  if (row >= ${rows}) { return; }`;

/** y[n, k] = x[n, first + stride k]. */
export function slice(): string {
  return wgsl`${elementEntry("params.K")}
  write_y(element, read_x(row * params.C + params.first + params.stride * column));
}`;
}

/** d_x[n, c]: d_y of the column that c became, 0 for columns that were left out. */
export function sliceBackward(): string {
  return wgsl`${elementEntry("params.C")}
  let distance = column - params.first; // wraps far beyond K for columns before the first
  let k = distance / params.stride;
  var upstream = 0.0;
  if (k < params.K && distance % params.stride == 0u) { upstream = read_d_y(row * params.K + k); }
  store_d_x(element, upstream);
}`;
}

/** y[n] = a[n], then b[n]. */
export function concat(): string {
  return wgsl`${elementEntry("params.W")}
  if (column < params.A) { write_y(element, read_a(row * params.A + column)); }
  else { write_y(element, read_b(row * params.B + column - params.A)); }
}`;
}

export function concatBackwardA(): string {
  return wgsl`${elementEntry("params.A")}
  store_d_a(element, read_d_y(row * params.W + column));
}`;
}

export function concatBackwardB(): string {
  return wgsl`${elementEntry("params.B")}
  store_d_b(element, read_d_y(row * params.W + params.A + column));
}`;
}
