/**
 * Attention for CPU adapters. A workgroup is one subgroup, whose lanes own rows: queries (`tokens` tokens, `lanes` apart,
 * in `heads` heads of one key/value head), or keys and values in backward. It scans the tokens of the other side in
 * ascending blocks; each lane loads some tokens of a block and every element reaches the others by broadcasts with
 * constant lane, or, where subgroups are quads, by swaps: there slot k of a lane is token k ^ lane of the quad. Which
 * token a slot holds matters to masks only. No shared memory, no barrier; sums run over ascending slots.
 *
 * Wide heads are walked in loops over their elements with rows in small arrays: unrolled text of a wide head compiles for
 * minutes. Narrow heads (`unrolled`) stay in registers.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import {
  angleRow,
  elementType,
  type HeadShape,
  loadElements,
  MASKED,
  outputRow,
  packedRow,
  repeat,
  rowElements,
  type Side,
  scoreScale,
  storeElements,
  vectorWidth,
} from "./attention_tiles.js";

export interface LaneLayout {
  /** Invocations of one workgroup, which share one tile of rows. */
  readonly lanes: number;
  /** How a scanned token's elements reach the lanes. `none`: every lane loads every token, on adapters of unknown subgroup size. */
  readonly exchange: "broadcast" | "swap" | "none";
  /** Tokens one invocation owns, `lanes` apart. */
  readonly tokens: number;
  /** Query heads of one key/value head that one invocation handles at once; 1 where rows are keys. */
  readonly heads: number;
  /** Scanned tokens whose scores are in registers at a time, a multiple of `lanes`. */
  readonly block: number;
  /** Elements of a head are walked in the text instead of a loop. */
  readonly unrolled: boolean;
}

/** Workgroups of a kernel whose rows are cut into `parts` groups of heads. */
export function laneWorkgroups({ lanes, tokens }: LaneLayout, N: number, parts: number): number {
  return Math.ceil(N / (lanes * tokens)) * parts;
}

/**
 * Unused elements before the rows of an array: Mesa takes an array that a loop's own counter indexes for the loop's bound
 * and unrolls the loop, which then compiles for minutes; a counter plus an offset it leaves alone.
 */
const PAD = 2;

/** Text about the rows of a tile and the slots of a block. */
class Tile {
  readonly elements: number;
  readonly rows: number;
  /** Tokens of a block that each lane loads. */
  readonly loads: number;

  constructor(
    readonly layout: LaneLayout,
    readonly shape: HeadShape,
    readonly parts: number,
  ) {
    this.elements = rowElements(shape.headDim);
    this.rows = layout.tokens * layout.heads;
    this.loads = layout.exchange === "none" ? layout.block : layout.block / layout.lanes;
  }

  eachRow(line: (row: number) => string): string {
    return repeat(this.rows, line);
  }

  eachSlot(line: (slot: number) => string): string {
    return repeat(this.layout.block, line);
  }

  /** Which of the invocation's tokens a row is of. */
  token(row: number): number {
    return Math.floor(row / this.layout.heads);
  }

  head(row: number): string {
    return `(head + ${row % this.layout.heads}u)`;
  }

  /** Whether a row is of a token of the batch, not of padding. */
  isInside(row: number): string {
    return `row_start + ${this.token(row) * this.layout.lanes}u + lane < params.N`;
  }

  /** Module scope and entry: declares `lane`, `part` (a share of the heads) and, for each token t of the lane, `token_t` (clamped). */
  entry(): string {
    const { lanes, tokens, exchange } = this.layout;
    const lane = exchange === "none" ? "local_invocation_index" : "subgroup_invocation_id";
    return wgsl`
#if ${exchange !== "none"}
enable subgroups;
#endif
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(${lane}) lane: u32) {
  let index = workgroup_index(group, groups);
  let tiles = (params.N + ${lanes * tokens - 1}u) / ${lanes * tokens}u;
  let part = index / tiles;
  if (part >= ${this.parts}u) { return; }
  let row_start = (index % tiles) * ${lanes * tokens}u;
${repeat(
  tokens,
  (t) => `  let token_${t} = min(row_start + ${t * lanes}u + lane, params.N - 1u);
  let angles_${t} = ${angleRow(this.shape, `token_${t}`)};`,
)}`;
  }

  /** Declares an array of rows that stays with the invocation. */
  declare(name: string): string {
    const type = elementType(this.shape.headDim);
    if (!this.layout.unrolled) return `  var ${name}: array<${type}, ${this.rows * this.elements + PAD}>;`;
    return this.eachRow((r) => repeat(this.elements, (e) => `  var ${name}_${r}_${e} = ${type}();`));
  }

  /** Element `e`, a text as `eachElement` gives it, of a row of a declared array. */
  at(name: string, row: number, e: string): string {
    return this.layout.unrolled
      ? `${name}_${row}_${e.replace("u", "")}`
      : `${name}[${row * this.elements + PAD}u + ${e}]`;
  }

  /** The bound is a uniform, so that drivers cannot unroll the loop. */
  eachElement(body: (e: string) => string): string {
    return this.layout.unrolled
      ? repeat(this.elements, (e) => `    { ${body(`${e}u`)} }`)
      : `    for (var e = 0u; e < params.E; e++) {\n${body("e")}\n    }`;
  }

  /** Walks a row by the elements that rotation joins: pairs half a row apart, else singly. */
  eachPair(body: (at: readonly string[]) => string): string {
    if (!this.shape.rotate) return this.eachElement((e) => body([e]));
    const half = this.elements / 2;
    return this.layout.unrolled
      ? repeat(half, (e) => `    { ${body([`${e}u`, `${e + half}u`])} }`)
      : `    for (var e = 0u; e < params.E / 2u; e++) {
      let f = e + ${half}u;
${body(["e", "f"])}
    }`;
  }

  /** Fills a declared array with rows of `qkv`, rotated. */
  loadRows(name: string, side: Side, head: (row: number) => string, scale = 1): string {
    const place = (r: number) => packedRow(this.shape, side, `token_${this.token(r)}`, head(r));
    const value = (r: number) => (n: number) => `${name}_${n}_of_${r}`;
    const rows = this.eachRow((r) => `  let ${name}_row_${r} = ${place(r)};`);
    const load = (at: readonly string[]) =>
      this.eachRow(
        (r) => `${loadElements(value(r), `${name}_row_${r}`, `angles_${this.token(r)}`, at, scale)}
      ${at.map((e, n) => `${this.at(name, r, e)} = ${value(r)(n)};`).join(" ")}`,
      );
    return `${rows}\n${side === "v" ? this.eachElement((e) => load([e])) : this.eachPair(load)}`;
  }

  /** Stores a declared array as gradients of rows of `qkv`, rotated back. */
  storeRows(name: string, side: Side, head: (row: number) => string, scale = 1): string {
    return this.eachRow((r) => {
      const t = this.token(r);
      const store = (at: readonly string[]) =>
        storeElements(
          at.map((e) => this.at(name, r, e)),
          "row",
          `angles_${t}`,
          at,
          scale,
        );
      return `  if (${this.isInside(r)}) {
    let row = ${packedRow(this.shape, side, `token_${t}`, head(r))};
${side === "v" ? this.eachElement((e) => store([e])) : this.eachPair(store)}
  }`;
    });
  }

  /**
   * Per load i of a lane, inside a block from `base`: `scanned_i` (clamped), `scanned_angles_i` and `<side>_row_i`, its row
   * of head `head`.
   */
  scanned(side: "q" | "k", head: string): string {
    const { exchange, lanes } = this.layout;
    return this.eachLoad((i) => {
      const offset = exchange === "none" ? `${i}u` : `${i * lanes}u + lane`;
      return `    let scanned_${i} = min(base + ${offset}, params.N - 1u);
    let scanned_angles_${i} = ${angleRow(this.shape, `scanned_${i}`)};
    let ${side}_row_${i} = ${packedRow(this.shape, side, `scanned_${i}`, head)};`;
    });
  }

  /** Declares `<side>_<n>_<i>`, element at[n] of the row that load i brings, rotated. */
  scannedElements(side: "q" | "k", at: readonly string[]): string {
    return this.eachLoad((i) =>
      loadElements((n) => `${side}_${n}_${i}`, `${side}_row_${i}`, `scanned_angles_${i}`, at),
    );
  }

  eachLoad(line: (load: number) => string): string {
    return repeat(this.loads, line);
  }

  /** The value of a slot's token, of a variable `<name>_<load>`. */
  fetch(name: string, slot: number): string {
    const { exchange, lanes } = this.layout;
    if (exchange === "none") return `${name}_${slot}`;
    const value = `${name}_${Math.floor(slot / lanes)}`;
    const lane = slot % lanes;
    if (exchange === "broadcast") return `subgroupBroadcast(${value}, ${lane}u)`;
    return lane === 0 ? value : `${["", "quadSwapX", "quadSwapY", "quadSwapDiagonal"][lane]}(${value})`;
  }

  /** Index of a slot's token. */
  position(slot: number): string {
    const { exchange, lanes } = this.layout;
    if (exchange !== "swap") return `(base + ${slot}u)`;
    return `(base + ${slot - (slot % lanes)}u + (lane ^ ${slot % lanes}u))`;
  }

  /** sum += inner product of two elements. */
  addDot(sum: string, a: string, b: string): string {
    const add = (part: string) => `${sum} = fma(${a}${part}, ${b}${part}, ${sum});`;
    return vectorWidth(this.shape.headDim) === 1 ? add("") : [".x", ".y", ".z", ".w"].map(add).join(" ");
  }

  /**
   * Scores of a block: for rows held in array `rows` and scanned elements `<scanned>_<n>_<load>`, adds the inner products of
   * the elements `at` to `<sum>_<row>_<slot>`.
   */
  addScores(sum: string, rows: string, scanned: string, at: readonly string[]): string {
    return at
      .map(
        (e, n) => `${this.eachRow((r) => `      let ${rows}_${n}_of_${r} = ${this.at(rows, r, e)};`)}
${this.eachSlot(
  (k) => `      { let value = ${this.fetch(`${scanned}_${n}`, k)};
${this.eachRow((r) => `        ${this.addDot(`${sum}_${r}_${k}`, `${rows}_${n}_of_${r}`, "value")}`)} }`,
)}`,
      )
      .join("\n");
  }

  /** Adds to the array `sums`, first multiplied by `fade`, the scanned elements `at`, weighted by `<weight>_<row>_<slot>`. */
  addWeighted(
    sums: string,
    weight: string,
    scanned: string,
    at: readonly string[],
    fade?: (row: number) => string,
  ): string {
    const type = elementType(this.shape.headDim);
    return at
      .map((e, n) => {
        const sum = (r: number) => `${sums}_${n}_of_${r}`;
        return `${this.eachRow((r) => `      var ${sum(r)} = ${this.at(sums, r, e)}${fade ? ` * ${fade(r)}` : ""};`)}
${this.eachSlot(
  (k) => `      { let value = ${this.fetch(`${scanned}_${n}`, k)};
${this.eachRow((r) => `        ${sum(r)} = fma(${type}(${weight}_${r}_${k}), value, ${sum(r)});`)} }`,
)}
${this.eachRow((r) => `      ${this.at(sums, r, e)} = ${sum(r)};`)}`;
      })
      .join("\n");
  }

  zeroScores(...names: string[]): string {
    return names
      .map((name) => this.eachRow((r) => this.eachSlot((k) => `    var ${name}_${r}_${k} = 0.0;`)))
      .join("\n");
  }
}

/** A tile of queries: declares for its tokens `start_t` and `reach_t`, the number of earlier keys. */
function queryTile(layout: LaneLayout, shape: HeadShape) {
  const tile = new Tile(layout, shape, shape.heads / layout.heads);
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
 * y and log_sum_exp. A block before a row's own sequence leaves maximum MASKED and finite rubbish, which the first real
 * score multiplies by exp2(MASKED - score) = 0. Every row meets a real score, its own token's.
 */
export function forward(layout: LaneLayout, shape: HeadShape): string {
  const { tile, entry, scan, keys, values, isVisible, single, output } = queryTile(layout, shape);
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
  (r) => `  if (${tile.isInside(r)}) {
    let row = ${output(r)};
    let scale = 1.0 / total_${r};
${tile.eachElement((e) => `write_y(row + ${e}, ${tile.at("sums", r, e)} * scale);`)}
    log_sum_exp[${single(r)}] = (top_${r} + log2(total_${r})) * ${Math.LN2};
  }`,
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
${tile.storeRows("sums", "q", (r) => tile.head(r), 1 / Math.sqrt(shape.headDim))}
}`;
}

/**
 * d_v = sum of P d_y and d_k = sum of dS q / sqrt(D), over the query heads of the key/value head in ascending order and,
 * within a head, over the queries from the tile's first token to the end of its last sequence. Rows are keys; r of a
 * scanned query is computed by the lane that loads it.
 */
export function backwardKeyValue(layout: LaneLayout, shape: HeadShape): string {
  const { heads, kvHeads, headDim } = shape;
  const tile = new Tile(layout, shape, kvHeads);
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
${tile.storeRows("key_sums", "k", () => "part", 1 / Math.sqrt(headDim))}
${tile.storeRows("value_sums", "v", () => "part")}
}`;
}
