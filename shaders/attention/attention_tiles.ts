/** What all attention kernels share: where rows of heads lie, their rotation, masks, and small pieces of text. */

/** Sizes of one attention. */
export interface HeadShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Queries and keys are rotated by the angles of `table` at `position`, and their gradients back. */
  readonly rotate: boolean;
}

/** Floats of one element: vec4 where half a head, the distance of rotated pairs, allows it. */
export const vectorWidth = (headDim: number): 1 | 4 => (headDim % 8 === 0 ? 4 : 1);
export const elementType = (headDim: number): string => (vectorWidth(headDim) === 4 ? "vec4<f32>" : "f32");
/** Elements of one head's row. */
export const rowElements = (headDim: number): number => headDim / vectorWidth(headDim);

/** Scores outside the mask; finite, and exp2 of it is zero. */
export const MASKED = "-1e30";

/** Scores are in units of log2, so that exp2 serves. */
export const scoreScale = (headDim: number): number => Math.LOG2E / Math.sqrt(headDim);

/**
 * Unused elements before the rows of an array: Mesa takes an array that a loop's own counter indexes for the loop's bound
 * and unrolls the loop, which then compiles for minutes; a counter plus an offset it leaves alone.
 */
export const PAD = 2;

/** Lines of text for 0 .. count - 1. */
export function repeat(count: number, line: (index: number) => string): string {
  return Array.from({ length: count }, (_, index) => line(index)).join("\n");
}

/** The inner product of two elements. */
export function dotText(headDim: number, a: string, b: string): string {
  return vectorWidth(headDim) === 4 ? `dot(${a}, ${b})` : `${a} * ${b}`;
}

/** Which columns of `qkv`: all query heads, then all key heads, then all value heads. */
export type Side = "q" | "k" | "v";

/** Index of the first element of a token's row of one head in `qkv` and its gradient. */
export function packedRow(
  { heads, kvHeads, headDim }: HeadShape,
  side: Side,
  token: string,
  head: string,
): string {
  const first = { q: 0, k: heads, v: heads + kvHeads }[side];
  return `((${token}) * ${heads + 2 * kvHeads}u + ${first}u + ${head}) * ${rowElements(headDim)}u`;
}

/** Index of the first element of a token's row of one query head in `y` and its gradient. */
export function outputRow({ heads, headDim }: HeadShape, token: string, head: string): string {
  return `((${token}) * ${heads}u + ${head}) * ${rowElements(headDim)}u`;
}

/** Index of the first element of a token's cosines in `table`; its sines follow half a row later. */
export function angleRow({ headDim, rotate }: HeadShape, token: string): string {
  return rotate ? `position[${token}] * ${rowElements(headDim)}u` : "0u";
}

/**
 * Declares `name(n)`: elements at[n] of a row of `qkv`, times `scale`. A pair of elements half a row apart is rotated:
 * (a, b) -> (a cos - b sin, b cos + a sin); a single element is loaded as it is.
 */
export function loadElements(
  name: (n: number) => string,
  row: string,
  angles: string,
  at: readonly string[],
  scale = 1,
): string {
  const times = scale === 1 ? "" : ` * ${scale}`;
  const [a, b] = at;
  const first = name(0);
  if (b === undefined) return `      let ${first} = read_qkv(${row} + ${a})${times};`;
  return `      let ${first}_a = read_qkv(${row} + ${a})${times};
      let ${first}_b = read_qkv(${row} + ${b})${times};
      let ${first}_cosine = table[${angles} + ${a}];
      let ${first}_sine = table[${angles} + ${b}];
      let ${first} = ${first}_a * ${first}_cosine - ${first}_b * ${first}_sine;
      let ${name(1)} = ${first}_b * ${first}_cosine + ${first}_a * ${first}_sine;`;
}

/** Stores gradients of elements `at` of a row of `qkv`, times `scale`; a pair is rotated back. */
export function storeElements(
  values: readonly string[],
  row: string,
  angles: string,
  at: readonly string[],
  scale = 1,
): string {
  const times = scale === 1 ? "" : ` * ${scale}`;
  const [a, b] = at;
  if (b === undefined) return `store_d_qkv(${row} + ${a}, ${values[0]}${times});`;
  return `{
      let cosine = table[${angles} + ${a}]${times};
      let sine = table[${angles} + ${b}]${times};
      store_d_qkv(${row} + ${a}, ${values[0]} * cosine + ${values[1]} * sine);
      store_d_qkv(${row} + ${b}, ${values[1]} * cosine - ${values[0]} * sine);
    }`;
}
