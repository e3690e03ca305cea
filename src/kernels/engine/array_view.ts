/** Shaped memory as kernels see it. */
import type { BufferRange } from "../../gpu/runtime.js";

/**
 * Element type in memory. Kernels compute in f32 whatever the storage. `bf16` is read only, and needs no feature of the adapter:
 * two of them lie in a word.
 */
export type DType = "f32" | "f16" | "bf16" | "u32";

/** A shaped array on the GPU. It does not own its buffer. */
export interface ArrayView {
  /** Memory of all of it, or of the first of its pieces. */
  readonly range: BufferRange;
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Of a matrix that is larger than what a kernel can bind: its rows in pieces, in order. */
  readonly pieces?: readonly RowPiece[] | undefined;
}

/** Some rows of a matrix, in memory of their own. */
export interface RowPiece {
  readonly first: number;
  readonly rows: number;
  readonly range: BufferRange;
}

/** Number of elements of a tensor of this shape (1 for a scalar). */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Bytes of a tensor. */
export function byteLength(shape: readonly number[], dtype: DType = "f32"): number {
  return (dtype === "f16" || dtype === "bf16" ? 2 : 4) * elementCount(shape);
}

/**
 * Some rows of a matrix, in pieces where they lie in several.
 * @param first, rows of the first axis; the caller keeps them inside of it
 */
export function rowsOf(view: ArrayView, first: number, rows: number): ArrayView {
  const { shape, dtype, pieces } = view;
  const rest = shape.slice(1);
  const part = (range: BufferRange, skipped: number, count: number): BufferRange => ({
    buffer: range.buffer,
    offset: range.offset + byteLength([skipped, ...rest], dtype),
    bytes: byteLength([count, ...rest], dtype),
  });
  const cut = { shape: [rows, ...rest], dtype };
  if (!pieces) return { ...cut, range: part(view.range, first, rows) };
  const found = pieces.flatMap((piece): RowPiece[] => {
    const start = Math.max(first, piece.first);
    const count = Math.min(first + rows, piece.first + piece.rows) - start;
    if (count <= 0) return [];
    return [{ first: start - first, rows: count, range: part(piece.range, start - piece.first, count) }];
  });
  const [{ range }] = found as [RowPiece];
  return found.length === 1 ? { ...cut, range } : { ...cut, range, pieces: found };
}

/** A matrix as the views of its pieces, each with its first row; one that is whole is its only piece. */
export function piecesOf(
  view: ArrayView,
): { readonly first: number; readonly rows: number; readonly view: ArrayView }[] {
  const { shape, dtype, pieces } = view;
  if (!pieces) return [{ first: 0, rows: shape[0] as number, view }];
  return pieces.map(({ first, rows, range }) => ({
    first,
    rows,
    view: { range, shape: [rows, ...shape.slice(1)], dtype },
  }));
}
