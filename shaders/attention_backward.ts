/**
 * Causal grouped-query attention over packed sequences, backward, without a matrix of scores: probabilities are computed
 * again from the saved log-sum-exp. Tiles and scans as in attention_tiles.ts; sums run over ascending scanned tokens.
 * Gradients are overwritten, never added to: drivers on CPUs compile memory accesses slowly, and these are unrolled.
 * With P = exp(s - log_sum_exp), dP = d_y v^T, r = sum over D of d_y y:  dS = P (dP - r).
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { headRow, queryRange, queryTile } from "./attention.js";
import {
  dotText,
  elementType,
  type Fetch,
  type HeadShape,
  loadRow,
  MASKED,
  repeat,
  rowElements,
  type Scanned,
  scan,
  scanDeclarations,
  storeRow,
  type TileLayout,
  tileEntry,
} from "./attention_tiles.js";

/** d_q = sum over keys of dS k / sqrt(D), and row_dot = r for the other kernel. Rows are queries, as in forward. */
export function backwardQuery(layout: TileLayout, shape: HeadShape): string {
  const { headDim } = shape;
  const { elements, element, rows, arrays, token, single, at, place, start } = queryTile(layout, shape);
  return wgsl`
${scanDeclarations(layout, arrays)}
${start}
${repeat(
  rows,
  (r) => `${loadRow(shape, "q", `q_${r}`, ...place(r), Math.LOG2E / Math.sqrt(headDim))}
${repeat(
  elements,
  (e) => `  let g_${r}_${e} = d_y[${at(r)} + ${e}u];
  var sum_${r}_${e} = ${element}();`,
)}
  var r_${r} = 0.0;
${repeat(elements, (e) => `  r_${r} += ${dotText(headDim, `g_${r}_${e}`, `y[${at(r)} + ${e}u]`)};`)}
  let log_sum_${r} = log_sum_exp[${single(r)}] * ${Math.LOG2E};`,
)}
${queryRange(layout)}
${scan(layout, arrays, (fetch) => queryBlock(layout, headDim, fetch, token))}
${repeat(
  rows,
  (r) => `  if (row_start + ${token(r) * layout.lanes}u + lane < params.N) {
${storeRow(shape, "q", (e) => `sum_${r}_${e}`, ...place(r), 1 / Math.sqrt(headDim))}
    row_dot[${single(r)}] = r_${r};
  }`,
)}
}`;
}

function queryBlock(
  { block, tokens, heads }: TileLayout,
  headDim: number,
  fetch: Fetch,
  token: (row: number) => number,
): string {
  const elements = rowElements(headDim);
  const rows = tokens * heads;
  return [
    repeat(block, (b) => repeat(rows, (r) => `    var s_${r}_${b} = 0.0;\n    var p_${r}_${b} = 0.0;`)),
    repeat(elements, (e) =>
      repeat(
        block,
        (b) => `    { let key = ${fetch("k", e, b)};
      let value = ${fetch("v", e, b)};
${repeat(
  rows,
  (r) => `      s_${r}_${b} += ${dotText(headDim, `q_${r}_${e}`, "key")};
      p_${r}_${b} += ${dotText(headDim, `g_${r}_${e}`, "value")};`,
)} }`,
      ),
    ),
    repeat(block, (b) =>
      repeat(rows, (r) => {
        const inside = `base + ${b}u - start_${token(r)} <= reach_${token(r)}`;
        return `    s_${r}_${b} = exp2(select(${MASKED}, s_${r}_${b} - log_sum_${r}, ${inside})) * (p_${r}_${b} - r_${r});`;
      }),
    ),
    repeat(elements, (e) =>
      repeat(
        block,
        (b) => `    { let key = ${fetch("k", e, b)};
${repeat(rows, (r) => `      sum_${r}_${e} += s_${r}_${b} * key;`)} }`,
      ),
    ),
  ].join("\n");
}

/**
 * d_v = sum of P d_y and d_k = sum of dS q / sqrt(D), over the query heads of the key/value head in ascending order and,
 * within a head, over the queries from the tile's first token to the end of its last sequence. Rows are keys.
 */
export function backwardKeyValue(layout: TileLayout, shape: HeadShape): string {
  const { heads, kvHeads, headDim } = shape;
  const elements = rowElements(headDim);
  const element = elementType(headDim);
  const group = heads / kvHeads;
  const plain = (name: string, type: string, count: number): Scanned => ({
    name,
    type,
    elements: count,
    load: (value, token) =>
      repeat(count, (e) => `  let ${value}_${e} = ${name}[${headRow(token, heads, "head", count)} + ${e}u];`),
  });
  const arrays: Scanned[] = [
    { name: "q", type: element, elements, load: (value, token) => loadRow(shape, "q", value, token, "head") },
    plain("d_y", element, elements),
    plain("log_sum_exp", "f32", 1),
    plain("row_dot", "f32", 1),
  ];
  const scale = Math.LOG2E / Math.sqrt(headDim);
  return wgsl`
${scanDeclarations(layout, arrays)}
${tileEntry(layout, kvHeads)}
${repeat(
  layout.tokens,
  (t) => `  let token_${t} = min(row_start + ${t * layout.lanes}u + lane, params.N - 1u);
  let reach_${t} = sequence_end[token_${t}] - token_${t};
${loadRow(shape, "k", `k_${t}`, `token_${t}`, "part", scale)}
${loadRow(shape, "v", `v_${t}`, `token_${t}`, "part")}
${repeat(
  elements,
  (e) => `  var key_sum_${t}_${e} = ${element}();
  var value_sum_${t}_${e} = ${element}();`,
)}`,
)}
  let first = row_start;
  let last = sequence_end[min(row_start + ${layout.tokens * layout.lanes}u, params.N) - 1u];
  for (var head = part * ${group}u; head < (part + 1u) * ${group}u; head++) {
${scan(layout, arrays, (fetch) => keyValueBlock(layout, headDim, fetch))}
  }
${repeat(
  layout.tokens,
  (t) => `  if (row_start + ${t * layout.lanes}u + lane < params.N) {
${storeRow(shape, "k", (e) => `key_sum_${t}_${e}`, `token_${t}`, "part", 1 / Math.sqrt(headDim))}
${storeRow(shape, "v", (e) => `value_sum_${t}_${e}`, `token_${t}`, "part")}
  }`,
)}
}`;
}

function keyValueBlock({ block, tokens }: TileLayout, headDim: number, fetch: Fetch): string {
  const elements = rowElements(headDim);
  return [
    repeat(block, (b) => repeat(tokens, (t) => `    var s_${t}_${b} = 0.0;\n    var p_${t}_${b} = 0.0;`)),
    repeat(elements, (e) =>
      repeat(
        block,
        (b) => `    { let query = ${fetch("q", e, b)};
      let upstream = ${fetch("d_y", e, b)};
${repeat(
  tokens,
  (t) => `      s_${t}_${b} += ${dotText(headDim, `k_${t}_${e}`, "query")};
      p_${t}_${b} += ${dotText(headDim, `v_${t}_${e}`, "upstream")};`,
)} }`,
      ),
    ),
    repeat(
      block,
      (b) => `    { let log_sum = ${fetch("log_sum_exp", 0, b)} * ${Math.LOG2E};
      let r = ${fetch("row_dot", 0, b)};
${repeat(tokens, (t) => {
  const inside = `base + ${b}u - token_${t} < reach_${t}`;
  return `      let weight_${t} = exp2(select(${MASKED}, s_${t}_${b} - log_sum, ${inside}));
      p_${t}_${b} = weight_${t} * (p_${t}_${b} - r);
      s_${t}_${b} = weight_${t};`;
})} }`,
    ),
    repeat(elements, (e) =>
      repeat(
        block,
        (b) => `    { let query = ${fetch("q", e, b)};
      let upstream = ${fetch("d_y", e, b)};
${repeat(
  tokens,
  (t) => `      key_sum_${t}_${e} += p_${t}_${b} * query;
      value_sum_${t}_${e} += s_${t}_${b} * upstream;`,
)} }`,
      ),
    ),
  ].join("\n");
}
