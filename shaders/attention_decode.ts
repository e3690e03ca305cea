/**
 * Attention of one new token per sequence over a key/value cache, `heads` query heads of one key/value head at a time.
 *
 * GPU: one workgroup a (row, part of the heads). Keys are taken in chunks of one per invocation. Each invocation scores
 *   its key (shared memory: heads * LANES floats); after a barrier every invocation reads all scores of the chunk in
 *   ascending order for maximum and sum, and owns a column of the weighted values. Barriers: scores complete; scores
 *   read by all before the next chunk overwrites them.
 * CPU adapters: one invocation a (row, part), keys one by one; no shared memory, no barrier.
 * Sums run over ascending keys in both.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { dotText, elementType, MASKED, repeat, rowElements } from "./attention_tiles.js";

export interface DecodeText {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Query heads one workgroup (GPU) or invocation (CPU) handles; divides heads / kvHeads. */
  readonly headsAtOnce: number;
}

/** Invocations of a workgroup. */
export const LANES = { gpu: 64, software: 8 } as const;

/** Declares row, head, kv_head, count and first_key (element index of key 0 of the row's slot). */
function rowHead({ heads, kvHeads, headDim, headsAtOnce }: DecodeText, index: string): string {
  const parts = heads / headsAtOnce;
  return `  let row = ${index} / ${parts}u;
  if (row >= params.B) { return; }
  let head = (${index} % ${parts}u) * ${headsAtOnce}u;
  let kv_head = head / ${heads / kvHeads}u;
  let count = length[row];
  let first_key = (slot[row] * params.T * ${kvHeads}u + kv_head) * ${rowElements(headDim)}u;
  let query = (row * ${heads}u + head) * ${rowElements(headDim)}u;`;
}

const scoreScale = (headDim: number): number => Math.LOG2E / Math.sqrt(headDim);

/** The CPU layout. */
export function decodeByInvocation(text: DecodeText): string {
  const { kvHeads, headDim, headsAtOnce: rows } = text;
  const elements = rowElements(headDim);
  return wgsl`
@compute @workgroup_size(${LANES.software})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * ${LANES.software}u + local;
${rowHead(text, "index")}
${repeat(
  rows,
  (r) => `  var top_${r} = ${MASKED};
  var total_${r} = 0.0;
${repeat(
  elements,
  (e) => `  let q_${r}_${e} = q[query + ${r * elements + e}u] * ${scoreScale(headDim)};
  var sum_${r}_${e} = ${elementType(headDim)}();`,
)}`,
)}
  for (var j = 0u; j < count; j++) {
    let at = first_key + j * ${kvHeads * elements}u;
${repeat(rows, (r) => `    var s_${r} = 0.0;`)}
${repeat(
  elements,
  (e) => `    { let key = key_cache[at + ${e}u];
${repeat(rows, (r) => `      s_${r} += ${dotText(headDim, `q_${r}_${e}`, "key")};`)} }`,
)}
${repeat(
  rows,
  (r) => `    let next_${r} = max(top_${r}, s_${r});
    let fade_${r} = exp2(top_${r} - next_${r});
    let weight_${r} = exp2(s_${r} - next_${r});
    top_${r} = next_${r};
    total_${r} = total_${r} * fade_${r} + weight_${r};`,
)}
${repeat(
  elements,
  (e) => `    { let value = value_cache[at + ${e}u];
${repeat(rows, (r) => `      sum_${r}_${e} = sum_${r}_${e} * fade_${r} + weight_${r} * value;`)} }`,
)}
  }
${repeat(rows, (r) => repeat(elements, (e) => `  y[query + ${r * elements + e}u] = sum_${r}_${e} / total_${r};`))}
}`;
}

/** The GPU layout. */
export function decodeByWorkgroup(text: DecodeText): string {
  const { kvHeads, headDim, headsAtOnce: rows } = text;
  const elements = rowElements(headDim);
  const lanes = LANES.gpu;
  // columns of all rows are dealt to the invocations in turn
  const columns = Math.ceil((rows * elements) / lanes);
  return wgsl`
var<workgroup> scores: array<f32, ${rows * lanes}>;
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let index = workgroup_index(group, groups);
${rowHead(text, "index")}
${repeat(
  columns,
  (c) => `  let column_${c} = min(lane + ${c * lanes}u, ${rows * elements - 1}u);
  let row_${c} = column_${c} / ${elements}u;
  var top_${c} = ${MASKED};
  var total_${c} = 0.0;
  var sum_${c} = ${elementType(headDim)}();`,
)}
  for (var chunk = 0u; chunk < count; chunk += ${lanes}u) {
    let keys = min(${lanes}u, count - chunk);
    let key_at = first_key + (chunk + min(lane, keys - 1u)) * ${kvHeads * elements}u;
    for (var r = 0u; r < ${rows}u; r++) {
      var score = 0.0;
      for (var e = 0u; e < ${elements}u; e++) {
        score += ${dotText(headDim, `q[query + r * ${elements}u + e]`, "key_cache[key_at + e]")};
      }
      scores[r * ${lanes}u + lane] = score * ${scoreScale(headDim)};
    }
    workgroupBarrier(); // the scores of the chunk are complete
${repeat(
  columns,
  (c) => `    var next_${c} = top_${c};
    for (var j = 0u; j < keys; j++) { next_${c} = max(next_${c}, scores[row_${c} * ${lanes}u + j]); }
    let fade_${c} = exp2(top_${c} - next_${c});
    top_${c} = next_${c};
    total_${c} *= fade_${c};
    sum_${c} *= fade_${c};
    for (var j = 0u; j < keys; j++) {
      let weight = exp2(scores[row_${c} * ${lanes}u + j] - next_${c});
      total_${c} += weight;
      sum_${c} += weight * value_cache[first_key + (chunk + j) * ${kvHeads * elements}u + column_${c} % ${elements}u];
    }`,
)}
    workgroupBarrier(); // all have read the scores
  }
${repeat(
  columns,
  (c) =>
    `  if (lane + ${c * lanes}u < ${rows * elements}u) { y[query + column_${c}] = sum_${c} / total_${c}; }`,
)}
}`;
}

/** Copies row n of k and v to (slot[n], position[n]) of the caches; one invocation an element. */
export function append(headColumns: number): string {
  return wgsl`
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * 64u + local;
  let n = index / ${headColumns}u;
  if (n >= params.N) { return; }
  let at = (slot[n] * params.T + position[n]) * ${headColumns}u + index % ${headColumns}u;
  key_cache[at] = k[index];
  value_cache[at] = v[index];
}`;
}
