/**
 * Rows of an embedding matrix. One invocation owns one element of a row: a float, or four neighbouring ones where the
 * width allows it. No shared memory.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

export const WORKGROUP = 64;

const head = (width: number, rows: string): string => wgsl`
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  let row = index / ${width}u;
  if (row >= ${rows}) { return; }
  let column = index % ${width}u;`;

/** y[n] = weight[token[n]]. @param width elements of a row */
export function forward(width: number): string {
  return wgsl`${head(width, "params.N")}
  write_y(index, read_weight(token[row] * ${width}u + column));
}`;
}

/** The same for tokens among the rows of one piece of the weight; other rows of y stay as they are. */
export function forwardPiece(width: number): string {
  return wgsl`${head(width, "params.N")}
  let place = token[row] - params.first;
  if (token[row] < params.first || place >= params.rows) { return; }
  write_y(index, read_weight(place * ${width}u + column));
}`;
}

/** d_weight[id[u]] += sum of d_y over the tokens order[segment_start[u]] .. of that id, in ascending order of position. */
export function backward(element: string, width: number): string {
  return gradient(element, width, "", "id[row]");
}

/** The same for ids among the rows of one piece. */
export function backwardPiece(element: string, width: number): string {
  const guard = `
  let place = id[row] - params.first;
  if (id[row] < params.first || place >= params.rows) { return; }`;
  return gradient(element, width, guard, "place");
}

function gradient(element: string, width: number, guard: string, place: string): string {
  return wgsl`${head(width, "params.U")}${guard}
  var sum = ${element}();
  for (var at = segment_start[row]; at < segment_start[row + 1u]; at++) { sum += read_d_y(order[at] * ${width}u + column); }
  store_d_weight(${place} * ${width}u + column, sum);
}`;
}
