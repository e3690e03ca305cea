/** Products over segments of K of any length, each a result of its own: gradients sample by sample, and sums of their products. */
import { matmulLanes } from "../../../shaders/matmul/matmul_lanes.js";
import type { MatmulText } from "../../../shaders/matmul/matmul_text.js";
import { matmulTiles } from "../../../shaders/matmul/matmul_tiles.js";
import type { KernelFacts } from "../../gpu/runtime.js";
import type { ArrayView, KernelUnit, Scalars } from "../engine/op.js";
import type { KernelRunner } from "./matmul_into.js";
import { planMatmul, shippedTile } from "./matmul_plan.js";
import { isLaneTile, isMatrixTile, isPanelTile } from "./matmul_shape.js";

/** y[p, m, n] = sum over k from offsets[p] to offsets[p + 1] of a[k, first + m] rows[k] b[k, n] columns[n]. */
export interface SegmentProduct {
  /** [K, A], f32 or f16. */
  readonly a: ArrayView;
  /** First of the M columns of a that are used, and how many. */
  readonly first: number;
  readonly M: number;
  /** [K, N], f32 or f16. */
  readonly b: ArrayView;
  readonly scale?: { readonly rows: ArrayView; readonly columns: ArrayView } | undefined;
  /** u32 [P + 1], ascending, none above K. */
  readonly offsets: ArrayView;
  /** [P, M, N]; with interleave 2, of each p first the even m, then the odd ones: M is even then. */
  readonly y: ArrayView;
  readonly interleave?: 1 | 2;
  /** [P, M] of its own: the sum over k of a[k, first + m]. */
  readonly sums?: ArrayView | undefined;
}

/** y[p, m, n] = sum over k from offsets[p] to offsets[p + 1] of a[firstA + m, k] b[firstB + n, k]. */
export interface SegmentDots {
  /** [., K] each, f32 or f16. */
  readonly a: ArrayView;
  readonly b: ArrayView;
  /** First of the M rows of a and of the N rows of b. Default 0. */
  readonly firstA?: number;
  readonly firstB?: number;
  /** u32 [P + 1], ascending, none above K; all of them and K multiples of `multiple`. */
  readonly offsets: ArrayView;
  readonly multiple: 1 | 4;
  /** Of a symmetric product only y[p, m, n] with n >= m are asked for: what lies below the diagonal may stay as it is. */
  readonly isUpper?: boolean;
  /** [P, M, N]. */
  readonly y: ArrayView;
}

const SCALARS = {
  B: "u32",
  M: "u32",
  N: "u32",
  K: "u32",
  P: "u32",
  R: "u32",
  T: "u32",
  A: "u32",
  F: "u32",
} as const;

const units = new Map<string, KernelUnit>();

/**
 * Launches one product for each segment of K.
 * @remarks each element adds its products in ascending k, whatever the other segments hold
 */
export function segmentProductInto(runner: KernelRunner, product: SegmentProduct): void {
  const { a, b, first, M, scale, offsets, y, interleave = 1, sums } = product;
  const [K, A] = a.shape as [number, number];
  const [P, , N] = y.shape as [number, number, number];
  const fusion = { kScale: scale !== undefined, nScale: scale !== undefined, interleave };
  const isAligned = A % 4 === 0 && first % 4 === 0 && M % 4 === 0;
  const { unit, tiles } = plan(runner.facts, { M, N, K, P, transposeA: true }, isAligned, {
    ...fusion,
    ...(sums && { rowSum: "values" as const }),
  });
  runner.run(
    unit,
    {
      a,
      b,
      k_scale: scale?.rows,
      n_scale: scale?.columns,
      k_offset: offsets,
      partial: y,
      row_sums: sums,
    },
    { B: 1, M, N, K, P, R: 0, T: tiles, A, F: first },
  );
}

/**
 * Launches dot products of all pairs of rows, over each segment of K.
 * @remarks each element adds its products in ascending k, whatever the other rows hold
 */
export function segmentDotsInto(
  runner: KernelRunner,
  { a, b, firstA = 0, firstB = 0, offsets, multiple, isUpper, y }: SegmentDots,
): void {
  const K = a.shape[1] as number;
  const [P, M, N] = y.shape as [number, number, number];
  const fusion = { kScale: false, nScale: false, isUpper };
  const { unit, tiles } = plan(runner.facts, { M, N, K, P, transposeA: false }, multiple === 4, fusion);
  const scalars: Scalars = { B: 1, M, N, K, P, R: 0, T: tiles, A: firstB, F: firstA };
  runner.run(unit, { a, b, k_offset: offsets, partial: y }, scalars);
}

type Sizes = Readonly<Record<"M" | "N" | "K" | "P", number>> & { readonly transposeA: boolean };
type Fusion = Pick<MatmulText, "kScale" | "nScale" | "rowSum" | "interleave" | "isUpper">;

function plan(
  facts: KernelFacts,
  { M, N, K, P, transposeA }: Sizes,
  isAligned: boolean,
  fusion: Fusion,
): { readonly unit: KernelUnit; readonly tiles: number } {
  const shape = {
    M,
    N,
    K: Math.max(1, Math.round(K / P)),
    batch: P,
    transposeA,
    transposeB: !transposeA,
    segments: true,
  };
  // matrix hardware would round the factors
  const plain = { ...facts, matmulPrecision: "f32" as const };
  const tile = shippedTile({ ...shape, rowSums: fusion.rowSum !== undefined }, plain);
  const { tiles } = planMatmul(shape, plain, "never", tile);
  const isSwap = isLaneTile(tile) && tile.exchange === "swap";
  const text: MatmulText = {
    transposeA,
    transposeB: !transposeA,
    vectorA: isAligned && !(isSwap && transposeA),
    vectorB: transposeA ? N % 4 === 0 : isAligned,
    vectorY: N % 4 === 0,
    // samples end anywhere
    tail: transposeA || !isAligned,
    bias: false,
    residual: false,
    output: "segments",
    ...fusion,
  };
  const key = JSON.stringify([tile, text]);
  let unit = units.get(key);
  if (!unit) {
    const of = (vector: boolean) => (vector ? "vec4<f32>" : "f32");
    const elements = {
      a: of(text.vectorA),
      b: of(text.vectorB),
      n_scale: of(text.vectorY),
      partial: of(text.vectorY),
    };
    unit = {
      op: "matmul_segments",
      scalars: SCALARS,
      kernel: {
        entry: transposeA ? "tn" : "nt",
        shader: () => {
          if (isLaneTile(tile)) return matmulLanes(tile, text);
          if (isMatrixTile(tile) || isPanelTile(tile))
            throw new TypeError("[matmul_segments] no kernel for this tile.");
          return matmulTiles(tile, text);
        },
        reads: ["a", "b", "k_scale", "n_scale", "k_offset"],
        writes: ["partial", "row_sums"],
        elements: () => elements,
        workgroups: ({ T }) => T,
      },
    };
    units.set(key, unit);
  }
  return { unit, tiles };
}
