/**
 * Causal grouped-query attention over packed sequences, forward. A tile of tokens and a few query heads of one
 * key/value head belong to the lanes of a tile (see attention_tiles.ts); one invocation owns the query, the running
 * maximum, the running sum and the weighted values of `tokens` x `heads` rows. Keys are scanned in ascending blocks
 * from the start of the tile's first sequence to its last token; sums run in that order.
 *
 * A block before a row's own sequence leaves maximum MASKED and finite rubbish, which the first real score multiplies
 * by exp2(MASKED - score) = 0. Every row meets a real score, its own token's.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
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
  type TileLayout,
  tileEntry,
} from "./attention_tiles.js";

/** Query heads are cut into this many parts, each a workgroup's share. */
function headParts(layout: TileLayout, { heads }: HeadShape): number {
  return heads / layout.heads;
}

/** Rows of one head array: element index of a token's row of head `head`. */
export function headRow(token: string, heads: number, head: string, elements: number): string {
  return `(${token} * ${heads}u + ${head}) * ${elements}u`;
}

/** Declares for the tokens t of an invocation: `token_t` (clamped), `start_t` and `reach_t`, the number of earlier keys. */
function queryTokens({ tokens, lanes }: TileLayout): string {
  return repeat(
    tokens,
    (t) => `  let token_${t} = min(row_start + ${t * lanes}u + lane, params.N - 1u);
  let start_${t} = sequence_start[token_${t}];
  let reach_${t} = token_${t} - start_${t};`,
  );
}

/** Declares the scanned range of a query tile. */
export function queryRange({ tokens, lanes }: TileLayout): string {
  return `  let first = sequence_start[row_start];
  let last = min(row_start + ${tokens * lanes}u, params.N);`;
}

/** The rows of a query tile, and the key and value arrays that they scan. */
export function queryTile(layout: TileLayout, shape: HeadShape) {
  const { heads, kvHeads, headDim } = shape;
  const elements = rowElements(headDim);
  const token = (row: number) => Math.floor(row / layout.heads);
  const head = (row: number) => `(head + ${row % layout.heads}u)`;
  return {
    elements,
    element: elementType(headDim),
    rows: layout.tokens * layout.heads,
    arrays: (["k", "v"] as const).map(
      (name): Scanned => ({
        name,
        type: elementType(headDim),
        elements,
        load: (value, position) => loadRow(shape, name, value, position, "kv_head"),
      }),
    ),
    /** Which of the invocation's tokens a row is of. */
    token,
    /** Index of a row's value in an array of one value a token and head. */
    single: (row: number) => `token_${token(row)} * ${heads}u + ${head(row)}`,
    /** Index of a row's first element in an array of head rows. */
    at: (row: number) => headRow(`token_${token(row)}`, heads, head(row), elements),
    /** Token and head of a row. */
    place: (row: number) => [`token_${token(row)}`, head(row)] as const,
    start: `${tileEntry(layout, headParts(layout, shape))}
  let head = part * ${layout.heads}u;
  let kv_head = head / ${heads / kvHeads}u;
${queryTokens(layout)}`,
  };
}

/** y and log_sum_exp. Scores are in units of log2: queries are multiplied by log2(e) / sqrt(D) once. */
export function forward(layout: TileLayout, shape: HeadShape): string {
  const { headDim } = shape;
  const { elements, element, rows, arrays, token, single, at, place, start } = queryTile(layout, shape);
  return wgsl`
${scanDeclarations(layout, arrays)}
${start}
${repeat(
  rows,
  (r) => `${loadRow(shape, "q", `q_${r}`, ...place(r), Math.LOG2E / Math.sqrt(headDim))}
${repeat(elements, (e) => `  var sum_${r}_${e} = ${element}();`)}`,
)}
${repeat(rows, (r) => `  var top_${r} = ${MASKED};\n  var total_${r} = 0.0;`)}
${queryRange(layout)}
${scan(layout, arrays, (fetch) => forwardBlock(layout, headDim, fetch, token))}
${repeat(
  rows,
  (r) => `  if (row_start + ${token(r) * layout.lanes}u + lane < params.N) {
    let scale = 1.0 / total_${r};
${repeat(elements, (e) => `    y[${at(r)} + ${e}u] = sum_${r}_${e} * scale;`)}
    log_sum_exp[${single(r)}] = (top_${r} + log2(total_${r})) * ${Math.LN2};
  }`,
)}
}`;
}

/** Scores of one block of keys for all rows, then the online softmax step. */
function forwardBlock(
  { block, tokens, heads }: TileLayout,
  headDim: number,
  fetch: Fetch,
  token: (row: number) => number,
): string {
  const elements = rowElements(headDim);
  const rows = tokens * heads;
  const scores = repeat(block, (b) => repeat(rows, (r) => `    var s_${r}_${b} = 0.0;`));
  const products = repeat(elements, (e) =>
    repeat(
      block,
      (b) => `    { let key = ${fetch("k", e, b)};
${repeat(rows, (r) => `      s_${r}_${b} += ${dotText(headDim, `q_${r}_${e}`, "key")};`)} }`,
    ),
  );
  const softmax = repeat(rows, (r) => {
    const t = token(r);
    const masked = repeat(
      block,
      (b) => `    s_${r}_${b} = select(${MASKED}, s_${r}_${b}, base + ${b}u - start_${t} <= reach_${t});`,
    );
    const maximum = Array.from({ length: block }, (_, b) => `s_${r}_${b}`).reduce(
      (a, b) => `max(${a}, ${b})`,
    );
    return `${masked}
    let next_${r} = max(top_${r}, ${maximum});
    let fade_${r} = exp2(top_${r} - next_${r});
    top_${r} = next_${r};
${repeat(block, (b) => `    s_${r}_${b} = exp2(s_${r}_${b} - next_${r});`)}
    total_${r} = total_${r} * fade_${r} + (${Array.from({ length: block }, (_, b) => `s_${r}_${b}`).join(" + ")});`;
  });
  const values = repeat(
    elements,
    (e) => `${repeat(rows, (r) => `    sum_${r}_${e} *= fade_${r};`)}
${repeat(
  block,
  (b) => `    { let value = ${fetch("v", e, b)};
${repeat(rows, (r) => `      sum_${r}_${e} += s_${r}_${b} * value;`)} }`,
)}`,
  );
  return [scores, products, softmax, values].join("\n");
}
