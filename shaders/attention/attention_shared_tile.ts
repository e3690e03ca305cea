/**
 * Attention for GPUs. A workgroup owns a tile of rows of one head (queries, or keys and values in backward) and scans the
 * tokens of the other side, some at a time in ascending order. Eight invocations share a row; of a 64x32 tile with two
 * rows an invocation, (y, x) owns the rows y + 32 r: their scores with the scanned tokens x + 8 c, and in chunk after chunk
 * of a head the output elements x, x + 8 ... Only these are in registers, at D = 128 32 floats of output (64 in backward's
 * d_k and d_v) and 8 of scores (16).
 *
 * Shared memory (`sharedBytes`; 16 KB in that case): `tile_rows` (a chunk of the rows, of as many floats as there are
 * scanned tokens; then the weights of all rows and scanned tokens), `tile_scanned` (a chunk of the scanned tokens),
 * `tile_shared` (what the invocations of a row tell each other). Rows are one element apart from a multiple of the banks.
 * Barriers: before staging, when earlier readers are done, and after it. Sums run over ascending elements and tokens.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import {
  angleRow,
  dotText,
  elementType,
  type HeadShape,
  packedRow,
  repeat,
  rowElements,
  type Side,
  storeElements,
  vectorWidth,
} from "./attention_tiles.js";

export interface SharedLayout {
  /** Rows of a tile. */
  readonly rows: number;
  /** Tokens scanned at a time, a multiple of 32. */
  readonly scanned: number;
  /** Rows that one invocation owns: 1, 2 or 4. */
  readonly rowsEach: 1 | 2 | 4;
}

/** Invocations that share a row. */
export const ACROSS = 8;

/** Invocations of a workgroup. */
export const sharedInvocations = ({ rows, rowsEach }: SharedLayout): number => (rows / rowsEach) * ACROSS;

/** Bytes of shared memory of a workgroup. */
export function sharedBytes(layout: SharedLayout): number {
  const stride = layout.scanned + 4;
  return 4 * (stride * (layout.rows + layout.scanned) + layout.rowsEach * sharedInvocations(layout));
}

/** Workgroups of a kernel over `heads` heads. */
export function sharedWorkgroups({ rows }: SharedLayout, N: number, heads: number): number {
  return Math.ceil(N / rows) * heads;
}

/** Text of a tile of rows and the chunks of a head. */
export class SharedTile {
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
  readonly invocations: number;
  /** Distance of the rows that one invocation owns. */
  readonly down: number;
  /** Scores of one row that an invocation owns. */
  readonly slots: number;

  constructor(
    readonly layout: SharedLayout,
    readonly shape: HeadShape,
  ) {
    this.invocations = sharedInvocations(layout);
    this.down = layout.rows / layout.rowsEach;
    this.slots = layout.scanned / ACROSS;
    this.width = vectorWidth(shape.headDim);
    this.type = elementType(shape.headDim);
    this.elements = rowElements(shape.headDim);
    // as many floats as scanned tokens, so that weights fit the memory of a chunk of rows
    this.chunk = layout.scanned / this.width;
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
    return repeat(this.layout.rowsEach, line);
  }

  eachSlot(line: (slot: number) => string): string {
    return repeat(this.slots, line);
  }

  /** Module scope and entry: declares x, y_row, `head` (of `heads`) and for each row r `token_r` (clamped). */
  entry(heads: number): string {
    return wgsl`
var<workgroup> tile_rows: array<${this.type}, ${this.layout.rows * this.stride}>;
var<workgroup> tile_scanned: array<${this.type}, ${this.layout.scanned * this.stride}>;
var<workgroup> tile_shared: array<${this.sharedType}, ${this.invocations}>;
@compute @workgroup_size(${this.invocations})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let index = workgroup_index(group, groups);
  let tiles = (params.N + ${this.layout.rows - 1}u) / ${this.layout.rows}u;
  let head = index / tiles;
  if (head >= ${heads}u) { return; }
  let row_start = (index % tiles) * ${this.layout.rows}u;
  let x = lane % ${ACROSS}u;
  let y_row = lane / ${ACROSS}u;
${this.eachRow((r) => `  let token_${r} = min(row_start + y_row + ${r * this.down}u, params.N - 1u);`)}`;
  }

  isInside(row: number): string {
    return `row_start + y_row + ${row * this.down}u < params.N`;
  }

  /** A loop over the tokens `first` .. `last` (exclusive): the body takes `filled` scanned tokens from `base`. */
  scan(first: string, last: string, body: string): string {
    return `  for (var base = ${first}; base < ${last}; base += ${this.layout.scanned}u) {
    let filled = min(${this.layout.scanned}u, ${last} - base);
${body}
  }`;
  }

  /**
   * Fills a tile with `span` elements of rows from `first` on, those below params.E; `load` gives element `e` of a token. Places
   * are quotients and remainders by the span, which is therefore a constant.
   */
  stage(tile: "rows" | "scanned", span: number, load: (token: string, e: string) => string): string {
    const tokens = tile === "rows" ? this.layout.rows : this.layout.scanned;
    return `    for (var i = lane; i < ${tokens * span}u; i += ${this.invocations}u) {
      let token = min(${tile === "rows" ? "row_start" : "base"} + i / ${span}u, params.N - 1u);
      let e = first + i % ${span}u;
      if (e < params.E) { tile_${tile}[i / ${span}u * ${this.stride}u + i % ${span}u] = ${load("token", "e")}; }
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
    const dot = (r: number, k: number) => dotText(this.shape.headDim, `own_${r}`, `scanned_${k}`);
    const span = Math.min(this.chunk, this.elements);
    return `${this.eachRow((r) => this.eachSlot((k) => `    var ${sum}_${r}_${k} = 0.0;`))}
    for (var first = 0u; first < params.E; first += ${span}u) {
    let end = min(first + ${span}u, params.E);
    workgroupBarrier(); // earlier readers are done
${this.stage("rows", span, loadRows)}
${this.stage("scanned", span, loadScanned)}
    workgroupBarrier(); // the chunk is complete
    // counting from 0 to a minimum with a constant, it would be unrolled by Mesa
    for (var next = first; next < end; next++) {
      let e = next - first;
${this.eachRow((r) => `      let own_${r} = tile_rows[(y_row + ${r * this.down}u) * ${this.stride}u + e];`)}
${this.eachSlot((k) => `      let scanned_${k} = tile_scanned[(x + ${k * ACROSS}u) * ${this.stride}u + e];`)}
${this.eachRow((r) => this.eachSlot((k) => `      ${sum}_${r}_${k} += ${dot(r, k)};`))}
    }
    }`;
  }

  /** Puts `<weight>_<row>_<slot>` into `tile_rows`. */
  shareWeights(weight: string): string {
    return `    workgroupBarrier(); // earlier readers are done
${this.eachRow((r) =>
  this.eachSlot((k) => {
    const [row, token] = [`(y_row + ${r * this.down}u) * ${this.stride}u`, `(x + ${k * ACROSS}u)`];
    return this.width === 4
      ? `    tile_rows[${row} + ${token} / 4u][${token} % 4u] = ${weight}_${r}_${k};`
      : `    tile_rows[${row} + ${token}] = ${weight}_${r}_${k};`;
  }),
)}`;
  }

  /** Type of what one invocation tells the others: a value for each of its rows. */
  get sharedType(): string {
    return this.layout.rowsEach === 1 ? "f32" : `vec${this.layout.rowsEach}<f32>`;
  }

  /** The value of one row in what an invocation told. */
  told(values: string, row: number | string): string {
    return this.layout.rowsEach === 1 ? values : `${values}[${row}]`;
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
${this.eachRow((r) => `      let weight_${r} = tile_rows[(y_row + ${r * this.down}u) * ${this.stride}u + j];`)}
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
    workgroupBarrier(); // earlier readers of the scanned tokens are done, weights are complete
${this.stage("scanned", count, load)}
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
    tile_shared[lane] = ${this.sharedType}(${Array.from({ length: this.layout.rowsEach }, (_, r) => `${name}_${r}`).join(", ")});
    workgroupBarrier(); // every invocation of the row has told
    let joined = ${all.reduce(combine)};
${this.eachRow((r) => `    ${name}_${r} = ${this.told("joined", r)};`)} }`;
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
