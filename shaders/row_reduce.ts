/**
 * Reductions over the lanes of a row with three barriers, in a fixed order: lane l of the first lanes / 16 combines
 * values l, l + lanes / 16, ...; then every lane combines these. For kernels that reduce often.
 * GPU: one value of shared memory a lane for each function. CPU adapters: the value itself, no barrier.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import type { RowLayout } from "./rows.js";

/** Values one lane combines in the first round. */
const ROUND = 16;

/**
 * `name(value, lane)`: the reduction over the lanes of a row, the same in every lane.
 * @param layout lanes a multiple of 16, or 1
 */
export function rowReduce(
  { lanes }: RowLayout,
  name: string,
  type: "f32" | "u32" | "vec2<f32>",
  combine: "sum" | "max" | "min",
): string {
  if (lanes === 1) return `fn ${name}(value: ${type}, lane: u32) -> ${type} { return value; }`;
  const groups = lanes / ROUND;
  const both = (a: string, b: string) => (combine === "sum" ? `${a} + ${b}` : `${combine}(${a}, ${b})`);
  return wgsl`
var<workgroup> ${name}_values: array<${type}, ${lanes}>;
fn ${name}(value: ${type}, lane: u32) -> ${type} {
  workgroupBarrier(); // earlier readers are done
  ${name}_values[lane] = value;
  workgroupBarrier(); // every lane's value is there
  if (lane < ${groups}u) {
    var part = ${name}_values[lane];
    for (var i = lane + ${groups}u; i < ${lanes}u; i += ${groups}u) { part = ${both("part", `${name}_values[i]`)}; }
    ${name}_values[lane] = part;
  }
  workgroupBarrier(); // every group's value is there
  var all = ${name}_values[0];
  for (var i = 1u; i < ${groups}u; i++) { all = ${both("all", `${name}_values[i]`)}; }
  return all;
}`;
}
