/**
 * Attention for CPU adapters: what the lanes of a subgroup compute, see attention_lane_tile.ts. Probabilities are computed
 * again in backward from the saved log-sum-exp, so no matrix of scores exists.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { type LaneLayout, LaneTile } from "./attention_lane_tile.js";
import { type HeadShape, MASKED, outputRow, packedRow, repeat, scoreScale } from "./attention_tiles.js";

/** A tile of queries: declares for its tokens `start_t` and `reach_t`, the number of earlier keys. */
function queryTile(layout: LaneLayout, shape: HeadShape) {
  const tile = new LaneTile(layout, shape, shape.heads / layout.heads);
  const { tokens, lanes, block } = layout;
  const { heads, kvHeads } = shape;
  return {
    tile,
    entry: `${tile.entry()}
  let head = part * ${layout.heads}u;
  let kv_head = head / ${heads / kvHeads}u;
${repeat(
  tokens,
  (t) => `  let start_${t} = sequence_start[token_${t}];
  let reach_${t} = token_${t} - start_${t};`,
)}`,
    /** Scans the keys from the start of the tile's first sequence to its last token. */
    scan: (body: string) => `
  let last = min(row_start + ${tokens * lanes}u, params.N);
  for (var base = sequence_start[row_start]; base < last; base += ${block}u) {
${tile.scanned("k", "kv_head")}
${tile.eachLoad((i) => `    let v_row_${i} = ${packedRow(shape, "v", `scanned_${i}`, "kv_head")};`)}
${body}
  }`,
    keys: (at: readonly string[]) => tile.scannedElements("k", at),
    values: (at: readonly string[]) =>
      tile.eachLoad((i) =>
        at.map((e, n) => `      let v_${n}_${i} = read_qkv(v_row_${i} + ${e});`).join("\n"),
      ),
    /** Whether a slot's key is visible to a row. */
    isVisible: (row: number, slot: number) =>
      `${tile.position(slot)} - start_${tile.token(row)} <= reach_${tile.token(row)}`,
    single: (row: number) => `token_${tile.token(row)} * ${heads}u + ${tile.head(row)}`,
    output: (row: number) => outputRow(shape, `token_${tile.token(row)}`, tile.head(row)),
  };
}

/**
 * Computes y and log_sum_exp. A row may scan blocks of keys that lie before its own sequence. Their scores are all MASKED: the
 * running maximum stays MASKED, and the running sums take in finite values that mean nothing. The first visible key multiplies these sums by
 * exp2(MASKED - score) = 0. Each row has a visible key: that of its own token.
 */
export function forward(layout: LaneLayout, shape: HeadShape): string {
  const { tile, entry, scan, keys, values, isVisible } = queryTile(layout, shape);
  const slots = (line: (k: number) => string) => Array.from({ length: layout.block }, (_, k) => line(k));
  const softmax = (r: number) => `
${tile.eachSlot((k) => `    s_${r}_${k} = select(${MASKED}, s_${r}_${k}, ${isVisible(r, k)});`)}
    let next_${r} = max(top_${r}, ${slots((k) => `s_${r}_${k}`).reduce((a, b) => `max(${a}, ${b})`)});
    let fade_${r} = exp2(top_${r} - next_${r});
    top_${r} = next_${r};
${tile.eachSlot((k) => `    s_${r}_${k} = exp2(s_${r}_${k} - next_${r});`)}
    total_${r} = total_${r} * fade_${r} + (${slots((k) => `s_${r}_${k}`).join(" + ")});`;
  return wgsl`${entry}
${tile.declare("q")}
${tile.declare("sums")}
${tile.loadRows("q", "q", (r) => tile.head(r), scoreScale(shape.headDim))}
${tile.eachRow((r) => `  var top_${r} = ${MASKED};\n  var total_${r} = 0.0;`)}
${scan(`${tile.zeroScores("s")}
${tile.eachPair((at) => `${keys(at)}\n${tile.addScores("s", "q", "k", at)}`)}
${tile.eachRow(softmax)}
${tile.eachElement((e) => `${values([e])}\n${tile.addWeighted("sums", "s", "v", [e], (r) => `fade_${r}`)}`)}`)}
${tile.eachRow(
  (r) => `  let log_sum_${r} = (top_${r} + log2(total_${r})) * ${Math.LN2};
  let scale_${r} = 1.0 / total_${r};`,
)}
${tile.eachElement((e) => tile.eachRow((r) => `      ${tile.at("sums", r, e)} *= scale_${r};`))}
  var log_sums = array<f32, ${tile.rows}>(${Array.from({ length: tile.rows }, (_, r) => `log_sum_${r}`).join(", ")});
${tile.eachStored(
  ["sums"],
  (h, at) => `    log_sum_exp[token * ${shape.heads}u + head + ${h}u] = log_sums[first_row + ${h}u];
    let row = ${outputRow(shape, "token", `(head + ${h}u)`)};
${tile.elementLoop((e) => `write_y(row + ${e}, ${at("sums", e)});`)}`,
)}
}`;
}

/**
 * d_q = sum over keys of dS k / sqrt(D) with P = exp(s - log_sum_exp), dP = d_y v^T, r = sum over D of d_y y and
 * dS = P (dP - r). Rows are queries.
 */
export function backwardQuery(layout: LaneLayout, shape: HeadShape): string {
  const { tile, entry, scan, keys, values, isVisible, single, output } = queryTile(layout, shape);
  const slope = (r: number) =>
    tile.eachSlot(
      (k) =>
        `    s_${r}_${k} = exp2(select(${MASKED}, s_${r}_${k} - log_sum_${r}, ${isVisible(r, k)})) * (p_${r}_${k} - r_${r});`,
    );
  return wgsl`${entry}
${["q", "g", "sums"].map((name) => tile.declare(name)).join("\n")}
${tile.loadRows("q", "q", (r) => tile.head(r), scoreScale(shape.headDim))}
${tile.eachRow(
  (r) => `  let output_${r} = ${output(r)};
  let log_sum_${r} = log_sum_exp[${single(r)}] * ${Math.LOG2E};
  var r_${r} = 0.0;`,
)}
${tile.eachElement((e) =>
  tile.eachRow(
    (r) => `      let g_new_${r} = read_d_y(output_${r} + ${e});
      let y_${r} = read_y(output_${r} + ${e});
      ${tile.at("g", r, e)} = g_new_${r};
      ${tile.addDot(`r_${r}`, `g_new_${r}`, `y_${r}`)}`,
  ),
)}
${scan(`${tile.zeroScores("s", "p")}
${tile.eachPair(
  (at) => `${keys(at)}\n${tile.addScores("s", "q", "k", at)}
${values(at)}\n${tile.addScores("p", "g", "v", at)}`,
)}
${tile.eachRow(slope)}
${tile.eachPair((at) => `${keys(at)}\n${tile.addWeighted("sums", "s", "k", at)}`)}`)}
${tile.eachStored(["sums"], (h, at) =>
  tile.storeRow("q", `(head + ${h}u)`, (e) => at("sums", e), 1 / Math.sqrt(shape.headDim)),
)}
}`;
}

/**
 * d_v = sum of P d_y and d_k = sum of dS q / sqrt(D), over the query heads of the key/value head in ascending order and,
 * within a head, over the queries from the tile's first token to the end of its last sequence. Rows are keys; r of a
 * scanned query is computed by the lane that loads it.
 */
export function backwardKeyValue(layout: LaneLayout, shape: HeadShape): string {
  const { heads, kvHeads, headDim } = shape;
  const tile = new LaneTile(layout, shape, kvHeads);
  const group = heads / kvHeads;
  const { tokens, lanes, block } = layout;
  const queries = (at: readonly string[]) => `${tile.scannedElements("q", at)}
${tile.eachLoad((i) => at.map((e, n) => `      let g_${n}_${i} = read_d_y(output_${i} + ${e});`).join("\n"))}`;
  const rowDots = (at: readonly string[]) =>
    tile.eachLoad((i) =>
      at
        .map(
          (e, n) => `      let y_${n}_${i} = read_y(output_${i} + ${e});
      ${tile.addDot(`dot_${i}`, `g_${n}_${i}`, `y_${n}_${i}`)}`,
        )
        .join("\n"),
    );
  const weights = tile.eachSlot(
    (k) => `    { let log_sum = ${tile.fetch("log_sum", k)};
    let r = ${tile.fetch("dot", k)};
${tile.eachRow((t) => {
  const inside = `${tile.position(k)} - token_${t} < reach_${t}`;
  return `    let weight_${t} = exp2(select(${MASKED}, s_${t}_${k} - log_sum, ${inside}));
    p_${t}_${k} = weight_${t} * (p_${t}_${k} - r);
    s_${t}_${k} = weight_${t};`;
})} }`,
  );
  return wgsl`${tile.entry()}
${["k", "v", "key_sums", "value_sums"].map((name) => tile.declare(name)).join("\n")}
${tile.loadRows("k", "k", () => "part", scoreScale(headDim))}
${tile.loadRows("v", "v", () => "part")}
${tile.eachRow((t) => `  let reach_${t} = sequence_end[token_${t}] - token_${t};`)}
  let last = sequence_end[min(row_start + ${tokens * lanes}u, params.N) - 1u];
  for (var head = part * ${group}u; head < (part + 1u) * ${group}u; head++) {
  for (var base = row_start; base < last; base += ${block}u) {
${tile.scanned("q", "head")}
${tile.eachLoad(
  (i) => `    let output_${i} = ${outputRow(shape, `scanned_${i}`, "head")};
    let log_sum_${i} = log_sum_exp[scanned_${i} * ${heads}u + head] * ${Math.LOG2E};
    var dot_${i} = 0.0;`,
)}
${tile.zeroScores("s", "p")}
${tile.eachPair(
  (at) => `${queries(at)}
${rowDots(at)}
${tile.addScores("s", "k", "q", at)}
${tile.addScores("p", "v", "g", at)}`,
)}
${weights}
${tile.eachPair(
  (at) => `${queries(at)}
${tile.addWeighted("key_sums", "p", "q", at)}
${tile.addWeighted("value_sums", "s", "g", at)}`,
)}
  } }
${tile.eachStored(
  ["key_sums", "value_sums"],
  (_, at) => `${tile.storeRow("k", "part", (e) => at("key_sums", e), 1 / Math.sqrt(headDim))}
${tile.storeRow("v", "part", (e) => at("value_sums", e))}`,
)}
}`;
}
