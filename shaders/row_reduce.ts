/**
 * Reductions over the lanes of a row other than the sum in rows.ts, in the same fixed tree order.
 * GPU: 4 bytes of shared memory a lane for each function. CPU adapters: the value itself, no barrier.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import type { RowLayout } from "./rows.js";

/**
 * `name(value, lane)`: the reduction over the lanes of a row, the same in every lane.
 * @param combine WGSL builtin of two values, for example `max`
 */
export function rowReduce(
  { lanes }: RowLayout,
  name: string,
  type: "f32" | "u32",
  combine: "max" | "min",
): string {
  if (lanes === 1) return `fn ${name}(value: ${type}, lane: u32) -> ${type} { return value; }`;
  return wgsl`
var<workgroup> ${name}_partial: array<${type}, ${lanes}>;
fn ${name}(value: ${type}, lane: u32) -> ${type} {
  workgroupBarrier(); // earlier readers of the partials are done
  ${name}_partial[lane] = value;
  for (var width = ${lanes / 2}u; width > 0u; width /= 2u) {
    workgroupBarrier(); // the level below is complete
    if (lane < width) { ${name}_partial[lane] = ${combine}(${name}_partial[lane], ${name}_partial[lane + width]); }
  }
  workgroupBarrier(); // the root is complete
  return ${name}_partial[0];
}`;
}
