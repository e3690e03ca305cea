/**
 * Adds the parts of a product whose K range was split, in ascending order: partial [B, P, M, N] -> y [B, M, N], and
 * row_sums [B, P, M]. One invocation owns four neighbouring elements of a row; no shared memory.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { finish, finishRow, type MatmulText, rowValue, scaled } from "./matmul_text.js";

export function matmulSum(text: MatmulText, invocations: number): string {
  const { vectorY, rowSum } = text;
  const at = (part: string, column: string) =>
    `((batch * params.P + ${part}) * params.M + row) * params.N + ${column}`;
  const add = vectorY
    ? `    sum += partial[(${at("part", "column")}) / 4u];`
    : `    for (var i = 0u; i < min(4u, params.N - column); i++) { sum[i] += partial[${at("part", "column + i")}]; }`;
  return wgsl`
${finish(text)}
@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * ${invocations}u + local;
  let quads = (params.N + 3u) / 4u;
  if (index >= params.B * params.M * quads) { return; }
  let batch = index / quads / params.M;
  let row = index / quads % params.M;
  let column = index % quads * 4u;
  var sum = vec4<f32>();
  for (var part = 0u; part < params.P; part++) {
${add}
  }
#if ${rowSum !== undefined}
  var total = 0.0;
  for (var part = 0u; part < params.P; part++) { total += row_sums[(batch * params.P + part) * params.M + row]; }
  let value = ${rowValue(text, "total")};
  if (column == 0u) { ${finishRow(text, "row", "value")} }
#endif
  finish(batch, row, column, ${scaled(text, "sum", "value")});
}`;
}
