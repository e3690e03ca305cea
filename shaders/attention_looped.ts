/**
 * Attention for CPU adapters where the register tiles of attention_tiles.ts do not fit: no fixed subgroup size, or heads
 * so wide that the unrolled text compiles for minutes. One invocation owns one row of one head, reads its operands
 * from memory in loops and sums in its output row. Slow, but short for any head width. Sums run over ascending tokens.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { dotText, elementType, type HeadShape, MASKED, rowElements } from "./attention_tiles.js";

export const WORKGROUP = 16;

/** Declares `token` and `head`, one of `heads` heads of the rows, and `row`, the index of its first element. */
const entry = (heads: number, elements: number): string => wgsl`
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * ${WORKGROUP}u + local;
  let token = index / ${heads}u;
  let head = index % ${heads}u;
  if (token >= params.N) { return; }
  let row = index * ${elements}u;`;

/** The bound is a uniform, so that drivers cannot unroll the loop. */
const eachElement = (body: string): string => `for (var e = 0u; e < params.E; e++) { ${body} }`;

export function forward({ heads, kvHeads, headDim }: HeadShape): string {
  const elements = rowElements(headDim);
  return wgsl`
${entry(heads, elements)}
  let kv_head = head / ${heads / kvHeads}u;
  var top = ${MASKED};
  var total = 0.0;
  ${eachElement(`y[row + e] = ${elementType(headDim)}();`)}
  for (var j = sequence_start[token]; j <= token; j++) {
    let key = (j * ${kvHeads}u + kv_head) * ${elements}u;
    var score = 0.0;
    ${eachElement(`score += ${dotText(headDim, "q[row + e]", "k[key + e]")};`)}
    score *= ${Math.LOG2E / Math.sqrt(headDim)};
    let next = max(top, score);
    let fade = exp2(top - next);
    let weight = exp2(score - next);
    top = next;
    total = total * fade + weight;
    ${eachElement("y[row + e] = y[row + e] * fade + weight * v[key + e];")}
  }
  ${eachElement("y[row + e] = y[row + e] / total;")}
  log_sum_exp[index] = (top + log2(total)) * ${Math.LN2};
}`;
}

/** d_q and row_dot, as in attention_backward.ts. */
export function backwardQuery({ heads, kvHeads, headDim }: HeadShape): string {
  const elements = rowElements(headDim);
  return wgsl`
${entry(heads, elements)}
  let kv_head = head / ${heads / kvHeads}u;
  var r = 0.0;
  ${eachElement(`r += ${dotText(headDim, "d_y[row + e]", "y[row + e]")}; d_q[row + e] = ${elementType(headDim)}();`)}
  for (var j = sequence_start[token]; j <= token; j++) {
    let key = (j * ${kvHeads}u + kv_head) * ${elements}u;
    var score = 0.0;
    var upstream = 0.0;
    ${eachElement(
      `score += ${dotText(headDim, "q[row + e]", "k[key + e]")}; upstream += ${dotText(headDim, "d_y[row + e]", "v[key + e]")};`,
    )}
    let slope = exp(score * ${1 / Math.sqrt(headDim)} - log_sum_exp[index]) * (upstream - r) * ${1 / Math.sqrt(headDim)};
    ${eachElement("d_q[row + e] = d_q[row + e] + slope * k[key + e];")}
  }
  row_dot[index] = r;
}`;
}

/** d_k and d_v, as in attention_backward.ts; `row` is a key. */
export function backwardKeyValue({ heads, kvHeads, headDim }: HeadShape): string {
  const elements = rowElements(headDim);
  const group = heads / kvHeads;
  return wgsl`
${entry(kvHeads, elements)}
  ${eachElement(`d_k[row + e] = ${elementType(headDim)}(); d_v[row + e] = ${elementType(headDim)}();`)}
  for (var query_head = head * ${group}u; query_head < (head + 1u) * ${group}u; query_head++) {
    for (var i = token; i < sequence_end[token]; i++) {
      let at = i * ${heads}u + query_head;
      let query = at * ${elements}u;
      var score = 0.0;
      var upstream = 0.0;
      ${eachElement(
        `score += ${dotText(headDim, "q[query + e]", "k[row + e]")}; upstream += ${dotText(headDim, "d_y[query + e]", "v[row + e]")};`,
      )}
      let weight = exp(score * ${1 / Math.sqrt(headDim)} - log_sum_exp[at]);
      let slope = weight * (upstream - row_dot[at]) * ${1 / Math.sqrt(headDim)};
      ${eachElement(
        "d_k[row + e] = d_k[row + e] + slope * q[query + e]; d_v[row + e] = d_v[row + e] + weight * d_y[query + e];",
      )}
    }
  }
}`;
}
