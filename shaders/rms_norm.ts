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
  for (var c = lane; c < params.C; c += ${layout.lanes}u) { let value = read_x(start + c); squares += value * value; }
  let scale = inverseSqrt(row_sum(squares, lane) / f32(params.C) + params.eps);
  for (var c = lane; c < params.C; c += ${layout.lanes}u) { write_y(start + c, read_x(start + c) * scale * gain[c]); }
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
  for (var c = lane; c < params.C; c += ${layout.lanes}u) { dot += read_d_y(start + c) * gain[c] * read_x(start + c); }
  let scale = rstd[row];
  let mean = row_sum(dot, lane) * scale * scale / f32(params.C);
  for (var c = lane; c < params.C; c += ${layout.lanes}u) {
    store_d_x(start + c, scale * (read_d_y(start + c) * gain[c] - read_x(start + c) * mean));
  }
}`;
}
