/**
 * RMS normalisation; see rows.ts for how rows map to invocations. Tensors are read as vec4 where C is a multiple of 4.
 * Reductions: each lane sums its channels, or rows, in ascending order; lanes are added as a fixed tree, or in order.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { type RowLayout, rowEntry, rowSum } from "../rows.js";

type Width = 1 | 4;

const elementOf = (width: Width): string => (width === 4 ? "vec4<f32>" : "f32");
const total = (width: Width, value: string): string =>
  width === 4 ? `dot(${value}, vec4<f32>(1.0))` : value;

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

/** `upstream(index)`: an element of d_y, or the sum of its parts in ascending order, d_y [P, N, C]. */
function upstream(width: Width, hasParts: boolean): string {
  if (!hasParts) return `fn upstream(index: u32) -> ${elementOf(width)} { return read_d_y(index); }`;
  return `fn upstream(index: u32) -> ${elementOf(width)} {
  var sum = read_d_y(index);
  for (var part = 1u; part < params.P; part++) { sum += read_d_y(part * params.N * (params.C / ${width}u) + index); }
  return sum;
}`;
}

/** d_x = rstd * (g - x * rstd^2 * mean(g * x)), with g = d_y * gain. */
export function backwardX(layout: RowLayout, width: Width, hasParts: boolean): string {
  return wgsl`
${upstream(width, hasParts)}
${rowSum(layout)}
${rowEntry(layout, "params.N")}
  let size = params.C / ${width}u;
  let start = row * size;
  var products = ${elementOf(width)}();
  for (var c = lane; c < size; c += ${layout.lanes}u) { products += upstream(start + c) * gain[c] * read_x(start + c); }
  let scale = rstd[row];
  let mean = row_sum(${total(width, "products")}, lane) * scale * scale / f32(params.C);
  for (var c = lane; c < size; c += ${layout.lanes}u) {
    store_d_x(start + c, scale * (upstream(start + c) * gain[c] - read_x(start + c) * mean));
  }
}`;
}

/** Channels and lanes of rows that share a workgroup of the gain gradient: as many invocations as `backwardX` has. */
function gainLayout({ lanes, rows }: RowLayout, width: Width): { columns: number; rowLanes: number } {
  const invocations = lanes * rows;
  const columns = lanes === 1 ? invocations : 16 / width;
  return { columns, rowLanes: invocations / columns };
}

export const gainWorkgroups = (layout: RowLayout, width: Width, C: number): number =>
  Math.ceil(C / width / gainLayout(layout, width).columns);

/**
 * d_gain = sum over rows of d_y * x * rstd. GPU: a workgroup has 16 channels, and 128 elements of shared memory in which its
 * lanes' sums meet after one barrier. CPU adapters: an invocation has four channels or one, and all rows.
 */
export function backwardGain(layout: RowLayout, width: Width, hasParts: boolean): string {
  const { columns, rowLanes } = gainLayout(layout, width);
  return wgsl`
${upstream(width, hasParts)}
#if ${rowLanes > 1}
var<workgroup> gain_parts: array<${elementOf(width)}, ${columns * rowLanes}>;
#endif
@compute @workgroup_size(${columns * rowLanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let size = params.C / ${width}u;
  let lane = local / ${columns}u;
  let c = workgroup_index(group, groups) * ${columns}u + local % ${columns}u;
  var sum = ${elementOf(width)}();
  if (c < size) {
    for (var row = lane; row < params.N; row += ${rowLanes}u) {
      sum += upstream(row * size + c) * read_x(row * size + c) * rstd[row];
    }
  }
#if ${rowLanes > 1}
  gain_parts[local] = sum;
  workgroupBarrier(); // the sums of all lanes are there
  for (var i = 1u; i < ${rowLanes}u; i++) { sum += gain_parts[i * ${columns}u + local % ${columns}u]; }
#endif
  if (lane == 0u && c < size) { store_d_gain(c, sum); }
}`;
}
