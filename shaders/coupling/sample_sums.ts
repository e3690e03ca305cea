/** What is summed from per-sample gradients x [S, pitch] while they are in memory. */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { type RowLayout, rowEntry, rowSum } from "../rows.js";

export const WORKGROUP = 64;

const head = (count: string): string => `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  if (index >= ${count}) { return; }`;

/**
 * gram[i, j] and gram[j, i] += sum over parts p from `first` to `end` of parts[p, i, j], in ascending order, for j >= i; one
 * invocation an element of [S, S]. The Gram begins at element `origin`.
 */
export function addParts(): string {
  return wgsl`${head("params.S * params.S")}
  let i = index / params.S;
  let j = index % params.S;
  if (j < i) { return; }
  var sum = gram[params.origin + index];
  for (var p = params.first; p < params.end; p++) { sum += parts[p * params.S * params.S + index]; }
  gram[params.origin + index] = sum;
  gram[params.origin + j * params.S + i] = sum;
}`;
}

/** Row of the parameter that row `r` of the region is. */
const targetRow = (hasRows: boolean, r: string): string =>
  hasRows ? `row_of[params.origin + ${r}]` : `(params.origin + params.stride * (${r}))`;

/**
 * d_y[target row of r, c] (+)= sum over samples, in ascending order, of coefficient[s] x[s, start + r C + c], for the R rows of
 * a region; one invocation an element, or four neighbouring ones. Sizes are in elements.
 */
export function weighted(element: string, hasRows: boolean): string {
  return wgsl`${head("params.R * params.C")}
  let r = index / params.C;
  let c = index - r * params.C;
  var sum = ${element}();
  for (var s = 0u; s < params.S; s++) { sum += coefficient[s] * x[s * params.pitch + params.start + index]; }
  store_d_y(${targetRow(hasRows, "r")} * params.C + c, sum);
}`;
}

/**
 * dots[p, s, d] = sum over the elements of part p of x[s, .] direction_d, d = 0 .. D - 1, and dots[p, s, D] that of x[s, .]^2.
 * A row of lanes owns (p, s): lane l adds elements l, l + lanes, ... in ascending order, then the lanes as a tree
 * (shaders/rows.ts). Sizes are in elements of `width` floats; parts begin at `part_offset`, in floats.
 */
export function dots(
  layout: RowLayout,
  width: 1 | 4,
  D: number,
  hasRows: boolean,
  isStrided: boolean,
): string {
  const element = width === 4 ? "vec4<f32>" : "f32";
  const each = (line: (d: number) => string): string =>
    Array.from({ length: D }, (_, d) => line(d)).join("\n");
  const total = (value: string) => (width === 1 ? value : `dot(${value}, vec4<f32>(1.0))`);
  const place =
    hasRows || isStrided
      ? `${targetRow(hasRows, "at / params.C")} * params.C + at % params.C`
      : "params.origin * params.C + at";
  return wgsl`
${rowSum(layout)}
${rowEntry(layout, "(params.end - params.first) * params.S")}
  let part = params.first + row / params.S;
  let s = row % params.S;
  let end = part_offset[part + 1u] / ${width}u;
  var squares = ${element}();
${each((d) => `  var sum${d} = ${element}();`)}
  for (var e = part_offset[part] / ${width}u + lane; e < end; e += ${layout.lanes}u) {
    let value = x[s * params.pitch + e];
    squares += value * value;
#if ${D > 0}
    let at = e - params.start;
    let place = ${place};
#endif
${each((d) => `    sum${d} += value * direction${d}[place];`)}
  }
${each((d) => `  let total${d} = row_sum(${total(`sum${d}`)}, lane);`)}
  let norm = row_sum(${total("squares")}, lane);
  if (lane == 0u) {
    let start = (part * params.S + s) * ${D + 1}u;
${each((d) => `    dots[start + ${d}u] = total${d};`)}
    dots[start + ${D}u] = norm;
  }
}`;
}

/** sums[s, d] += sum over parts p from `first` to `end` of dots[p, s, d], in ascending order; from element `origin` on. */
export function addDots(): string {
  return wgsl`${head("params.S * params.D")}
  var sum = sums[params.origin + index];
  for (var p = params.first; p < params.end; p++) { sum += dots[p * params.S * params.D + index]; }
  sums[params.origin + index] = sum;
}`;
}
