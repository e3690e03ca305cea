/** Inner products of per-sample gradients from products of tokens, without the gradients. One invocation an element, no shared memory. */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

export const WORKGROUP = 64;

const head = (count: string): string => `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  if (index >= ${count}) { return; }`;

/** y[n, place of c] = x[n, c] rows[n] columns[c]; with interleave 2 the even columns come first, then the odd ones. */
export function rowFactors(hasRows: boolean, hasColumns: boolean, interleave: number): string {
  return wgsl`${head("params.N * params.C")}
  let n = index / params.C;
  let c = index - n * params.C;
  let place = ${interleave === 2 ? "(c & 1u) * (params.C / 2u) + c / 2u" : "c"};
  y[n * params.C + place] = read_x(index)${hasRows ? " * rows[n]" : ""}${hasColumns ? " * columns[c]" : ""};
}`;
}

/**
 * sums[p, i, u] = sum over the tokens t of sample first + i, ascending, of left[t, u] right[p, t, u], for P kinds of right, R
 * samples, M tokens of theirs and W tokens u, in elements.
 */
export function columnPairs(element: string): string {
  return wgsl`${head("params.P * params.R * params.W")}
  let u = index % params.W;
  let i = index / params.W % params.R;
  let p = index / params.W / params.R;
  let start = offsets[params.first];
  var sum = ${element}();
  for (var t = offsets[params.first + i] - start; t < offsets[params.first + i + 1u] - start; t++) {
    sum += left[t * params.W + u] * right[(p * params.M + t) * params.W + u];
  }
  sums[index] = sum;
}`;
}

/**
 * gram[i, j] and gram[j, i] += sum over the tokens u of sample j, ascending, of sums[part, i, u], for i = first + 0 .. R - 1
 * and j = other + 0 .. Q - 1 not below i. The Gram of S samples begins at element `origin`.
 */
export function addPairs(): string {
  return wgsl`${head("params.R * params.Q")}
  let i = index / params.Q;
  let a = params.first + i;
  let b = params.other + index % params.Q;
  if (b < a) { return; }
  let start = offsets[params.other];
  let row = (params.part * params.R + i) * params.W;
  var sum = gram[params.origin + a * params.S + b];
  for (var u = offsets[b] - start; u < offsets[b + 1u] - start; u++) { sum += sums[row + u]; }
  gram[params.origin + a * params.S + b] = sum;
  gram[params.origin + b * params.S + a] = sum;
}`;
}
