/**
 * Attention of wide heads for CPU adapters whose subgroups exchange by broadcasts. A workgroup is one subgroup; it owns rows:
 * queries of the heads that share a key/value head, or keys and values in backward. It scans the tokens of the other side in
 * panels of four a lane, each of which is loaded once for all rows into private arrays, in two ways:
 *
 *     across tokens    [D]           element d of the lane's four tokens, for inner products with a row
 *     across columns   [tokens * G]  the lane's columns of each token, for sums of tokens
 *
 * Then it goes row by row. The arrays are read at constant places alone, see matmul_panel.ts, and what a row adds up from panel
 * to panel waits in workgroup memory, where until the end a lane reads only what it wrote itself.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { added, joined, larger } from "../joined.js";
import {
  angleRow,
  type HeadShape,
  MASKED,
  outputRow,
  packedRow,
  repeat,
  rowElements,
  type Side,
  scoreScale,
  storeElements,
} from "./attention_tiles.js";

export interface PanelLayout {
  /** Invocations of a workgroup: one subgroup. */
  readonly lanes: number;
  /** Most tokens whose rows a workgroup owns. */
  readonly mostTokens: number;
  /** Tokens below which a workgroup has too few rows for its panels. */
  readonly leastTokens: number;
  /** Workgroups for which tokens are shared out more thinly. */
  readonly workgroups: number;
}

/** Tiles of tokens that `N` tokens are cut into, for each of `parts` key/value heads. */
export function panelTiles(
  { mostTokens, leastTokens, workgroups }: PanelLayout,
  N: number,
  parts: number,
): number {
  const wanted = Math.min(Math.ceil(N / leastTokens), Math.ceil(workgroups / parts));
  return Math.max(Math.ceil(N / mostTokens), wanted);
}

/** Bytes of workgroup memory that a row takes: `sums` rows of D, and `values` of its own in each lane. */
export const panelRowBytes = (lanes: number, headDim: number, sums: number, values: number): number =>
  4 * (headDim * sums + lanes * values);

/** Elements of a row that one lane holds; undefined where they cannot be shared out evenly. */
export function elementsEach(headDim: number, lanes: number): number | undefined {
  const each = headDim / 4 / lanes;
  return headDim % 8 === 0 && Number.isInteger(each) ? each : undefined;
}

const PARTS = ["x", "y", "z", "w"] as const;
const STEP = [0, 1, 2, 3] as const;

/** The lane's four tokens of a panel. */
const SCANNED = "(vec4<u32>(own) + vec4<u32>(0u, 1u, 2u, 3u))";

/** Text about rows and panels. */
class Panels {
  /** vec4 of a row. */
  readonly elements: number;
  /** vec4 of a row that each lane holds: number g is element g * lanes + lane. */
  readonly each: number;
  /** Tokens of a panel. */
  readonly width: number;
  readonly lanes: number;

  constructor(
    readonly layout: PanelLayout,
    readonly shape: HeadShape,
    /** Rows of a token. */
    readonly heads: number,
  ) {
    this.lanes = layout.lanes;
    this.elements = rowElements(shape.headDim);
    this.each = this.elements / this.lanes;
    this.width = 4 * this.lanes;
  }

  /** Module scope and entry: declares `lane`, `part` (a key/value head), tokens `first` .. `last` - 1 and their `rows`. */
  entry(sums: readonly string[], values: readonly string[]): string {
    const { mostTokens, leastTokens, workgroups } = this.layout;
    const { kvHeads } = this.shape;
    const rows = mostTokens * this.heads;
    return wgsl`
enable subgroups;
${sums.map((name) => `var<workgroup> ${name}: array<vec4<f32>, ${rows * this.elements}>;`).join("\n")}
${values.map((name) => `var<workgroup> ${name}: array<f32, ${rows * this.lanes}>;`).join("\n")}
@compute @workgroup_size(${this.lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(subgroup_invocation_id) lane: u32) {
  let index = workgroup_index(group, groups);
  let thin = min((params.N + ${leastTokens - 1}u) / ${leastTokens}u, ${Math.ceil(workgroups / kvHeads)}u);
  let tiles = max((params.N + ${mostTokens - 1}u) / ${mostTokens}u, thin);
  let part = index / tiles;
  if (part >= ${kvHeads}u) { return; }
  let each = (params.N + tiles - 1u) / tiles;
  let first = min(index % tiles * each, params.N);
  let last = min(first + each, params.N);
  if (first >= last) { return; }
  let rows = (last - first) * ${this.heads}u;`;
  }

  eachOwn(line: (g: number) => string): string {
    return repeat(this.each, line);
  }

  /** Element number g of this lane. */
  own(g: number): string {
    return g === 0 ? "lane" : `(lane + ${g * this.lanes}u)`;
  }

  /** Where what row `r` adds up waits. */
  slot(name: string, g: number): string {
    return `${name}[r * ${this.elements}u + ${this.own(g)}]`;
  }

  value(name: string): string {
    return `${name}[r * ${this.lanes}u + lane]`;
  }

  /** Declares `<name>_g`, this lane's elements of a row of `qkv`, rotated where it is of a query or key, times `scale`. */
  loadRow(name: string, side: Side, token: string, head: string, scale = 1): string {
    const { shape, each, elements } = this;
    const place = `      let ${name}_row = ${packedRow(shape, side, token, head)};`;
    const times = scale === 1 ? "" : ` * ${scale}`;
    if (side === "v" || !shape.rotate)
      return `${place}\n${this.eachOwn((g) => `      let ${name}_${g} = read_qkv(${name}_row + ${this.own(g)})${times};`)}`;
    const half = elements / 2;
    const angles = `      let ${name}_angles = ${angleRow(shape, token)};`;
    const rotated = this.eachOwn((g) => {
      const own = this.own(g);
      if (each % 2 === 1) {
        // the other of the pair is another lane's
        return `      let ${name}_${g}_angle = ${name}_angles + ${own} % ${half}u;
      let ${name}_${g}_other = select(1.0, -1.0, ${own} < ${half}u) * read_qkv(${name}_row + (${own} + ${half}u) % ${elements}u);
      let ${name}_${g} = (read_qkv(${name}_row + ${own}) * table[${name}_${g}_angle] + ${name}_${g}_other * table[${name}_${g}_angle + ${half}u])${times};`;
      }
      if (g >= each / 2) return "";
      const other = g + each / 2;
      return `      let ${name}_${g}_a = read_qkv(${name}_row + ${own})${times};
      let ${name}_${g}_b = read_qkv(${name}_row + ${this.own(other)})${times};
      let ${name}_${g}_cosine = table[${name}_angles + ${own}];
      let ${name}_${g}_sine = table[${name}_angles + ${this.own(other)}];
      let ${name}_${g} = ${name}_${g}_a * ${name}_${g}_cosine - ${name}_${g}_b * ${name}_${g}_sine;
      let ${name}_${other} = ${name}_${g}_b * ${name}_${g}_cosine + ${name}_${g}_a * ${name}_${g}_sine;`;
    });
    return `${place}\n${angles}\n${rotated}`;
  }

  /** Declares `<name>_g`, this lane's elements of the row of `y` or its gradient that begins at `output`. */
  loadOutput(name: string, read: string): string {
    return this.eachOwn((g) => `      let ${name}_${g} = ${read}(output + ${this.own(g)});`);
  }

  /**
   * Fills private arrays across tokens, in loops over the lane's four tokens, from `own` on, and their elements, which Mesa must not
   * unroll: loads are long to compile. `start` and `end` are said for each `token`, number `j` of the lane; `element` for each
   * element e of it.
   */
  acrossTokens(start: string, element: string, { end = "", count = "params.E" } = {}): string {
    return `    for (var next = own; next < own + 4u; next++) {
      let j = next - own;
      let token = min(next, params.N - 1u);
${start}
      for (var e = 0u; e < ${count}; e++) {
${element}
      }
${end}
    }`;
  }

  /** Fills `name` [D * 4] across tokens from `qkv`. */
  scannedRows(name: string, side: Side, head: string): string {
    const { shape, elements } = this;
    const place = `      let row = ${packedRow(shape, side, "token", head)};`;
    if (!shape.rotate || side === "v")
      return this.acrossTokens(
        place,
        `        let value = read_qkv(row + e);\n${this.storeAcross(name, "e", "value")}`,
      );
    const half = `${elements / 2}u`;
    return this.acrossTokens(
      `${place}\n      let angles = ${angleRow(shape, "token")};`,
      `        let a = read_qkv(row + e);
        let b = read_qkv(row + e + ${half});
        let cosine = table[angles + e];
        let sine = table[angles + e + ${half}];
        let first_value = a * cosine - b * sine;
        let second_value = b * cosine + a * sine;
${this.storeAcross(name, "e", "first_value")}
${this.storeAcross(name, `(e + ${half})`, "second_value")}`,
      { count: "params.E / 2u" },
    );
  }

  storeAcross(name: string, e: string, value: string): string {
    return PARTS.map((part, i) => `        ${name}[${e} * 16u + ${4 * i}u + j] = ${value}.${part};`).join(
      "\n",
    );
  }

  /** Fills private arrays across columns: `load` declares `<name>_own_g` for `token`. */
  acrossColumns(names: readonly string[], load: string): string {
    const store = names.map((name) =>
      this.eachOwn((g) => `      ${name}[(next - base) * ${this.each}u + ${g}u] = ${name}_own_${g};`),
    );
    return `    for (var next = base; next < base + ${this.width}u; next++) {
      let token = min(next, params.N - 1u);
${load}
${store.join("\n")}
    }`;
  }

  /** Declares `sum`: inner products of the row `<row>_g` with the lane's four tokens. */
  dots(sum: string, row: string, panel: string): string {
    const add = repeat(this.shape.headDim, (d) => {
      const e = Math.floor(d / 4);
      const g = Math.floor(e / this.lanes);
      const four = STEP.map((j) => `${panel}[${4 * d + j}]`).join(", ");
      return `      ${sum} += subgroupBroadcast(${row}_${g}.${PARTS[d % 4]}, ${e % this.lanes}u) * vec4<f32>(${four});`;
    });
    return `      var ${sum} = vec4<f32>();\n${add}`;
  }

  /** Adds to `<sum>_g` the panel's tokens, weighted by the lanes' `weight`. */
  addTokens(sum: string, weight: string, panel: string): string {
    return repeat(this.width, (t) => {
      const x = `subgroupBroadcast(${weight}.${PARTS[t % 4]}, ${Math.floor(t / 4)}u)`;
      const adds = Array.from(
        { length: this.each },
        (_, g) => `${sum}_${g} += x * ${panel}[${t * this.each + g}];`,
      );
      return `      { let x = ${x}; ${adds.join(" ")} }`;
    });
  }

  /** Stores the gradient that waits in `name` for row `r`, rotated back. */
  storeGradient(name: string, side: Side, token: string, head: string, scale: number): string {
    const { shape, elements, lanes } = this;
    const place = `    let ${name}_row = ${packedRow(shape, side, token, head)};`;
    const at = (e: string) => `${name}[r * ${elements}u + ${e}]`;
    if (!shape.rotate || side === "v") {
      const store = (g: number) => {
        const e = this.own(g);
        return `    ${storeElements([at(e)], `${name}_row`, "", [e], scale)}`;
      };
      return `${place}\n${this.eachOwn(store)}`;
    }
    const half = elements / 2;
    return `${place}
    let ${name}_angles = ${angleRow(shape, token)};
    for (var e = lane; e < params.E / 2u; e += ${lanes}u) {
      let f = e + ${half}u;
      ${storeElements([at("e"), at("f")], `${name}_row`, `${name}_angles`, ["e", "f"], scale)}
    }`;
  }
}

/** Rows are queries, of the heads from `part * heads` on: declares for row r its `token`, `head` and the places of its outputs. */
const queryRow = ({ heads, shape }: Panels): string => `      let token = first + r / ${heads}u;
      let head = part * ${heads}u + r % ${heads}u;
      let output = ${outputRow(shape, "token", "head")};`;

/** Whether the lane's four keys are visible to the query `token`. */
const visible = (): string => `      let start = sequence_start[token];
      let keys = ${SCANNED} - start;
      let inside = keys <= vec4<u32>(token - start);`;

/** Scans keys from the start of the first query's sequence, and in each panel the queries that may see one of its keys. */
const scanKeys = (panels: Panels, fill: string, row: string): string => `
  for (var base = sequence_start[first]; base < last; base += ${panels.width}u) {
    let own = base + lane * 4u;
${fill}
    for (var r = (max(first, base) - first) * ${panels.heads}u;
         r < rows && sequence_start[first + r / ${panels.heads}u] < base + ${panels.width}u; r++) {
${queryRow(panels)}
${row}
    }
  }`;

/** Computes y and log_sum_exp. Rows scan only panels that hold a key of their sequence; the softmax is kept up as it goes. */
export function forward(layout: PanelLayout, shape: HeadShape): string {
  const heads = shape.heads / shape.kvHeads;
  const panels = new Panels(layout, shape, heads);
  const { headDim } = shape;
  const fill = `${panels.scannedRows("keys_of", "k", "part")}
${panels.acrossColumns(["values_of"], panels.loadRow("values_of_own", "v", "token", "part"))}`;
  const row = `${panels.loadRow("q", "q", "token", "head", scoreScale(headDim))}
${panels.eachOwn((g) => `      var sum_${g} = ${panels.slot("sums", g)};`)}
      let top = ${panels.value("tops")};
      let total = ${panels.value("totals")};
${panels.dots("dots", "q", "keys_of")}
${visible()}
      let s = select(vec4<f32>(${MASKED}), dots, inside);
${joined("next_top", "max(top, max(max(s.x, s.y), max(s.z, s.w)))", panels.lanes, larger)}
      let fade = exp2(top - next_top);
      let p = exp2(s - next_top);
${panels.eachOwn((g) => `      sum_${g} *= fade;`)}
${panels.addTokens("sum", "p", "values_of")}
${panels.eachOwn((g) => `      ${panels.slot("sums", g)} = sum_${g};`)}
      ${panels.value("tops")} = next_top;
${joined("share", "p.x + p.y + p.z + p.w", panels.lanes, added)}
      ${panels.value("totals")} = total * fade + share;`;
  return wgsl`${panels.entry(["sums"], ["tops", "totals"])}
  var keys_of: array<f32, ${4 * headDim}>;
  var values_of: array<vec4<f32>, ${panels.width * panels.each}>;
  for (var r = 0u; r < rows; r++) {
${panels.eachOwn((g) => `    ${panels.slot("sums", g)} = vec4<f32>();`)}
    ${panels.value("tops")} = ${MASKED};
    ${panels.value("totals")} = 0.0;
  }
${scanKeys(panels, fill, row)}
  for (var r = 0u; r < rows; r++) {
${queryRow(panels)}
    let total = ${panels.value("totals")};
    if (lane == 0u) { log_sum_exp[token * ${shape.heads}u + head] = (${panels.value("tops")} + log2(total)) * ${Math.LN2}; }
${panels.eachOwn((g) => `    write_y(output + ${panels.own(g)}, ${panels.slot("sums", g)} * (1.0 / total));`)}
  }
}`;
}

/**
 * d_q = sum over keys of dS k / sqrt(D) with P = exp(s - log_sum_exp), dP = d_y v^T, r = sum over D of d_y y and
 * dS = P (dP - r). Rows are queries.
 */
export function backwardQuery(layout: PanelLayout, shape: HeadShape): string {
  const heads = shape.heads / shape.kvHeads;
  const panels = new Panels(layout, shape, heads);
  const { headDim } = shape;
  const fill = `${panels.scannedRows("keys_of", "k", "part")}
${panels.scannedRows("values_of", "v", "part")}
${panels.acrossColumns(["columns_of"], panels.loadRow("columns_of_own", "k", "token", "part"))}`;
  const row = `${panels.loadRow("q", "q", "token", "head", scoreScale(headDim))}
${panels.dots("dots", "q", "keys_of")}
${panels.loadOutput("g", "read_d_y")}
${panels.dots("slopes", "g", "values_of")}
${panels.eachOwn((g) => `      var sum_${g} = ${panels.slot("sums", g)};`)}
${visible()}
      let p = exp2(select(vec4<f32>(${MASKED}), dots - ${panels.value("log_sums")}, inside));
      let d_s = p * (slopes - ${panels.value("row_dots")});
${panels.addTokens("sum", "d_s", "columns_of")}
${panels.eachOwn((g) => `      ${panels.slot("sums", g)} = sum_${g};`)}`;
  return wgsl`${panels.entry(["sums"], ["log_sums", "row_dots"])}
  var keys_of: array<f32, ${4 * headDim}>;
  var values_of: array<f32, ${4 * headDim}>;
  var columns_of: array<vec4<f32>, ${panels.width * panels.each}>;
  for (var r = 0u; r < rows; r++) {
${queryRow(panels)}
${panels.loadOutput("g", "read_d_y")}
${panels.loadOutput("out", "read_y")}
${joined("row_dot", Array.from({ length: panels.each }, (_, g) => `dot(g_${g}, out_${g})`).join(" + "), panels.lanes, added)}
${panels.eachOwn((g) => `    ${panels.slot("sums", g)} = vec4<f32>();`)}
    ${panels.value("row_dots")} = row_dot;
    ${panels.value("log_sums")} = log_sum_exp[token * ${shape.heads}u + head] * ${Math.LOG2E};
  }
${scanKeys(panels, fill, row)}
  workgroupBarrier(); // rotation joins elements of two lanes
  for (var r = 0u; r < rows; r++) {
${queryRow(panels)}
${panels.storeGradient("sums", "q", "token", "head", 1 / Math.sqrt(headDim))}
  }
}`;
}

/**
 * d_v = sum of P d_y and d_k = sum of dS q / sqrt(D), over the query heads of the key/value head in ascending order and,
 * within a head, over the queries from the tile's first token to the end of its last sequence. Rows are keys.
 */
export function backwardKeyValue(layout: PanelLayout, shape: HeadShape): string {
  const group = shape.heads / shape.kvHeads;
  const panels = new Panels(layout, shape, 1);
  const { headDim, heads } = shape;
  const fill = `${panels.scannedRows("queries_of", "q", "head")}
${panels.acrossTokens(
  `      let output = ${outputRow(shape, "token", "head")};
      log_sums_of[j] = log_sum_exp[token * ${heads}u + head] * ${Math.LOG2E};
      var row_dot = 0.0;`,
  `        let value = read_d_y(output + e);
        row_dot += dot(value, read_y(output + e));
${panels.storeAcross("slopes_of", "e", "value")}`,
  { end: "      row_dots_of[j] = row_dot;" },
)}
    let row_dots = vec4<f32>(${STEP.map((j) => `row_dots_of[${j}]`).join(", ")});
    let log_sums = vec4<f32>(${STEP.map((j) => `log_sums_of[${j}]`).join(", ")});
${panels.acrossColumns(
  ["query_columns", "slope_columns"],
  `${panels.loadRow("query_columns_own", "q", "token", "head")}
      let output = ${outputRow(shape, "token", "head")};
${panels.loadOutput("slope_columns_own", "read_d_y")}`,
)}`;
  const row = `      let token = first + r;
${panels.loadRow("k", "k", "token", "part", scoreScale(headDim))}
${panels.dots("dots", "k", "queries_of")}
${panels.loadRow("v", "v", "token", "part")}
${panels.dots("slopes", "v", "slopes_of")}
      let queries = ${SCANNED} - token;
      let inside = queries < vec4<u32>(sequence_end[token] - token);
      let p = exp2(select(vec4<f32>(${MASKED}), dots - log_sums, inside));
      let d_s = p * (slopes - row_dots);
${panels.eachOwn((g) => `      var key_${g} = ${panels.slot("key_sums", g)};`)}
${panels.addTokens("key", "d_s", "query_columns")}
${panels.eachOwn((g) => `      ${panels.slot("key_sums", g)} = key_${g};`)}
${panels.eachOwn((g) => `      var value_${g} = ${panels.slot("value_sums", g)};`)}
${panels.addTokens("value", "p", "slope_columns")}
${panels.eachOwn((g) => `      ${panels.slot("value_sums", g)} = value_${g};`)}`;
  return wgsl`${panels.entry(["key_sums", "value_sums"], [])}
  var queries_of: array<f32, ${4 * headDim}>;
  var slopes_of: array<f32, ${4 * headDim}>;
  var row_dots_of: array<f32, 4>;
  var log_sums_of: array<f32, 4>;
  var query_columns: array<vec4<f32>, ${panels.width * panels.each}>;
  var slope_columns: array<vec4<f32>, ${panels.width * panels.each}>;
  for (var r = 0u; r < rows; r++) {
${panels.eachOwn((g) => `    ${panels.slot("key_sums", g)} = vec4<f32>(); ${panels.slot("value_sums", g)} = vec4<f32>();`)}
  }
  let end = sequence_end[last - 1u];
  for (var head = part * ${group}u; head < (part + 1u) * ${group}u; head++) {
    var start = 0u;
    for (var base = first; base < end; base += ${panels.width}u) {
      let own = base + lane * 4u;
${fill}
      // keys whose sequence ended before this panel are through
      for (; start < rows && sequence_end[first + start] <= base; start++) {}
      for (var r = start; r < min(rows, base + ${panels.width}u - first); r++) {
${row}
      }
    }
  }
  workgroupBarrier(); // rotation joins elements of two lanes
  for (var r = 0u; r < rows; r++) {
    let token = first + r;
${panels.storeGradient("key_sums", "k", "token", "part", 1 / Math.sqrt(headDim))}
${panels.storeGradient("value_sums", "v", "token", "part", 1)}
  }
}`;
}
