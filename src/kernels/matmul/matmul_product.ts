/** What a matrix product is asked for, and how one over a matrix in pieces is made of several. */
import { type ArrayView, byteLength, piecesOf, rowsOf } from "../engine/array_view.js";

/**
 * One product y = op(a) op(b), row-major, per batch, and what is fused into it. In order of application: `norm`, `scaleB`,
 * `bias`, `residual`, then `gated` or `gateBackward`.
 */
export interface Matmul {
  /** [B, M, K], or [B, K, M] when `transposeA`. */
  readonly a: ArrayView;
  /** [B, K, N], or [B, N, K] when `transposeB`. */
  readonly b: ArrayView;
  /** [B, M, N]. */
  readonly y: ArrayView;
  readonly M: number;
  readonly N: number;
  readonly K: number;
  /** Default 1. */
  readonly batch?: number;
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  /** [N], added to every row. */
  readonly bias?: ArrayView;
  /** Add to y instead of overwriting it. */
  readonly accumulate?: boolean;
  /**
   * RMS norm of the rows of a: op(a)[m, k] is a[m, k] gain[k] rstd[m], with rstd = 1 / sqrt(mean of a^2 + eps).
   * gain [K]; rstd [M] is written. Not for transposed a, nor in batches.
   */
  readonly norm?: { readonly gain: ArrayView; readonly rstd: ArrayView; readonly eps: number };
  /** op(b)[k, n] is b[k, n] rows[k] columns[n]. Not for transposed b. */
  readonly scaleB?: { readonly rows: ArrayView; readonly columns: ArrayView };
  /** [B, M, N], added. */
  readonly residual?: ArrayView;
  /** Columns 2 f and 2 f + 1 of y are gate and up of f: h [M, N / 2] becomes silu(gate) up. N must be even. */
  readonly gated?: { readonly h: ArrayView };
  /** The product is the gradient of h [M, N]; y [M, 2 N] becomes the gradient of gate_up [M, 2 N], columns as in `gated`. */
  readonly gateBackward?: { readonly gate_up: ArrayView };
  /** Nothing reads y soon, as with gradients of weights: parts of a split K may be added late. */
  readonly isLate?: boolean;
  /** This is a part of a larger product: elements from one row of a, as it lies in memory, and of y to the next. */
  readonly piece?: { readonly pitchA: number; readonly pitchY: number };
  /** y [M] of its own: the sum over k of op(a)[m, k]. For transposed a only, not in batches. */
  readonly sumA?: { readonly y: ArrayView; readonly accumulate?: boolean };
}

/** The array from an element on, in rows of the same length: `first` columns are left out of each. */
function from(view: ArrayView, first: number): ArrayView {
  const { buffer, offset, bytes } = view.range;
  const skipped = byteLength([first], view.dtype);
  return { ...view, range: { buffer, offset: offset + skipped, bytes: bytes - skipped } };
}

/** Whether a product must be split: a kernel binds neither factor nor result in pieces. */
export const isInPieces = ({ b, y }: Pick<Matmul, "b" | "y">): boolean =>
  b.pieces !== undefined || y.pieces !== undefined;

/** Products over columns of y, one for each piece of a transposed b, or over rows of y, one for each of its pieces. */
export function independentPieces(product: Matmul): Matmul[] {
  const { a, b, y, M, N, K, bias, residual, gated, sumA } = product;
  if (y.pieces)
    return piecesOf(y).map(({ first, rows, view }) => ({
      ...product,
      a: from(a, first),
      y: view,
      M: rows,
      piece: { pitchA: M, pitchY: N },
      sumA: sumA && { ...sumA, y: rowsOf(sumA.y, first, rows) },
    }));
  return piecesOf(b).map(({ first, rows, view }) => ({
    ...product,
    b: view,
    y: from(y, first),
    N: rows,
    piece: { pitchA: K, pitchY: N },
    bias: bias && rowsOf(bias, first, rows),
    residual: residual && from(residual, first),
    gated: gated && { h: from(gated.h, first / 2) },
  }));
}

/** Products whose sum is the product, one for each piece of b [K, N]. */
export function summandPieces<P extends Pick<Matmul, "a" | "b" | "K" | "N" | "scaleB">>(product: P): P[] {
  const { a, b, K, N, scaleB } = product;
  return piecesOf(b).map(({ first, rows, view }) => ({
    ...product,
    a: from(a, first),
    b: view,
    K: rows,
    piece: { pitchA: K, pitchY: N },
    scaleB: scaleB && { ...scaleB, rows: rowsOf(scaleB.rows, first, rows) },
  }));
}
