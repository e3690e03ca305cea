/**
 * Attention for CPU adapters where the register tiles of attention_tiles.ts do not fit: no fixed subgroup size, or heads
 * so wide that the unrolled text compiles for minutes. One invocation owns one row of one head, reads its operands
 * from memory in loops and sums in its output row. Slow, but short for any head width. Sums run over ascending tokens.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { dotText, elementType, type HeadShape, MASKED, packedRow, rowElements } from "./attention_tiles.js";

export const WORKGROUP = 16;

/** Declares `token` and `head`, one of `heads` heads of the rows; `angles` is a token's row of the table. */
const entry = (heads: number, { rotate, headDim }: HeadShape): string => wgsl`
fn angles_of(token: u32) -> u32 { return ${rotate ? `position[token] * ${rowElements(headDim)}u` : "0u"}; }
${rotate ? rotatedElement(headDim) : plainElement(headDim)}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  let token = index / ${heads}u;
  let head = index % ${heads}u;
  if (token >= params.N) { return; }
  let row_angles = angles_of(token);`;

const plainElement = (headDim: number) => `
fn element(row: u32, angles: u32, e: u32) -> ${elementType(headDim)} { return qkv[row + e]; }`;

/** Element e of a rotated row, from the pair that it belongs to. */
function rotatedElement(headDim: number): string {
  const half = rowElements(headDim) / 2;
  return `
fn element(row: u32, angles: u32, e: u32) -> ${elementType(headDim)} {
  let pair = e % ${half}u;
  let sine = table[angles + ${half}u + pair];
  let other = qkv[row + (e + ${half}u) % ${2 * half}u];
  return qkv[row + e] * table[angles + pair] + other * select(sine, -sine, e < ${half}u);
}`;
}

/** Rotates the gradient row at `row` back. */
function rotateBack({ rotate, headDim }: HeadShape, row: string): string {
  const half = rowElements(headDim) / 2;
  return rotate
    ? `for (var e = 0u; e < params.E / 2u; e++) {
    let a = d_qkv[${row} + e];
    let b = d_qkv[${row} + ${half}u + e];
    let cosine = table[row_angles + e];
    let sine = table[row_angles + ${half}u + e];
    d_qkv[${row} + e] = a * cosine + b * sine;
    d_qkv[${row} + ${half}u + e] = b * cosine - a * sine;
  }`
    : "";
}

/** The bound is a uniform, so that drivers cannot unroll the loop. */
const eachElement = (body: string): string => `for (var e = 0u; e < params.E; e++) { ${body} }`;

export function forward(shape: HeadShape): string {
  const { heads, kvHeads, headDim } = shape;
  const elements = rowElements(headDim);
  return wgsl`
${entry(heads, shape)}
  let kv_head = head / ${heads / kvHeads}u;
  let row = index * ${elements}u;
  let query = ${packedRow(shape, "q", "token", "head")};
  var top = ${MASKED};
  var total = 0.0;
  ${eachElement(`y[row + e] = ${elementType(headDim)}();`)}
  for (var j = sequence_start[token]; j <= token; j++) {
    let key = ${packedRow(shape, "k", "j", "kv_head")};
    let value = ${packedRow(shape, "v", "j", "kv_head")};
    let key_angles = angles_of(j);
    var score = 0.0;
    ${eachElement(`score += ${dotText(headDim, "element(query, row_angles, e)", "element(key, key_angles, e)")};`)}
    score *= ${Math.LOG2E / Math.sqrt(headDim)};
    let next = max(top, score);
    let fade = exp2(top - next);
    let weight = exp2(score - next);
    top = next;
    total = total * fade + weight;
    ${eachElement("y[row + e] = y[row + e] * fade + weight * qkv[value + e];")}
  }
  ${eachElement("y[row + e] = y[row + e] / total;")}
  log_sum_exp[index] = (top + log2(total)) * ${Math.LN2};
}`;
}

/** d_q and row_dot, as in attention_backward.ts. */
export function backwardQuery(shape: HeadShape): string {
  const { heads, kvHeads, headDim } = shape;
  const elements = rowElements(headDim);
  return wgsl`
${entry(heads, shape)}
  let kv_head = head / ${heads / kvHeads}u;
  let row = index * ${elements}u;
  let query = ${packedRow(shape, "q", "token", "head")};
  var r = 0.0;
  ${eachElement(`r += ${dotText(headDim, "d_y[row + e]", "y[row + e]")}; d_qkv[query + e] = ${elementType(headDim)}();`)}
  for (var j = sequence_start[token]; j <= token; j++) {
    let key = ${packedRow(shape, "k", "j", "kv_head")};
    let value = ${packedRow(shape, "v", "j", "kv_head")};
    let key_angles = angles_of(j);
    var score = 0.0;
    var upstream = 0.0;
    ${eachElement(
      `score += ${dotText(headDim, "element(query, row_angles, e)", "element(key, key_angles, e)")}; upstream += ${dotText(headDim, "d_y[row + e]", "qkv[value + e]")};`,
    )}
    let slope = exp(score * ${1 / Math.sqrt(headDim)} - log_sum_exp[index]) * (upstream - r) * ${1 / Math.sqrt(headDim)};
    ${eachElement("d_qkv[query + e] = d_qkv[query + e] + slope * element(key, key_angles, e);")}
  }
  ${rotateBack(shape, "query")}
  row_dot[index] = r;
}`;
}

/** d_k and d_v, as in attention_backward.ts; the row is a key. */
export function backwardKeyValue(shape: HeadShape): string {
  const { heads, kvHeads, headDim } = shape;
  const elements = rowElements(headDim);
  const group = heads / kvHeads;
  const zero = `${elementType(headDim)}()`;
  return wgsl`
${entry(kvHeads, shape)}
  let key = ${packedRow(shape, "k", "token", "head")};
  let value = ${packedRow(shape, "v", "token", "head")};
  ${eachElement(`d_qkv[key + e] = ${zero}; d_qkv[value + e] = ${zero};`)}
  for (var query_head = head * ${group}u; query_head < (head + 1u) * ${group}u; query_head++) {
    for (var i = token; i < sequence_end[token]; i++) {
      let at = i * ${heads}u + query_head;
      let upstream_row = at * ${elements}u;
      let query = ${packedRow(shape, "q", "i", "query_head")};
      let query_angles = angles_of(i);
      var score = 0.0;
      var upstream = 0.0;
      ${eachElement(
        `score += ${dotText(headDim, "element(query, query_angles, e)", "element(key, row_angles, e)")}; upstream += ${dotText(headDim, "d_y[upstream_row + e]", "qkv[value + e]")};`,
      )}
      let weight = exp(score * ${1 / Math.sqrt(headDim)} - log_sum_exp[at]);
      let slope = weight * (upstream - row_dot[at]) * ${1 / Math.sqrt(headDim)};
      ${eachElement(
        "d_qkv[key + e] = d_qkv[key + e] + slope * element(query, query_angles, e); d_qkv[value + e] = d_qkv[value + e] + weight * d_y[upstream_row + e];",
      )}
    }
  }
  ${rotateBack(shape, "key")}
}`;
}
