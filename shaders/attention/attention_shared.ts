/** Attention for GPUs: what a workgroup computes, see attention_shared_tile.ts. The formulas are those of attention_lanes.ts. */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { ACROSS, type SharedLayout, SharedTile } from "./attention_shared_tile.js";
import { dotText, type HeadShape, MASKED, outputRow, type Side, scoreScale } from "./attention_tiles.js";

const element = (side: Side, head: string) => (token: string, e: string) =>
  `element_${side}(${token}, ${head}, ${e})`;

/** Queries of one head and what they scan. */
function queryTile(layout: SharedLayout, shape: HeadShape) {
  const tile = new SharedTile(layout, shape);
  const { heads, kvHeads, headDim } = shape;
  const output = (name: string) => (token: string, e: string) =>
    `read_${name}(${outputRow(shape, token, "head")} + ${e})`;
  return {
    tile,
    entry: `${(["q", "k", "v"] as const).map((side) => tile.elementFunction(side)).join("\n")}
${tile.entry(heads)}
  let kv_head = head / ${heads / kvHeads}u;
${tile.eachRow(
  (r) => `  let start_${r} = sequence_start[token_${r}];
  let reach_${r} = token_${r} - start_${r};`,
)}`,
    scan: (body: string) =>
      tile.scan("sequence_start[row_start]", `min(row_start + ${layout.rows}u, params.N)`, body),
    query: (token: string, e: string) => `${element("q", "head")(token, e)} * ${scoreScale(headDim)}`,
    key: element("k", "kv_head"),
    value: element("v", "kv_head"),
    output,
    isVisible: (r: number, k: number) => `base + x + ${k * ACROSS}u - start_${r} <= reach_${r}`,
    single: (r: number) => `token_${r} * ${heads}u + head`,
  };
}

/**
 * y and log_sum_exp. A block before a row's own sequence leaves maximum MASKED and finite rubbish, which the first real
 * score multiplies by exp2(MASKED - score) = 0. Every row meets a real score, its own token's.
 */
export function forward(layout: SharedLayout, shape: HeadShape): string {
  const { tile, entry, scan, query, key, value, isVisible, single } = queryTile(layout, shape);
  const names = (r: number) => Array.from({ length: tile.slots }, (_, k) => `s_${r}_${k}`);
  return wgsl`
${entry}
${tile.declare("sums")}
${tile.eachRow((r) => `  var top_${r} = ${MASKED};\n  var total_${r} = 0.0;`)}
${scan(`${tile.scores("s", query, key)}
${tile.eachRow(
  (r) => `${tile.eachSlot((k) => `    s_${r}_${k} = select(${MASKED}, s_${r}_${k}, ${isVisible(r, k)});`)}
    var next_${r} = max(top_${r}, ${names(r).reduce((a, b) => `max(${a}, ${b})`)});`,
)}
${tile.acrossRow("next", (a, b) => `max(${a}, ${b})`)}
${tile.eachRow(
  (r) => `    let fade_${r} = exp2(top_${r} - next_${r});
    top_${r} = next_${r};
${tile.eachSlot((k) => `    s_${r}_${k} = exp2(s_${r}_${k} - next_${r});`)}
    total_${r} = total_${r} * fade_${r} + (${names(r).join(" + ")});
${tile.eachOwn((c, o) => `    sums_${r}_${c}_${o} *= fade_${r};`)}`,
)}
${tile.shareWeights("s")}
${tile.addWeighted("sums", value)}`)}
${tile.acrossRow("total", (a, b) => `${a} + ${b}`)}
${tile.eachRow(
  (r) => `  if (${tile.isInside(r)}) {
    let row = ${outputRow(shape, `token_${r}`, "head")};
    let scale = 1.0 / total_${r};
${tile.eachOwnElement(r, (at, suffixes) =>
  at.map((e, n) => `write_y(row + ${e}, sums_${suffixes[n]} * scale);`).join(" "),
)}
    if (x == 0u) { log_sum_exp[${single(r)}] = (top_${r} + log2(total_${r})) * ${Math.LN2}; }
  }`,
)}
}`;
}

/** d_q, see attention_lanes.ts; every invocation of a row adds a share of r. */
export function backwardQuery(layout: SharedLayout, shape: HeadShape): string {
  const { tile, entry, scan, query, key, value, output, isVisible, single } = queryTile(layout, shape);
  return wgsl`
${entry}
${tile.declare("sums")}
${tile.eachRow(
  (r) => `  let log_sum_${r} = log_sum_exp[${single(r)}] * ${Math.LOG2E};
  var r_${r} = 0.0;
  for (var e = x; e < params.E; e += ${ACROSS}u) {
    r_${r} += ${dotText(shape.headDim, output("d_y")(`token_${r}`, "e"), output("y")(`token_${r}`, "e"))};
  }`,
)}
${tile.acrossRow("r", (a, b) => `${a} + ${b}`)}
${scan(`${tile.scores("s", query, key)}
${tile.scores("p", output("d_y"), value)}
${tile.eachRow((r) =>
  tile.eachSlot(
    (k) =>
      `    s_${r}_${k} = exp2(select(${MASKED}, s_${r}_${k} - log_sum_${r}, ${isVisible(r, k)})) * (p_${r}_${k} - r_${r});`,
  ),
)}
${tile.shareWeights("s")}
${tile.addWeighted("sums", key)}`)}
${tile.storeRows("sums", "q", 1 / Math.sqrt(shape.headDim))}
}`;
}

/**
 * d_k and d_v, see attention_lanes.ts. Rows are keys of one key/value head, scanned head by head of its group. r of the
 * scanned queries is added by eight invocations each.
 */
export function backwardKeyValue(layout: SharedLayout, shape: HeadShape): string {
  const { heads, kvHeads, headDim } = shape;
  const tile = new SharedTile(layout, shape);
  const group = heads / kvHeads;
  const output = (name: string) => (token: string, e: string) =>
    `read_${name}(${outputRow(shape, token, "query_head")} + ${e})`;
  const key = (token: string, e: string) => `${element("k", "head")(token, e)} * ${scoreScale(headDim)}`;
  /** Invocations that add up r of one scanned query, `rowsEach` to an element of `tile_shared`. */
  const perToken = tile.invocations / layout.scanned;
  const { rowsEach } = layout;
  const elements = perToken / rowsEach;
  const dots = (k: number) =>
    Array.from(
      { length: elements },
      (_, i) => `tile_shared[(x + ${k * ACROSS}u) * ${elements}u + ${i}u]`,
    ).join(" + ");
  const joined = (k: number) =>
    Array.from({ length: rowsEach }, (_, r) => tile.told(`joined_${k}`, r)).join(" + ");
  return wgsl`
${(["q", "k", "v"] as const).map((side) => tile.elementFunction(side)).join("\n")}
${tile.entry(kvHeads)}
${tile.declare("key_sums")}
${tile.declare("value_sums")}
${tile.eachRow((r) => `  let reach_${r} = sequence_end[token_${r}] - token_${r};`)}
  let last = sequence_end[min(row_start + ${layout.rows}u, params.N) - 1u];
  for (var query_head = head * ${group}u; query_head < (head + 1u) * ${group}u; query_head++) {
${tile.scan(
  "row_start",
  "last",
  `    workgroupBarrier(); // earlier readers are done
    {
      let token = min(base + lane / ${perToken}u, params.N - 1u);
      var r = 0.0;
      for (var e = lane % ${perToken}u; e < params.E; e += ${perToken}u) {
        r += ${dotText(shape.headDim, output("d_y")("token", "e"), output("y")("token", "e"))};
      }
      ${tile.told(`tile_shared[lane / ${rowsEach}u]`, `lane % ${rowsEach}u`)} = r;
    }
${tile.scores("s", key, element("q", "query_head"))}
${tile.scores("p", element("v", "head"), output("d_y"))}
${tile.eachSlot(
  (
    k,
  ) => `    let log_sum_${k} = log_sum_exp[min(base + x + ${k * ACROSS}u, params.N - 1u) * ${heads}u + query_head] * ${Math.LOG2E};
    let joined_${k} = ${dots(k)};
    let r_${k} = ${joined(k)};`,
)}
${tile.eachRow((t) =>
  tile.eachSlot(
    (
      k,
    ) => `    let weight_${t}_${k} = exp2(select(${MASKED}, s_${t}_${k} - log_sum_${k}, base + x + ${k * ACROSS}u - token_${t} < reach_${t}));
    p_${t}_${k} = weight_${t}_${k} * (p_${t}_${k} - r_${k});`,
  ),
)}
${tile.shareWeights("p")}
${tile.addWeighted("key_sums", element("q", "query_head"))}
${tile.shareWeights("weight")}
${tile.addWeighted("value_sums", output("d_y"))}`,
)}
  }
${tile.storeRows("key_sums", "k", 1 / Math.sqrt(headDim))}
${tile.storeRows("value_sums", "v")}
}`;
}
