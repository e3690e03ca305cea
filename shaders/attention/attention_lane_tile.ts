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
  PAD,
  packedRow,
  repeat,
  rowElements,
  type Side,
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

/** Text about the rows of a tile and the slots of a block. */
export class LaneTile {
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

  eachElement(body: (e: string) => string): string {
    return this.layout.unrolled
      ? repeat(this.elements, (e) => `    { ${body(`${e}u`)} }`)
      : this.elementLoop(body);
  }

  /** Walks a row by the elements that rotation joins: pairs half a row apart, else singly. */
  eachPair(body: (at: readonly string[]) => string): string {
    if (!this.layout.unrolled) return this.pairLoop(body);
    if (!this.shape.rotate) return this.eachElement((e) => body([e]));
    const half = this.elements / 2;
    return repeat(half, (e) => `    { ${body([`${e}u`, `${e + half}u`])} }`);
  }

  /** The bound is a uniform, so that drivers cannot unroll the loop. */
  elementLoop(body: (e: string) => string): string {
    return `    for (var e = 0u; e < params.E; e++) {\n${body("e")}\n    }`;
  }

  private pairLoop(body: (at: readonly string[]) => string): string {
    if (!this.shape.rotate) return this.elementLoop((e) => body([e]));
    return `    for (var e = 0u; e < params.E / 2u; e++) {
      let f = e + ${this.elements / 2}u;
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

  /**
   * Stores declared arrays, in loops over the rows that exist and their elements: spelt out, stores take longer to compile
   * than all else. `body` stores, of `token` and one of its heads, what `at(name, e)` is; `first_row` is the row of its head 0.
   */
  eachStored(
    names: readonly string[],
    body: (head: number, at: (name: string, e: string) => string) => string,
  ): string {
    const { tokens, lanes, heads, unrolled } = this.layout;
    const type = elementType(this.shape.headDim);
    const padding = Array.from({ length: PAD }, () => `${type}()`);
    const gather = (name: string) => {
      const values = Array.from({ length: this.rows * this.elements }, (_, i) =>
        this.at(name, Math.floor(i / this.elements), `${i % this.elements}u`),
      );
      return `  var ${name} = array<${type}, ${values.length + PAD}>(${[...padding, ...values].join(", ")});`;
    };
    return `${unrolled ? names.map(gather).join("\n") : ""}
  let row_end = min(row_start + ${tokens * lanes}u, params.N);
  for (var token = row_start + lane; token < row_end; token += ${lanes}u) {
    let first_row = (token - row_start) / ${lanes}u * ${heads}u;
    let angles = ${angleRow(this.shape, "token")};
${repeat(heads, (h) => `    {\n${body(h, (name, e) => `${name}[first_row * ${this.elements}u + ${h * this.elements + PAD}u + ${e}]`)}\n    }`)}
  }`;
  }

  /** Stores elements of a token's row of one head as gradients of `qkv`, rotated back. */
  storeRow(side: Side, head: string, value: (e: string) => string, scale = 1): string {
    const store = (at: readonly string[]) => storeElements(at.map(value), "row", "angles", at, scale);
    return `    { let row = ${packedRow(this.shape, side, "token", head)};
${side === "v" ? this.elementLoop((e) => store([e])) : this.pairLoop(store)} }`;
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
