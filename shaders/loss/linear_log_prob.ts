/**
 * Log-softmax over a vocabulary that is streamed in tiles of W columns; z is one tile of logits, [N, W].
 * Reductions: each lane adds its columns in ascending order, in blocks where it has the row to itself (`addColumns`), lanes in
 * the order of row_reduce.ts, tiles in ascending order.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { rowReduce } from "../row_reduce.js";
import { addColumns, type RowLayout, rowEntry } from "../rows.js";

/**
 * Adds one tile to each row's running (m, sum of e^(x-m), sum of e^(x-m) (x-m), x of the chosen token), x = z / temperature,
 * m the largest x so far. Sums relative to m keep their digits however large the logits are.
 */
export function scan(layout: RowLayout): string {
  return wgsl`
${rowReduce(layout, "row_sums", "vec2<f32>", "sum")}
${rowReduce(layout, "row_max", "f32", "max")}
${rowEntry(layout, "params.N")}
  let start = row * params.W;
  var largest = -3.0e38;
  for (var c = lane; c < params.W; c += ${layout.lanes}u) { largest = max(largest, z[start + c] * params.inverse_temperature); }
  largest = row_max(largest, lane);
  let before = running[row];
  let is_first = params.first == 0u;
  let top = select(max(before.x, largest), largest, is_first);
  var sums = vec2<f32>(0.0);
${addColumns(
  layout,
  "vec2<f32>",
  "params.W",
  `    let shifted = z[start + c] * params.inverse_temperature - top;
    let e = exp(shifted);
    let term = vec2<f32>(e, e * shifted);`,
)}
  sums = row_sums(sums, lane);
  if (lane == 0u) {
    var chosen = 0.0;
    if (!is_first) {
      let shift = before.x - top;
      let scale = exp(shift);
      sums += vec2<f32>(before.y, before.z + before.y * shift) * scale;
      chosen = before.w;
    }
    let column = label[row] - params.first; // wraps far beyond W for tokens of earlier tiles
    if (column < params.W) { chosen = z[start + column] * params.inverse_temperature; }
    running[row] = vec4<f32>(top, sums, chosen);
  }
}`;
}

/** Log-probability, entropy and log-sum-exp of each row from its running sums; one invocation a row. */
export function finish(): string {
  return wgsl`
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let row = workgroup_index(group, groups) * 64u + local;
  if (row >= params.N) { return; }
  let sums = running[row];
  let log_sum = log(sums.y);
  log_prob[row] = sums.w - sums.x - log_sum;
  entropy[row] = log_sum - sums.z / sums.y;
  log_sum_exp[row] = sums.x + log_sum;
}`;
}

/**
 * Turns a tile of logits into their gradient in place, one invocation `width` neighbouring columns:
 * d_z = (d_log_prob * ([column is the chosen token] - p) - d_entropy * p * (log p + entropy)) / temperature.
 * @param width 4 when W is a multiple of 4, else 1
 */
export function logitGradient(width: number): string {
  const type = width === 4 ? "vec4<f32>" : "f32";
  const columns = width === 4 ? "vec4<u32>(column) + vec4<u32>(0u, 1u, 2u, 3u)" : "column";
  return wgsl`
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * 64u + local;
  let per_row = params.W / ${width}u;
  let row = index / per_row;
  if (row >= params.N) { return; }
  let column = params.first + (index - row * per_row) * ${width}u;
  let log_p = z[index] * params.inverse_temperature - log_sum_exp[row];
  let p = exp(log_p);
  let hit = select(${type}(0.0), ${type}(1.0), ${columns} == ${width === 4 ? "vec4<u32>(label[row])" : "label[row]"});
  z[index] = (up_log_prob[row] * (hit - p) - up_entropy[row] * p * (log_p + entropy[row])) * params.inverse_temperature;
}`;
}
