/**
 * Gradients of vectors and looked-up rows, sample by sample. One invocation owns four neighbouring channels (or one) of one
 * sample and adds its rows in ascending order. No shared memory.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

export const WORKGROUP = 64;

const head = (rows: string): string => `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  let row = index / params.C;
  if (row >= ${rows}) { return; }
  let c = index - row * params.C;`;

/**
 * sums[s, c] = sum over rows n of sample s, and over parts of gradient [P, N, C], of gradient[n, c] input[n, c] factor[n], the
 * last two where `hasInput`; C in elements.
 */
export function gain(element: string, hasInput: boolean): string {
  return wgsl`${head("params.S")}
  var sum = ${element}();
  for (var n = offsets[row]; n < offsets[row + 1u]; n++) {
    var upstream = read_gradient(n * params.C + c);
    for (var part = 1u; part < params.P; part++) { upstream += read_gradient((part * params.N + n) * params.C + c); }
    sum += upstream${hasInput ? " * read_input(n * params.C + c) * factor[n]" : ""};
  }
  sums[index] = sum;
}`;
}

/**
 * sums[s, row of u, c] = sum of gradient[order[at], c] over `at` from pair_start[u, s] to pair_start[u, s + 1], for the U
 * looked-up rows from `first` on; sums are [S, R, C]. Row of u: u - first, or place[u].
 */
export function lookup(element: string, hasPlace: boolean, adds: boolean): string {
  return wgsl`${head("params.S * params.U")}
  let s = row / params.U;
  let u = params.first + row % params.U;
  var sum = ${element}();
  let pair = u * params.S + s;
  for (var at = pair_start[pair]; at < pair_start[pair + 1u]; at++) { sum += read_gradient(order[at] * params.C + c); }
  let goal = (s * params.R + ${hasPlace ? "place[u]" : "u - params.first"}) * params.C + c;
#if ${adds}
  sum += sums[goal];
#endif
  sums[goal] = sum;
}`;
}

/** picked[r, u] = z[r, id[u] - first] for the U columns whose id lies in the tile of W columns from `first` on. */
export function pickColumns(): string {
  return wgsl`
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  let row = index / params.U;
  if (row >= params.N) { return; }
  let column = id[index - row * params.U] - params.first; // wraps far beyond W for ids of earlier tiles
  if (column < params.W) { picked[index] = z[row * params.W + column]; }
}`;
}

/** masked[r, w] = 0 where used[first + w], else z[r, w]; z [N, W]. */
export function maskColumns(): string {
  return wgsl`
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  if (index >= params.N * params.W) { return; }
  masked[index] = select(z[index], 0.0, used[params.first + index % params.W] != 0u);
}`;
}
