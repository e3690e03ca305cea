/** Softmax over the keys of one sequence up to the row's own token: one invocation a row, keys in ascending order. */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

const WORKGROUP = 64;

export const workgroupsFor = (rows: number): number => Math.ceil(rows / WORKGROUP);

/** Declares `row`, the token `i` that it belongs to, and the first key that counts. */
const head = wgsl`
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let row = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  if (row >= params.H * params.N) { return; }
  let i = row % params.N;
  let start = sequence_start[i];
  let first = row * params.N;`;

/** y[h, i, j] = exp(scale (s_ij - max)) / sum for start_i <= j <= i, else 0. */
export function forward(): string {
  return wgsl`${head}
  var largest = read_scores(first + start);
  for (var j = start + 1u; j <= i; j++) { largest = max(largest, read_scores(first + j)); }
  var total = 0.0;
  for (var j = start; j <= i; j++) { total += exp(params.scale * (read_scores(first + j) - largest)); }
  for (var j = 0u; j < params.N; j++) {
    var share = 0.0;
    if (j >= start && j <= i) { share = exp(params.scale * (read_scores(first + j) - largest)) / total; }
    write_y(first + j, share);
  }
}`;
}

/** d_s = scale y (d_y - sum_k y_k d_y_k). */
export function backward(): string {
  return wgsl`${head}
  var mean = 0.0;
  for (var j = start; j <= i; j++) { mean += read_y(first + j) * read_d_y(first + j); }
  for (var j = 0u; j < params.N; j++) {
    var gradient = 0.0;
    if (j >= start && j <= i) { gradient = params.scale * read_y(first + j) * (read_d_y(first + j) - mean); }
    store_d_scores(first + j, gradient);
  }
}`;
}
