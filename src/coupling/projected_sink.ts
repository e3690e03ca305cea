/** Approximate Grams: per-sample gradients of matrices, projected on both sides before they are made. */
import { Tensor } from "../autograd/tensor.js";
import { ArgumentError } from "../core/errors.js";
import { hashText } from "../core/hash.js";
import { type Projection, projectedIdsInto, projectionInto } from "../kernels/coupling/projection.js";
import type { ArrayView } from "../kernels/engine/op.js";
import { addInto } from "../kernels/layers/add.js";
import { segmentDotsInto, segmentProductInto } from "../kernels/matmul/matmul_segments.js";
import { vectorPiece } from "./pieces.js";
import type { GramSink } from "./sinks.js";
import type { PieceSink, TakenFactors, TakenLookup, TakenPiece } from "./taken.js";
import type { Workspace } from "./workspace.js";

/** How coarse an approximation is. */
export interface ProjectionOptions {
  /** Numbers that each side of a matrix's gradient is projected to; a side that is not wider is kept as it is. */
  readonly rank: number;
  /** Chooses the projections. Default 0. */
  readonly seed?: number | undefined;
}

/** @throws ArgumentError for a rank that is none */
export function checkProjection({ rank }: ProjectionOptions): void {
  if (Number.isInteger(rank) && rank >= 1) return;
  throw new ArgumentError(
    `[coupling] rank of the projection is out of range: got ${rank}, expected an integer of at least 1. 32 is a start; more is nearer to the exact Gram.`,
  );
}

/**
 * Gram of projected gradients: of a matrix with g = sum over n of d_n a_n^T it takes (P d_n) (Q a_n)^T, P and Q seeded, with
 * entries of either sign, so that the inner product of two is that of the gradients on average over seeds. Vectors are exact.
 * @source Choe et al. 2024 (2405.13954), LoGra's form, with random signs
 */
export class ProjectedGramSink implements PieceSink {
  /** Of a matrix that comes in tiles of rows, what has come of P d [N, R]. */
  #sum: Tensor | undefined;
  /** Of a tied tensor, the head's part [S, R, R'] until that of the lookup is there. */
  #head: Tensor | undefined;

  /** @param tied name of the tensor whose lookup comes after its head, if there is one */
  constructor(
    readonly workspace: Workspace,
    readonly gram: GramSink,
    readonly options: ProjectionOptions,
    readonly tied: string | undefined,
  ) {}

  /** Vectors. */
  take(taken: TakenPiece): void {
    this.gram.take(taken);
  }

  takeFactors({ stored, first, isWhole, isLast, input, gradient, parts, offsets }: TakenFactors): void {
    const { workspace, options } = this;
    const N = gradient.shape[0] as number;
    const right = isLast ? this.#columns(stored, input) : undefined;
    let start = 0;
    for (const { name, columns, rows } of parts) {
      const projection = { R: Math.min(options.rank, rows), columns: rows, key: this.#key(name, "rows") };
      let left = this.#projected(projection, gradient, { first, start, columns });
      start += columns;
      if (!isWhole) {
        this.#sum ??= Tensor.zeros(workspace.launcher.runtime, [N, projection.R], "coupling.projected");
        addInto(workspace, this.#sum, left);
        left = this.#sum;
      }
      if (!right) continue;
      const x = this.#products(left, right, offsets, stored === this.tied);
      if (stored !== this.tied) this.#give(name, x);
    }
    if (!isLast) return;
    this.#sum?.release();
    this.#sum = undefined;
  }

  takeLookup({ stored, rows, gradient, token, offsets }: TakenLookup): void {
    const { workspace } = this;
    const R = Math.min(this.options.rank, rows);
    const left = workspace.scratch("projected", [token.shape[0] as number, R]);
    projectedIdsInto(workspace, { R, columns: rows, key: this.#key(stored, "rows") }, token, left);
    const x = this.#products(left, this.#columns(stored, gradient), offsets);
    if (this.#head) addInto(workspace, x, this.#head);
    this.#give(stored, x);
  }

  release(): void {
    this.#sum?.release();
    this.#head?.release();
  }

  #key(name: string, side: "rows" | "columns"): number {
    return hashText(`${this.options.seed ?? 0} ${name} ${side}`);
  }

  /** P d_n of each row [N, R], of a name's columns of d. */
  #projected(
    projection: Projection,
    gradient: ArrayView,
    { first, start, columns: C }: Readonly<Record<"first" | "start" | "columns", number>>,
  ): ArrayView {
    const { workspace } = this;
    const [N, O] = gradient.shape as [number, number];
    const b = workspace.scratch("projection", [projection.R, O]);
    projectionInto(workspace, projection, { first, C, start, y: b });
    const y = workspace.scratch("projected", [1, N, projection.R]);
    const multiple = [O, start, C].every((size) => size % 4 === 0) ? 4 : 1;
    const offsets = workspace.table([start, start + C]);
    segmentDotsInto(workspace, { a: gradient, b, offsets, multiple, y });
    return { ...y, shape: [N, projection.R] };
  }

  /** Q a_n of each row [N, R], or the rows themselves where they are not wider. */
  #columns(stored: string, rows: ArrayView): ArrayView {
    const { workspace, options } = this;
    const [N, I] = rows.shape as [number, number];
    if (I <= options.rank) return rows;
    const R = options.rank;
    const projection = workspace.scratch("projection", [R, I]);
    const key = this.#key(stored, "columns");
    projectionInto(workspace, { R, columns: I, key }, { first: 0, C: I, start: 0, y: projection });
    const y = workspace.scratch("columns", [1, N, R]);
    const multiple = I % 4 === 0 ? 4 : 1;
    segmentDotsInto(workspace, { a: rows, b: projection, offsets: workspace.table([0, I]), multiple, y });
    return { ...y, shape: [N, R] };
  }

  /** Sum over the rows of each sample of left right^T: [S, R R']. @param waits the result is kept until the lookup's part is there */
  #products(left: ArrayView, right: ArrayView, offsets: Uint32Array, waits = false): ArrayView {
    const { workspace } = this;
    const [R, C] = [left.shape[1] as number, right.shape[1] as number];
    const S = offsets.length - 1;
    if (waits) this.#head = Tensor.empty(workspace.launcher.runtime, [S, R, C], "f32", "coupling.head");
    const y = (waits && this.#head) || workspace.scratch("x", [S, R, C]);
    const table = workspace.table(offsets);
    segmentProductInto(workspace, { a: left, first: 0, M: R, b: right, offsets: table, y });
    return { range: y.range, shape: [S, R * C], dtype: y.dtype };
  }

  #give(name: string, x: ArrayView): void {
    const piece = vectorPiece(name, x.shape[1] as number);
    const partOffset = this.workspace.table(piece.offsets);
    this.gram.take({ x, piece, partOffset, stored: name, target: undefined, targetFirst: 0 });
  }
}
