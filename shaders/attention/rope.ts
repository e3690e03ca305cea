/**
 * Rotary position embedding. One invocation owns one column of pairs (or four neighbouring columns, when the half width
 * is a multiple of four) of one token and rotates it in every head, so that cosines and sines are read once.
 * No shared memory, no reduction.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

export interface RopeText {
  /** Element type of all arrays: `f32`, or `vec4<f32>` when headDim is a multiple of 8. */
  readonly element: string;
  /** Columns of pairs per head, in elements. */
  readonly half: number;
  readonly heads: number;
}

export const WORKGROUP = 64;

/** Rotates `source` by +angle (sign 1) or -angle (sign -1): (a, b) -> (a cos - b sin, b cos + a sin). */
function rotate(
  { element, half, heads }: RopeText,
  source: string,
  sign: 1 | -1,
  store: (at: string, value: string) => string,
): string {
  return wgsl`
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  let row = index / ${half}u;
  if (row >= params.N) { return; }
  let column = index % ${half}u;
  let angles = position[row] * ${2 * half}u + column;
  let cosine = table[angles];
  let sine: ${element} = ${sign === 1 ? "" : "-"}table[angles + ${half}u];
  for (var head = 0u; head < ${heads}u; head++) {
    let at = (row * ${heads}u + head) * ${2 * half}u + column;
    let a = read_${source}(at);
    let b = read_${source}(at + ${half}u);
    ${store("at", "a * cosine - b * sine")}
    ${store(`at + ${half}u`, "b * cosine + a * sine")}
  }
}`;
}

/** y = x rotated by the angle of its position. */
export function forward(text: RopeText): string {
  return rotate(text, "x", 1, (at, value) => `write_y(${at}, ${value});`);
}

/** d_x = d_y rotated back. */
export function backward(text: RopeText): string {
  return rotate(text, "d_y", -1, (at, value) => `store_d_x(${at}, ${value});`);
}
