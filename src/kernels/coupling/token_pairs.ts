/** Inner products of per-sample gradients of a matrix from products of tokens, in the plans of observers. */
import * as shader from "../../../shaders/coupling/token_pairs.js";
import type { ArrayView, KernelUnit } from "../engine/op.js";
import type { KernelRunner } from "../matmul/matmul_into.js";
import { segmentDotsInto } from "../matmul/matmul_segments.js";

const ceil = (count: number): number => Math.ceil(count / shader.WORKGROUP);
const typeOf = (width: number | undefined): string => (width === 4 ? "vec4<f32>" : "f32");

const rowFactorsUnit: KernelUnit = {
  op: "coupling",
  scalars: { N: "u32", C: "u32" },
  kernel: {
    entry: "row_factors",
    constants: ["interleave"],
    shader: ({ constants, has }) =>
      shader.rowFactors(has("rows"), has("columns"), constants.interleave as number),
    reads: ["x", "rows", "columns"],
    writes: ["y"],
    workgroups: ({ N, C }) => ceil((N as number) * (C as number)),
  },
};

export interface RowFactors {
  /** [N, C], f32 or f16. */
  readonly x: ArrayView;
  /** [N] and [C]. Absent ones are 1. */
  readonly rows?: ArrayView | undefined;
  readonly columns?: ArrayView | undefined;
  readonly interleave?: 1 | 2;
  /** [N, C], f32. */
  readonly y: ArrayView;
}

/** y[n, c] = x[n, c] rows[n] columns[c]; columns that alternate between two matrices are laid matrix after matrix. */
export function rowFactorsInto(
  runner: KernelRunner,
  { x, rows, columns, interleave = 1, y }: RowFactors,
): void {
  const [N, C] = x.shape as [number, number];
  runner.run(rowFactorsUnit, { x, rows, columns, y }, { N, C, interleave });
}

const columnPairsUnit: KernelUnit = {
  op: "coupling",
  scalars: { P: "u32", R: "u32", M: "u32", W: "u32", first: "u32" },
  kernel: {
    entry: "column_pairs",
    constants: ["width"],
    shader: ({ constants }) => shader.columnPairs(typeOf(constants.width)),
    reads: ["left", "right", "offsets"],
    writes: ["sums"],
    elements: ({ constants }) =>
      Object.fromEntries(["left", "right", "sums"].map((name) => [name, typeOf(constants.width)])),
    workgroups: ({ P, R, W }) => ceil((P as number) * (R as number) * (W as number)),
  },
};

const addPairsUnit: KernelUnit = {
  op: "coupling",
  scalars: {
    S: "u32",
    R: "u32",
    Q: "u32",
    W: "u32",
    first: "u32",
    other: "u32",
    part: "u32",
    origin: "u32",
  },
  kernel: {
    entry: "add_pairs",
    shader: shader.addPairs,
    reads: ["sums", "offsets"],
    writes: ["gram"],
    workgroups: ({ R, Q }) => ceil((R as number) * (Q as number)),
  },
};

/** Samples `first` to `end`, whose tokens are `start` to `stop`. */
export interface TokenBlock {
  readonly first: number;
  readonly end: number;
  readonly start: number;
  readonly stop: number;
}

export interface TokenPairs {
  /** a [N, I]: what the matrix multiplied. */
  readonly input: ArrayView;
  /** d [N, O]: gradients of the products, those of each part side by side. */
  readonly gradient: ArrayView;
  /** u32 [2]: 0 and I. */
  readonly inputOffset: ArrayView;
  /** u32 [P + 1]: where the columns of each part begin in d, ascending. */
  readonly partOffset: ArrayView;
  /** Whether I, O and all parts are multiples of 4. */
  readonly isAligned: boolean;
  /** u32 [S + 1]: tokens of each sample. */
  readonly offsets: ArrayView;
  /** [., S, S]: part p is added to number places[p] of them. */
  readonly gram: ArrayView;
  readonly places: readonly number[];
}

/**
 * gram[places[p], i, j] += sum over tokens t of i and u of j of (a_t . a_u) (d_t . d_u), d of part p's columns alone, for the
 * samples i of block `a` and j >= i of block `b`, and the same at [j, i].
 * @param a a block that is not after `b`
 * @remarks f32. A pair adds its products in an order of its own tokens and sizes: the same bits whatever is beside it
 * @source Goodfellow 2015 (1510.01799) for one sample; the pair form is the same identity
 */
export function tokenPairsInto(
  runner: KernelRunner & Required<Pick<KernelRunner, "scratch">>,
  pairs: TokenPairs,
  a: TokenBlock,
  b: TokenBlock,
): void {
  const { input, gradient, inputOffset, partOffset, isAligned, offsets, gram, places } = pairs;
  const P = places.length;
  const [M, W, R, Q] = [a.stop - a.start, b.stop - b.start, a.end - a.first, b.end - b.first];
  const rows = { firstA: a.start, firstB: b.start, multiple: isAligned ? 4 : 1 } as const;
  const left = runner.scratch("left", [1, M, W]);
  const right = runner.scratch("right", [P, M, W]);
  segmentDotsInto(runner, { a: input, b: input, offsets: inputOffset, ...rows, y: left });
  segmentDotsInto(runner, { a: gradient, b: gradient, offsets: partOffset, ...rows, y: right });
  const sums = runner.scratch("pair_sums", [P, R, W]);
  const width = W % 4 === 0 ? 4 : 1;
  runner.run(
    columnPairsUnit,
    { left, right, offsets, sums },
    { P, R, M, W: W / width, first: a.first, width },
  );
  const S = gram.shape.at(-1) as number;
  places.forEach((place, part) => {
    const sizes = { S, R, Q, W, first: a.first, other: b.first, part, origin: place * S * S };
    runner.run(addPairsUnit, { sums, offsets, gram }, sizes);
  });
}

/** Float64 form of `tokenPairsInto` over all samples and columns: [S, S]. */
export function tokenPairsReference(
  input: ArrayLike<number>,
  gradient: ArrayLike<number>,
  offsets: ArrayLike<number>,
): Float64Array {
  const S = offsets.length - 1;
  const N = offsets[S] as number;
  const [I, O] = [input.length / N, gradient.length / N];
  const dot = (x: ArrayLike<number>, C: number, t: number, u: number) => {
    let sum = 0;
    for (let c = 0; c < C; c++) sum += (x[t * C + c] as number) * (x[u * C + c] as number);
    return sum;
  };
  const sampleOf = Array.from(
    { length: S },
    (_, s) => Array(offsets[s + 1] - offsets[s]).fill(s) as number[],
  ).flat();
  const gram = new Float64Array(S * S);
  for (let t = 0; t < N; t++)
    for (let u = 0; u < N; u++)
      gram[sampleOf[t] * S + sampleOf[u]] += dot(input, I, t, u) * dot(gradient, O, t, u);
  return gram;
}
