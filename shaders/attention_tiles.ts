/**
 * How attention kernels share work. A kernel owns a tile of tokens ("rows": their queries, or their keys and values) in
 * registers and scans the tokens of the other side in blocks. How a block reaches the invocations:
 *
 * shared: GPU. The workgroup stages `tile` tokens in shared memory; barriers before staging (earlier readers are done)
 *   and after it (the tile is complete).
 * broadcast: CPU adapters with a fixed subgroup size. The workgroup is one subgroup; each lane loads one token and every
 *   value reaches the others by subgroupBroadcast, or by subgroupShuffle in a loop where that text would grow long (the
 *   driver's compile time grows faster than the text). No shared memory, no barrier.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

export interface TileLayout {
  readonly mode: "shared" | "broadcast";
  /** Invocations of one workgroup, which share one tile of rows. */
  readonly lanes: number;
  /** Tokens one invocation owns, `lanes` apart. */
  readonly tokens: number;
  /** Query heads of one key/value head that one invocation handles at once. */
  readonly heads: number;
  /** Scanned tokens whose scores are in registers at a time. */
  readonly block: number;
  /** Scanned tokens in shared memory at a time, a multiple of `block`. */
  readonly tile: number;
}

/** Sizes of one attention, and how its rows are cut into elements. */
export interface HeadShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Queries and keys are rotated by the angles of `table` at `position`, and their gradients back. */
  readonly rotate: boolean;
}

/** Floats of one element: vec4 where half a head, the distance of rotated pairs, allows it. */
const vectorWidth = (headDim: number): 1 | 4 => (headDim % 8 === 0 ? 4 : 1);
export const elementType = (headDim: number): string => (vectorWidth(headDim) === 4 ? "vec4<f32>" : "f32");
/** Elements of one head's row. */
export const rowElements = (headDim: number): number => headDim / vectorWidth(headDim);

/** Which columns of `qkv`: all query heads, then all key heads, then all value heads. */
export type Side = "q" | "k" | "v";

/** Index of the first element of a token's row of one head in `qkv` and its gradient. */
export function packedRow({ heads, kvHeads, headDim }: HeadShape, side: Side, token: string, head: string) {
  const first = { q: 0, k: heads, v: heads + kvHeads }[side];
  return `(${token} * ${heads + 2 * kvHeads}u + ${first}u + ${head}) * ${rowElements(headDim)}u`;
}

/**
 * Declares `<name>_<e>`, the elements of a row of `qkv`, times `scale`; queries and keys are rotated by +angle:
 * (a, b) -> (a cos - b sin, b cos + a sin) for the pairs (d, d + D/2).
 */
export function loadRow(shape: HeadShape, side: Side, name: string, token: string, head: string, scale = 1) {
  const elements = rowElements(shape.headDim);
  const at = packedRow(shape, side, token, head);
  const times = scale === 1 ? "" : ` * ${scale}`;
  if (!shape.rotate || side === "v")
    return repeat(elements, (e) => `  let ${name}_${e} = qkv[${at} + ${e}u]${times};`);
  const half = elements / 2;
  return repeat(half, (e) => {
    const [a, b] = [`${name}_raw_${e}`, `${name}_raw_${e + half}`];
    const [cosine, sine] = [`${name}_cosine_${e}`, `${name}_sine_${e}`];
    return `  let ${a} = qkv[${at} + ${e}u]${times};
  let ${b} = qkv[${at} + ${e + half}u]${times};
  let ${cosine} = table[position[${token}] * ${elements}u + ${e}u];
  let ${sine} = table[position[${token}] * ${elements}u + ${e + half}u];
  let ${name}_${e} = ${a} * ${cosine} - ${b} * ${sine};
  let ${name}_${e + half} = ${b} * ${cosine} + ${a} * ${sine};`;
  });
}

/** Stores a gradient row times `scale` in `d_qkv`, rotated by -angle for queries and keys. */
export function storeRow(
  shape: HeadShape,
  side: Side,
  value: (element: number) => string,
  token: string,
  head: string,
  scale = 1,
) {
  const elements = rowElements(shape.headDim);
  const at = packedRow(shape, side, token, head);
  const store = (e: number, text: string) => `    d_qkv[${at} + ${e}u] = (${text}) * ${scale};`;
  if (!shape.rotate || side === "v") return repeat(elements, (e) => store(e, value(e)));
  const half = elements / 2;
  return repeat(half, (e) => {
    const [a, b] = [value(e), value(e + half)];
    return `    {
    let cosine = table[position[${token}] * ${elements}u + ${e}u];
    let sine = table[position[${token}] * ${elements}u + ${e + half}u];
${store(e, `${a} * cosine + ${b} * sine`)}
${store(e + half, `${b} * cosine - ${a} * sine`)}
    }`;
  });
}

/** Lines of text for 0 .. count - 1. */
export function repeat(count: number, line: (index: number) => string): string {
  return Array.from({ length: count }, (_, index) => line(index)).join("\n");
}

/** The inner product of two elements. */
export function dotText(headDim: number, a: string, b: string): string {
  return vectorWidth(headDim) === 4 ? `dot(${a}, ${b})` : `${a} * ${b}`;
}

/** Scores outside the mask; finite, and exp2 of it is zero. */
export const MASKED = "-1e30";

/** One scanned array: `elements` values per token. */
export interface Scanned {
  readonly name: string;
  readonly type: string;
  readonly elements: number;
  /** Declares `<name>_<e>`, the values of a token. */
  readonly load: (name: string, token: string) => string;
}

/** Module-scope text: the directive and shared arrays a scan over these arrays needs. */
export function scanDeclarations(layout: TileLayout, arrays: readonly Scanned[]): string {
  if (layout.mode === "broadcast") return "enable subgroups;";
  return arrays
    .map(
      ({ name, type, elements }) => `var<workgroup> tile_${name}: array<${type}, ${layout.tile * elements}>;`,
    )
    .join("\n");
}

/** Value `element` of array `name` for token `at` of the current block. */
export type Fetch = (name: string, element: number, at: number) => string;

/**
 * A loop over the tokens `first` .. `last` (exclusive) in ascending blocks. The body may use `base`, the first token of
 * the block; tokens past `last` occur and must be masked by the body.
 */
export function scan(layout: TileLayout, arrays: readonly Scanned[], body: (fetch: Fetch) => string): string {
  const { mode, block, tile, lanes } = layout;
  if (mode === "broadcast") {
    const loads = arrays.map(({ name, load }) => load(`mine_${name}`, "mine"));
    const whole = block === lanes;
    return wgsl`
  for (var scanned = first; scanned < last; scanned += ${lanes}u) {
    let mine = min(scanned + lane, params.N - 1u);
${loads.join("\n")}
#if ${whole}
    let base = scanned;
${whole ? body((name, element, at) => `subgroupBroadcast(mine_${name}_${element}, ${at}u)`) : ""}
#else
    for (var turn = 0u; turn < ${lanes}u; turn += ${block}u) {
      let base = scanned + turn;
${whole ? "" : body((name, element, at) => `subgroupShuffle(mine_${name}_${element}, turn + ${at}u)`)}
    }
#endif
  }`;
  }
  const stage = arrays.map(
    ({ name, elements, load }) => `    for (var t = lane; t < ${tile}u; t += ${lanes}u) {
      let mine = min(staged + t, params.N - 1u);
${load("staged_value", "mine")}
${repeat(elements, (e) => `      tile_${name}[t * ${elements}u + ${e}u] = staged_value_${e};`)}
    }`,
  );
  const sizes = Object.fromEntries(arrays.map(({ name, elements }) => [name, elements]));
  return wgsl`
  for (var staged = first; staged < last; staged += ${tile}u) {
    workgroupBarrier(); // earlier readers of the tile are done
${stage.join("\n")}
    workgroupBarrier(); // the tile is complete
    for (var base = staged; base < min(staged + ${tile}u, last); base += ${block}u) {
${body((name, element, at) => `tile_${name}[(base - staged + ${at}u) * ${sizes[name]}u + ${element}u]`)}
    }
  }`;
}

/** Entry point head: declares `lane`, and `part` and `row_start`, the tile's first token; returns past the last part. */
export function tileEntry({ mode, lanes, tokens }: TileLayout, parts: number): string {
  return wgsl`
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(${mode === "broadcast" ? "subgroup_invocation_id" : "local_invocation_index"}) lane: u32) {
  let index = workgroup_index(group, groups);
  let tiles = (params.N + ${lanes * tokens - 1}u) / ${lanes * tokens}u;
  let part = index / tiles;
  if (part >= ${parts}u) { return; }
  let row_start = (index % tiles) * ${lanes * tokens}u;`;
}

/** Workgroups of a kernel whose rows are cut into `parts` groups of heads. */
export function tileWorkgroups({ lanes, tokens }: TileLayout, N: number, parts: number): number {
  return Math.ceil(N / (lanes * tokens)) * parts;
}
