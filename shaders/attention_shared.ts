/**
 * Attention for GPUs. A workgroup of 32 x 8 invocations owns a tile of 64 rows of one head (queries, or keys and values in
 * backward) and scans the tokens of the other side, 32 at a time in ascending order. Invocation (y, x) owns
 * the rows y + 16 r: the scores with the scanned tokens x + 8 c, and in chunk after chunk of a head the output elements
 * x, x + 8 ... Only these are in registers: at D = 128 and four rows 64 floats of output and 16 of scores.
 *
 * Shared memory, 16 KB at most: `tile_rows` (a chunk of 32 floats of the rows; then the weights of all rows and scanned
 * tokens), `tile_scanned` (a chunk of the scanned tokens), `tile_shared` (what the invocations of a row tell each other).
 * Rows are one element apart from a multiple of the banks. Barriers: before staging, when earlier readers are done, and
 * after it. Sums run over ascending elements and tokens.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import {
  angleRow,
  elementType,
  type HeadShape,
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

/** Invocations down and across a tile, and rows that each owns. */
const [DOWN, ACROSS] = [32, 8];
const ROWS_EACH = 2;
const LANES = DOWN * ACROSS;
const TILE_ROWS = DOWN * ROWS_EACH;
const SCANNED = 32;
/** Scores of one row that an invocation owns. */
const SLOTS = SCANNED / ACROSS;
/** Floats of a chunk: as many as scanned tokens, so that weights fit the memory of a chunk of rows. */
const CHUNK = SCANNED;

/** Workgroups of a kernel over `heads` heads. */
export function sharedWorkgroups(N: number, heads: number): number {
  return Math.ceil(N / TILE_ROWS) * heads;
}

const slots = (line: (slot: number) => string) => repeat(SLOTS, line);

/** Text of a tile of rows and the chunks of a head. */
class Tile {
  readonly width: 1 | 4;
  readonly type: string;
  readonly elements: number;
  /** Elements of a chunk, and from row to row in shared memory. */
  readonly chunk: number;
  readonly stride: number;
  /** Where each chunk of a head begins, and its elements. With rotation even chunks are of the first half, odd ones their partners. */
  readonly chunks: readonly { readonly first: number; readonly count: number }[];
  /** Elements of a chunk that one invocation owns. */
  readonly own: number;

  constructor(readonly shape: HeadShape) {
    this.width = vectorWidth(shape.headDim);
    this.type = elementType(shape.headDim);
    this.elements = rowElements(shape.headDim);
    this.chunk = CHUNK / this.width;
    this.stride = this.chunk + 1;
    this.own = this.chunk / ACROSS;
    const span = shape.rotate ? this.elements / 2 : this.elements;
    const starts = Array.from({ length: Math.ceil(span / this.chunk) }, (_, c) => c * this.chunk);
    this.chunks = starts.flatMap((first) => {
      const count = Math.min(this.chunk, span - first);
      return shape.rotate
        ? [
            { first, count },
            { first: first + span, count },
          ]
        : [{ first, count }];
    });
  }

  eachRow(line: (row: number) => string): string {
    return repeat(ROWS_EACH, line);
  }

  /** Module scope and entry: declares x, y_row, `head` (of `heads`) and for each row r `token_r` (clamped). */
  entry(heads: number): string {
    return wgsl`
var<workgroup> tile_rows: array<${this.type}, ${TILE_ROWS * this.stride}>;
var<workgroup> tile_scanned: array<${this.type}, ${SCANNED * this.stride}>;
var<workgroup> tile_shared: array<vec2<f32>, ${LANES}>;
@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let index = workgroup_index(group, groups);
  let tiles = (params.N + ${TILE_ROWS - 1}u) / ${TILE_ROWS}u;
  let head = index / tiles;
  if (head >= ${heads}u) { return; }
  let row_start = (index % tiles) * ${TILE_ROWS}u;
  let x = lane % ${ACROSS}u;
  let y_row = lane / ${ACROSS}u;
${this.eachRow((r) => `  let token_${r} = min(row_start + y_row + ${r * DOWN}u, params.N - 1u);`)}`;
  }

  isInside(row: number): string {
    return `row_start + y_row + ${row * DOWN}u < params.N`;
  }

  /** A loop over the tokens `first` .. `last` (exclusive): the body takes `filled` scanned tokens from `base`. */
  scan(first: string, last: string, body: string): string {
    return `  for (var base = ${first}; base < ${last}; base += ${SCANNED}u) {
    let filled = min(${SCANNED}u, ${last} - base);
${body}
  }`;
  }

  /** Fills a tile with elements `first` .. `first + count` of rows; `load` gives element `e` of a token. */
  stage(tile: "rows" | "scanned", load: (token: string, e: string) => string): string {
    const tokens = tile === "rows" ? TILE_ROWS : SCANNED;
    return `    for (var i = lane; i < ${tokens}u * count; i += ${LANES}u) {
      let token = min(${tile === "rows" ? "row_start" : "base"} + i / count, params.N - 1u);
      let e = first + i % count;
      tile_${tile}[i / count * ${this.stride}u + i % count] = ${load("token", "e")};
    }`;
  }

  /** Declares `element_<side>(token, head, e)`: an element of `qkv`, rotated. */
  elementFunction(side: Side): string {
    const row = packedRow(this.shape, side, "token", "head");
    const half = this.elements / 2;
    const body =
      !this.shape.rotate || side === "v"
        ? `return read_qkv(${row} + e);`
        : `let row = ${row};
  let angles = ${angleRow(this.shape, "token")} + e % ${half}u;
  let sine = table[angles + ${half}u];
  let partner = read_qkv(row + (e + ${half}u) % ${this.elements}u);
  return read_qkv(row + e) * table[angles] + partner * select(sine, -sine, e < ${half}u);`;
    return `fn element_${side}(token: u32, head: u32, e: u32) -> ${this.type} {
  ${body}
}`;
  }

  /** Declares `<sum>_<row>_<slot>`: inner products of rows and scanned tokens over a whole head. */
  scores(
    sum: string,
    loadRows: (token: string, e: string) => string,
    loadScanned: (token: string, e: string) => string,
  ): string {
    const dot = (r: number, k: number) =>
      this.width === 4 ? `dot(own_${r}, scanned_${k})` : `own_${r} * scanned_${k}`;
    return `${this.eachRow((r) => slots((k) => `    var ${sum}_${r}_${k} = 0.0;`))}
    for (var first = 0u; first < params.E; first += ${this.chunk}u) {
    let count = min(${this.chunk}u, params.E - first);
    workgroupBarrier(); // earlier readers are done
${this.stage("rows", loadRows)}
${this.stage("scanned", loadScanned)}
    workgroupBarrier(); // the chunk is complete
    for (var e = 0u; e < count; e++) {
${this.eachRow((r) => `      let own_${r} = tile_rows[(y_row + ${r * DOWN}u) * ${this.stride}u + e];`)}
${slots((k) => `      let scanned_${k} = tile_scanned[(x + ${k * ACROSS}u) * ${this.stride}u + e];`)}
${this.eachRow((r) => slots((k) => `      ${sum}_${r}_${k} += ${dot(r, k)};`))}
    }
    }`;
  }

  /** Puts `<weight>_<row>_<slot>` into `tile_rows`. */
  shareWeights(weight: string): string {
    return `    workgroupBarrier(); // earlier readers are done
${this.eachRow((r) =>
  slots((k) => {
    const [row, token] = [`(y_row + ${r * DOWN}u) * ${this.stride}u`, `(x + ${k * ACROSS}u)`];
    return this.width === 4
      ? `    tile_rows[${row} + ${token} / 4u][${token} % 4u] = ${weight}_${r}_${k};`
      : `    tile_rows[${row} + ${token}] = ${weight}_${r}_${k};`;
  }),
)}`;
  }

  eachOwn(line: (chunk: number, own: number) => string): string {
    return repeat(this.chunks.length, (c) => repeat(this.own, (o) => line(c, o)));
  }

  /** Declares sums of outputs: `<name>_<row>_<chunk>_<own>`. */
  declare(name: string): string {
    return this.eachRow((r) => this.eachOwn((c, o) => `  var ${name}_${r}_${c}_${o} = ${this.type}();`));
  }

  /** Adds scanned elements weighted by what `shareWeights` shared. */
  addWeighted(sums: string, load: (token: string, e: string) => string): string {
    const perStep = this.width;
    const steps = (c: number) => `for (var j = 0u; j < (filled + ${perStep - 1}u) / ${perStep}u; j++) {
${this.eachRow((r) => `      let weight_${r} = tile_rows[(y_row + ${r * DOWN}u) * ${this.stride}u + j];`)}
${repeat(perStep, (i) =>
  repeat(this.own, (o) => {
    const weight = (r: number) => (perStep === 4 ? `weight_${r}[${i}]` : `weight_${r}`);
    return `      { let value = tile_scanned[(j * ${perStep}u + ${i}u) * ${this.stride}u + x + ${o * ACROSS}u];
${this.eachRow((r) => `        ${sums}_${r}_${c}_${o} += ${weight(r)} * value;`)} }`;
  }),
)}
    }`;
    return this.chunks
      .map(
        ({ first, count }, c) => `    {
    let first = ${first}u;
    let count = min(${count}u, params.E); // no constant, which drivers would unroll by
    workgroupBarrier(); // earlier readers of the scanned tokens are done, weights are complete
${this.stage("scanned", load)}
    workgroupBarrier(); // the chunk is complete
    ${steps(c)}
    }`,
      )
      .join("\n");
  }

  /** Joins `<name>_<row>` of the invocations of a row by `combine`, in the order of x. */
  acrossRow(name: string, combine: (a: string, b: string) => string): string {
    const all = Array.from({ length: ACROSS }, (_, i) => `tile_shared[y_row * ${ACROSS}u + ${i}u]`);
    return `    { workgroupBarrier(); // earlier readers are done
    tile_shared[lane] = vec2<f32>(${name}_0, ${name}_1);
    workgroupBarrier(); // every invocation of the row has told
    let joined = ${all.reduce(combine)};
${this.eachRow((r) => `    ${name}_${r} = joined[${r}];`)} }`;
  }

  /** Text for the own elements of a row, those that rotation joins together: indices `at` and the values' names. */
  eachOwnElement(row: number, body: (at: readonly string[], suffixes: readonly string[]) => string): string {
    const joined = this.shape.rotate ? 2 : 1;
    return repeat(this.chunks.length / joined, (pair) =>
      repeat(this.own, (o) => {
        const c = pair * joined;
        const { first, count } = this.chunks[c] as { first: number; count: number };
        const local = `x + ${o * ACROSS}u`;
        const at = [`(${first}u + ${local})`, `(${first + this.elements / 2}u + ${local})`].slice(0, joined);
        return `    if (${local} < ${count}u) { ${body(
          at,
          at.map((_, n) => `${row}_${c + n}_${o}`),
        )} }`;
      }),
    );
  }

  /** Stores sums as gradients of rows of `qkv`, rotated back. */
  storeRows(sums: string, side: Side, scale = 1): string {
    return this.eachRow((r) => {
      const turned = side !== "v";
      const store = (at: readonly string[], suffixes: readonly string[]) => {
        const values = suffixes.map((suffix) => `${sums}_${suffix}`);
        if (turned) return storeElements(values, "row", "angles", at, scale);
        return at.map((e, n) => storeElements([values[n] as string], "row", "angles", [e], scale)).join(" ");
      };
      return `  if (${this.isInside(r)}) {
    let row = ${packedRow(this.shape, side, `token_${r}`, "head")};
    ${turned ? `let angles = ${angleRow(this.shape, `token_${r}`)};` : ""}
${this.eachOwnElement(r, store)}
  }`;
    });
  }
}

const element = (side: Side, head: string) => (token: string, e: string) =>
  `element_${side}(${token}, ${head}, ${e})`;

/** Queries of one head and what they scan. */
function queryTile(shape: HeadShape) {
  const tile = new Tile(shape);
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
      tile.scan("sequence_start[row_start]", `min(row_start + ${TILE_ROWS}u, params.N)`, body),
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
export function forward(shape: HeadShape): string {
  const { tile, entry, scan, query, key, value, isVisible, single } = queryTile(shape);
  const names = (r: number) => Array.from({ length: SLOTS }, (_, k) => `s_${r}_${k}`);
  return wgsl`
${entry}
${tile.declare("sums")}
${tile.eachRow((r) => `  var top_${r} = ${MASKED};\n  var total_${r} = 0.0;`)}
${scan(`${tile.scores("s", query, key)}
${tile.eachRow(
  (r) => `${slots((k) => `    s_${r}_${k} = select(${MASKED}, s_${r}_${k}, ${isVisible(r, k)});`)}
    var next_${r} = max(top_${r}, ${names(r).reduce((a, b) => `max(${a}, ${b})`)});`,
)}
${tile.acrossRow("next", (a, b) => `max(${a}, ${b})`)}
${tile.eachRow(
  (r) => `    let fade_${r} = exp2(top_${r} - next_${r});
    top_${r} = next_${r};
${slots((k) => `    s_${r}_${k} = exp2(s_${r}_${k} - next_${r});`)}
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
export function backwardQuery(shape: HeadShape): string {
  const { tile, entry, scan, query, key, value, output, isVisible, single } = queryTile(shape);
  const product = (a: string, b: string) => (tile.width === 4 ? `dot(${a}, ${b})` : `${a} * ${b}`);
  return wgsl`
${entry}
${tile.declare("sums")}
${tile.eachRow(
  (r) => `  let log_sum_${r} = log_sum_exp[${single(r)}] * ${Math.LOG2E};
  var r_${r} = 0.0;
  for (var e = x; e < params.E; e += ${ACROSS}u) {
    r_${r} += ${product(output("d_y")(`token_${r}`, "e"), output("y")(`token_${r}`, "e"))};
  }`,
)}
${tile.acrossRow("r", (a, b) => `${a} + ${b}`)}
${scan(`${tile.scores("s", query, key)}
${tile.scores("p", output("d_y"), value)}
${tile.eachRow((r) =>
  slots(
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
export function backwardKeyValue(shape: HeadShape): string {
  const { heads, kvHeads, headDim } = shape;
  const tile = new Tile(shape);
  const group = heads / kvHeads;
  const product = (a: string, b: string) => (tile.width === 4 ? `dot(${a}, ${b})` : `${a} * ${b}`);
  const output = (name: string) => (token: string, e: string) =>
    `read_${name}(${outputRow(shape, token, "query_head")} + ${e})`;
  const key = (token: string, e: string) => `${element("k", "head")(token, e)} * ${scoreScale(headDim)}`;
  /** Invocations that add up r of one scanned query, two to an element of `tile_shared`. */
  const perToken = LANES / SCANNED;
  const dots = (k: number) =>
    Array.from(
      { length: perToken / 2 },
      (_, i) => `tile_shared[(x + ${k * ACROSS}u) * ${perToken / 2}u + ${i}u]`,
    ).join(" + ");
  return wgsl`
${(["q", "k", "v"] as const).map((side) => tile.elementFunction(side)).join("\n")}
${tile.entry(kvHeads)}
${tile.declare("key_sums")}
${tile.declare("value_sums")}
${tile.eachRow((r) => `  let reach_${r} = sequence_end[token_${r}] - token_${r};`)}
  let last = sequence_end[min(row_start + ${TILE_ROWS}u, params.N) - 1u];
  for (var query_head = head * ${group}u; query_head < (head + 1u) * ${group}u; query_head++) {
${tile.scan(
  "row_start",
  "last",
  `    workgroupBarrier(); // earlier readers are done
    {
      let token = min(base + lane / ${perToken}u, params.N - 1u);
      var r = 0.0;
      for (var e = lane % ${perToken}u; e < params.E; e += ${perToken}u) {
        r += ${product(output("d_y")("token", "e"), output("y")("token", "e"))};
      }
      tile_shared[lane / 2u][lane % 2u] = r;
    }
${tile.scores("s", key, element("q", "query_head"))}
${tile.scores("p", element("v", "head"), output("d_y"))}
${slots(
  (
    k,
  ) => `    let log_sum_${k} = log_sum_exp[min(base + x + ${k * ACROSS}u, params.N - 1u) * ${heads}u + query_head] * ${Math.LOG2E};
    let joined_${k} = ${dots(k)};
    let r_${k} = joined_${k}.x + joined_${k}.y;`,
)}
${tile.eachRow((t) =>
  slots(
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
