/**
 * Statistics over tokens, in two passes of fixed order. Pass 1 belongs to the op: one invocation adds 16 consecutive
 * tokens and writes one line of `partial` [P, S]. Pass 2, here: one row of lanes adds one column, lane l the lines
 * l, l + lanes, ... in ascending order, then the lanes as a tree.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { rowReduce } from "../row_reduce.js";
import { type RowLayout, rowEntry, rowSum } from "../rows.js";

/** Tokens one invocation of pass 1 adds. */
export const TOKENS_PER_PART = 16;

/** `exp_minus_linear(d)`: exp(d) - d - 1, by its series near 0 where the difference would cancel. */
export const expMinusLinear = `
fn exp_minus_linear(d: f32) -> f32 {
  return select(exp(d) - d - 1.0, d * d * (0.5 + d * (0.16666667 + d * 0.041666668)), abs(d) < 0.02);
}`;

/** Head of pass 1: declares `part` and its tokens `first` to `last` (excluded). */
export const tokenPart = wgsl`
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let part = workgroup_index(group, groups) * 64u + local;
  if (part >= params.P) { return; }
  let first = part * ${TOKENS_PER_PART}u;
  let last = min(first + ${TOKENS_PER_PART}u, params.N);`;

/**
 * stats[s] = sum over the lines of partial[line, s]; where s mod `period` is `maximum`, the largest instead.
 * @param columns S
 */
export function total(layout: RowLayout, columns: number, period: number, maximum: number): string {
  return wgsl`
${rowSum(layout)}
${rowReduce(layout, "row_max", "f32", "max")}
${rowEntry(layout, `${columns}u`)}
  var sum = 0.0;
  var largest = 0.0;
  for (var line = lane; line < params.P; line += ${layout.lanes}u) {
    let value = partial[line * ${columns}u + row];
    sum += value;
    largest = max(largest, value);
  }
  sum = row_sum(sum, lane);
  largest = row_max(largest, lane);
  if (lane == 0u) { stats[row] = select(sum, largest, row % ${period}u == ${maximum}u); }
}`;
}
