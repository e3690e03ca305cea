/**
 * RMS normalisation. One workgroup of the GPU layout computes one row; see rows.ts for the row layouts.
 * Reductions: each lane sums its channels in ascending order, lanes are added as a fixed tree.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { type RowLayout, rowEntry, rowSum } from "./rows.js";

/** y = x * rstd * gain, one row of C channels. */
export function forward(layout: RowLayout): string {
  return wgsl`
${rowSum(layout)}
${rowEntry(layout, "params.N")}
  let start = row * params.C;
  var squares = 0.0;
  for (var c = lane; c < params.C; c += ${layout.lanes}u) { squares += x[start + c] * x[start + c]; }
  let scale = inverseSqrt(row_sum(squares, lane) / f32(params.C) + params.eps);
  for (var c = lane; c < params.C; c += ${layout.lanes}u) { y[start + c] = x[start + c] * scale * gain[c]; }
  if (lane == 0u) { rstd[row] = scale; }
}`;
}

/** d_x = rstd * (g - x * rstd^2 * mean(g * x)), with g = d_y * gain. */
export function backwardX(layout: RowLayout): string {
  return wgsl`
${rowSum(layout)}
${rowEntry(layout, "params.N")}
  let start = row * params.C;
  var dot = 0.0;
  for (var c = lane; c < params.C; c += ${layout.lanes}u) { dot += d_y[start + c] * gain[c] * x[start + c]; }
  let scale = rstd[row];
  let mean = row_sum(dot, lane) * scale * scale / f32(params.C);
  for (var c = lane; c < params.C; c += ${layout.lanes}u) {
    store_d_x(start + c, scale * (d_y[start + c] * gain[c] - x[start + c] * mean));
  }
}`;
}

/** Partial column sums of d_y * x * rstd: workgroup p adds rows [p * R, p * R + R) of 64 channels, one channel an invocation. */
export function backwardGainPartial(): string {
  return wgsl`
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups);
  let blocks = (params.C + 63u) / 64u;
  let part = index / blocks;
  let c = (index % blocks) * 64u + local;
  if (part >= params.P || c >= params.C) { return; }
  var sum = 0.0;
  for (var row = part * params.R; row < min(params.N, (part + 1u) * params.R); row++) {
    sum += d_y[row * params.C + c] * x[row * params.C + c] * rstd[row];
  }
  partial[part * params.C + c] = sum;
}`;
}

/** d_gain = sum of the partials in ascending order, one channel an invocation. */
export function backwardGain(): string {
  return wgsl`
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.C) { return; }
  var sum = 0.0;
  for (var part = 0u; part < params.P; part++) { sum += partial[part * params.C + id.x]; }
  store_d_gain(id.x, sum);
}`;
}
