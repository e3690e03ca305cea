/**
 * Attention of one new token per sequence over a key/value cache, `heads` query heads of one key/value head at a time.
 * Keys are cut into parts of fixed length from position 0 on, whatever the batch. Rotary embedding of the queries happens
 * while they are loaded; the cache holds rotated keys.
 *
 * GPU: one workgroup a (part, row, group of heads), one key an invocation. The rotated queries, then the scores, then
 *   their weights are in shared memory (heads * (D + PART + 17) floats). Each invocation scores its key for all heads;
 *   the maximum of a head is taken in two rounds; then every invocation owns a column of the weighted values.
 *   Barriers: queries complete; scores complete; first round complete; maxima complete; weights complete.
 * CPU adapters: one invocation a (part, row, group), keys one by one; no shared memory, no barrier.
 * With more than one part, `merge` adds their results; without, y is written at once.
 * Sums run over ascending keys, and over ascending parts.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { dotText, elementType, MASKED, PAD, repeat, rowElements } from "./attention_tiles.js";

export interface DecodeText {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Query heads one workgroup (GPU) or invocation (CPU) handles; divides heads / kvHeads. At most 8 on GPUs. */
  readonly headsAtOnce: number;
  /** Whether the cache is longer than one part. */
  readonly isSplit: boolean;
}

/** Invocations of a workgroup. */
export const LANES = { gpu: 128, software: 8 } as const;
/** Keys of one part; on GPUs one for each invocation. */
export const PART = { gpu: LANES.gpu, software: 128 } as const;
/** Lanes that share the first round of a head's maximum. */
const ROUND = 16;
export const MERGE_LANES = 64;
export const APPEND_LANES = 64;

/** Declares what one task of index `index` works on; `query`, `key_at` and `result` are element indices. Returns past the end. */
function task(text: DecodeText, index: string, part: number): string {
  const { heads, kvHeads, headDim, headsAtOnce } = text;
  const elements = rowElements(headDim);
  const groups = heads / headsAtOnce;
  return `  let tasks = params.B * ${groups}u;
  let part = ${index} / tasks;
  let row = (${index} % tasks) / ${groups}u;
  let head = (${index} % ${groups}u) * ${headsAtOnce}u;
  let first = part * ${part}u;
  let place = position[row];
  if (part >= params.parts || first > place) { return; }
  let keys = min(${part}u, place + 1u - first);
  let query = (row * ${heads + 2 * kvHeads}u + head) * ${elements}u;
  let key_at = ((slot[row] * params.T + first) * ${kvHeads}u + head / ${heads / kvHeads}u) * ${elements}u;
  let result = ${text.isSplit ? "part * params.B + row" : "row"};`;
}

/** Stores `value`, which is element e of head `head + r`: of a sum over one part, or of the result. */
function store({ heads, headDim, isSplit }: DecodeText, r: string, e: string, value: string): string {
  const at = `(result * ${heads}u + head + ${r}) * ${rowElements(headDim)}u + ${e}`;
  return isSplit ? `partial[${at}] = ${value};` : `write_y(${at}, ${value});`;
}

function storeStatistics({ heads }: DecodeText, r: string, top: string, total: string): string {
  return `statistics[result * ${heads}u + head + ${r}] = vec2<f32>(${top}, ${total});`;
}

/** Scores are powers of two, so that weights are `exp2`. */
const scoreScale = (headDim: number): number => Math.LOG2E / Math.sqrt(headDim);

/** Elements of the widest head whose queries and results are loaded and stored in the text instead of loops. */
const NARROW = 8;

/** The CPU layout. */
export function decodeByInvocation(text: DecodeText): string {
  const { kvHeads, headDim, headsAtOnce: rows, isSplit } = text;
  const elements = rowElements(headDim);
  const inLoops = elements > NARROW;
  const eachElement = (line: (r: number, e: number) => string) =>
    repeat(rows, (r) => repeat(elements, (e) => line(r, e)));
  return wgsl`
@compute @workgroup_size(${LANES.software})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * ${LANES.software}u + local;
${task(text, "index", PART.software)}
  let angles = place * ${elements}u;
${inLoops ? queriesInLoop(text) : queriesSpeltOut(text)}
${repeat(rows, (r) => `  var top_${r} = ${MASKED};\n  var total_${r} = 0.0;`)}
${eachElement((r, e) => `  var sum_${r}_${e} = ${elementType(headDim)}();`)}
  for (var j = 0u; j < keys; j++) {
    let at = key_at + j * ${kvHeads * elements}u;
${repeat(rows, (r) => `    var s_${r} = 0.0;`)}
${repeat(
  elements,
  (e) => `    { let key = read_key_cache(at + ${e}u);
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
  (e) => `    { let value = read_value_cache(at + ${e}u);
${repeat(rows, (r) => `      sum_${r}_${e} = sum_${r}_${e} * fade_${r} + weight_${r} * value;`)} }`,
)}
  }
${isSplit ? repeat(rows, (r) => `  ${storeStatistics(text, `${r}u`, `top_${r}`, `total_${r}`)}`) : ""}
${inLoops ? resultsInLoop(text) : eachElement((r, e) => `  ${store(text, `${r}u`, `${e}u`, resultOf(text, r, e))}`)}
}`;
}

/** What is stored of the sums of one invocation. */
const resultOf = ({ isSplit }: DecodeText, r: number, e: number): string =>
  `sum_${r}_${e}${isSplit ? "" : ` / total_${r}`}`;

/** Declares `q_<r>_<e>`, element e of the rotated query of row r. */
function queriesSpeltOut({ headDim, headsAtOnce: rows }: DecodeText): string {
  const elements = rowElements(headDim);
  const half = elements / 2;
  return `${repeat(
    half,
    (e) => `  let cosine_${e} = table[angles + ${e}u] * ${scoreScale(headDim)};
  let sine_${e} = table[angles + ${half + e}u] * ${scoreScale(headDim)};`,
  )}
${repeat(rows, (r) =>
  repeat(
    half,
    (e) => `  let a_${r}_${e} = read_qkv(query + ${r * elements + e}u);
  let b_${r}_${e} = read_qkv(query + ${r * elements + half + e}u);
  let q_${r}_${e} = a_${r}_${e} * cosine_${e} - b_${r}_${e} * sine_${e};
  let q_${r}_${half + e} = b_${r}_${e} * cosine_${e} + a_${r}_${e} * sine_${e};`,
  ),
)}`;
}

/**
 * The same in a loop whose count is a uniform, so that Mesa cannot unroll it: spelt out, the loads and stores of wide heads
 * compile for longer than the walk over the keys.
 */
function queriesInLoop({ headDim, headsAtOnce: rows }: DecodeText): string {
  const elements = rowElements(headDim);
  const half = elements / 2;
  return `  var queries: array<${elementType(headDim)}, ${rows * elements + PAD}>;
  for (var i = 0u; i < ${rows}u * params.E / 2u; i++) {
    let e = i % ${half}u;
    let at = i / ${half}u * ${elements}u + e;
    let a = read_qkv(query + at);
    let b = read_qkv(query + at + ${half}u);
    let cosine = table[angles + e] * ${scoreScale(headDim)};
    let sine = table[angles + e + ${half}u] * ${scoreScale(headDim)};
    queries[${PAD}u + at] = a * cosine - b * sine;
    queries[${PAD + half}u + at] = b * cosine + a * sine;
  }
${repeat(rows, (r) => repeat(elements, (e) => `  let q_${r}_${e} = queries[${r * elements + e + PAD}];`))}`;
}

function resultsInLoop(text: DecodeText): string {
  const { headDim, headsAtOnce: rows } = text;
  const elements = rowElements(headDim);
  const type = elementType(headDim);
  const results = Array.from({ length: rows * elements }, (_, i) =>
    resultOf(text, Math.floor(i / elements), i % elements),
  );
  const padding = Array<string>(PAD).fill(`${type}()`);
  return `  var results = array<${type}, ${rows * elements + PAD}>(${[...padding, ...results].join(", ")});
  for (var i = 0u; i < ${rows}u * params.E; i++) {
    let value = results[${PAD}u + i];
    ${store(text, "0u", "i", "value")}
  }`;
}

/** The GPU layout. */
export function decodeByWorkgroup(text: DecodeText): string {
  const { kvHeads, headDim, headsAtOnce: rows } = text;
  const elements = rowElements(headDim);
  const half = elements / 2;
  const lanes = LANES.gpu;
  const type = elementType(headDim);
  // columns of all rows are dealt to the invocations in turn
  const columns = Math.ceil((rows * elements) / lanes);
  return wgsl`
var<workgroup> queries: array<${type}, ${rows * elements}>;
var<workgroup> scores: array<f32, ${rows * lanes}>;
var<workgroup> maxima: array<f32, ${rows * ROUND}>;
var<workgroup> tops: array<f32, ${rows}>;
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let index = workgroup_index(group, groups);
${task(text, "index", PART.gpu)}
  for (var i = lane; i < ${rows * half}u; i += ${lanes}u) {
    let e = i % ${half}u;
    let at = i / ${half}u * ${elements}u + e;
    let angles = place * ${elements}u + e;
    let a = read_qkv(query + at);
    let b = read_qkv(query + at + ${half}u);
    let cosine = table[angles] * ${scoreScale(headDim)};
    let sine = table[angles + ${half}u] * ${scoreScale(headDim)};
    queries[at] = a * cosine - b * sine;
    queries[at + ${half}u] = b * cosine + a * sine;
  }
  workgroupBarrier(); // the queries are complete
  let at = key_at + min(lane, keys - 1u) * ${kvHeads * elements}u;
${repeat(rows, (r) => `  var s_${r} = 0.0;`)}
  for (var e = 0u; e < ${elements}u; e++) {
    let key = read_key_cache(at + e);
${repeat(rows, (r) => `    s_${r} += ${dotText(headDim, `queries[${r * elements}u + e]`, "key")};`)}
  }
${repeat(
  rows,
  (r) => `  s_${r} = select(${MASKED}, s_${r}, lane < keys);
  scores[${r * lanes}u + lane] = s_${r};`,
)}
  workgroupBarrier(); // the scores are complete
  if (lane < ${rows * ROUND}u) {
    var top = ${MASKED};
    for (var i = 0u; i < ${lanes / ROUND}u; i++) { top = max(top, scores[lane * ${lanes / ROUND}u + i]); }
    maxima[lane] = top;
  }
  workgroupBarrier(); // the first round is complete
  if (lane < ${rows}u) {
    var top = ${MASKED};
    for (var i = 0u; i < ${ROUND}u; i++) { top = max(top, maxima[lane * ${ROUND}u + i]); }
    tops[lane] = top;
  }
  workgroupBarrier(); // the maxima are complete
${repeat(rows, (r) => `  scores[${r * lanes}u + lane] = exp2(s_${r} - tops[${r}]);`)}
  workgroupBarrier(); // the weights are complete
${repeat(
  columns,
  (c) => `  if (lane + ${c * lanes}u < ${rows * elements}u) {
    let r = (lane + ${c * lanes}u) / ${elements}u;
    let e = (lane + ${c * lanes}u) % ${elements}u;
    var total = 0.0;
    var sum = ${type}();
    for (var j = 0u; j < keys; j++) {
      let weight = scores[r * ${lanes}u + j];
      total += weight;
      sum += weight * read_value_cache(key_at + j * ${kvHeads * elements}u + e);
    }
    ${store(text, "r", "e", text.isSplit ? "sum" : "sum / total")}
${text.isSplit ? `    if (e == 0u) { ${storeStatistics(text, "r", "tops[r]", "total")} }` : ""}
  }`,
)}
}`;
}

/** y from the parts of each row, one invocation an element. */
export function merge(text: DecodeText, part: number): string {
  const { heads, headDim } = text;
  const width = heads * rowElements(headDim);
  return wgsl`
@compute @workgroup_size(${MERGE_LANES})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * ${MERGE_LANES}u + local;
  let row = index / ${width}u;
  if (row >= params.B) { return; }
  let head = index / ${rowElements(headDim)}u;
  let parts = position[row] / ${part}u + 1u;
  var top = ${MASKED};
  for (var p = 0u; p < parts; p++) { top = max(top, statistics[p * params.B * ${heads}u + head].x); }
  var total = 0.0;
  var sum = ${elementType(headDim)}();
  for (var p = 0u; p < parts; p++) {
    let one = statistics[p * params.B * ${heads}u + head];
    let weight = exp2(one.x - top);
    total += weight * one.y;
    sum += weight * partial[p * params.B * ${width}u + index];
  }
  write_y(index, sum / total);
}`;
}

/**
 * Stores keys, rotated, and values of packed rows at (slot[n], position[n]) of the caches; one invocation a pair of elements
 * of either. Entry n takes row n, or row source[n] where that is given.
 */
export function append(
  { heads, kvHeads, headDim }: Omit<DecodeText, "headsAtOnce" | "isSplit">,
  hasSource: boolean,
): string {
  const elements = rowElements(headDim);
  const half = elements / 2;
  return wgsl`
@compute @workgroup_size(${APPEND_LANES})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * ${APPEND_LANES}u + local;
  let n = index / ${kvHeads * half}u;
  if (n >= params.N) { return; }
  let head = index % ${kvHeads * half}u / ${half}u;
  let e = index % ${half}u;
  let angles = position[n] * ${elements}u + e;
  let cosine = table[angles];
  let sine = table[angles + ${half}u];
  let key = (${hasSource ? "source[n]" : "n"} * ${heads + 2 * kvHeads}u + ${heads}u + head) * ${elements}u + e;
  let value = key + ${kvHeads * elements}u;
  let at = ((slot[n] * params.T + position[n]) * ${kvHeads}u + head) * ${elements}u + e;
  let a = read_qkv(key);
  let b = read_qkv(key + ${half}u);
  write_key_cache(at, a * cosine - b * sine);
  write_key_cache(at + ${half}u, b * cosine + a * sine);
  write_value_cache(at, read_qkv(value));
  write_value_cache(at + ${half}u, read_qkv(value + ${half}u));
}`;
}
