/** What sinks are given of per-sample gradients: the gradients, or what they are made of. */
import { ArgumentError } from "../core/errors.js";
import type { ArrayView } from "../kernels/engine/op.js";
import type { GradientTarget, ProductGradient } from "../kernels/engine/weight_gradient.js";
import type { Piece } from "./pieces.js";

/** Gradients of all samples with respect to some rows of a stored tensor, in memory for now. */
export interface TakenPiece {
  /** [S, elements of the piece], f32. */
  readonly x: ArrayView;
  readonly piece: Piece;
  /** u32, the piece's `offsets`. */
  readonly partOffset: ArrayView;
  readonly stored: string;
  /** The parameters' gradient, which begins at row `targetFirst` of the stored tensor. */
  readonly target: GradientTarget | undefined;
  readonly targetFirst: number;
  /** Row of the stored tensor of each looked-up row, where the piece counts these. */
  readonly rowOf?: ArrayView | undefined;
}

/** What the gradients of a matrix are made of, in place of the gradients themselves. */
export interface TakenFactors {
  /** a [N, I], factors of rows and columns included, and d [N, O], the columns of each name side by side. */
  readonly input: ArrayView;
  readonly gradient: ArrayView;
  /** Names in the order of their columns of d, and how many rows the parameter has. */
  readonly parts: readonly { readonly name: string; readonly columns: number; readonly rows: number }[];
  readonly stored: string;
  /** Column 0 of d belongs to this row of the stored tensor; whether d has all of its rows, and whether it has the last. */
  readonly first: number;
  readonly isWhole: boolean;
  readonly isLast: boolean;
  /** Rows of each sample: [S + 1]. */
  readonly offsets: Uint32Array;
  /** The factors as the op has them, and where the gradient of the batch belongs. */
  readonly factors: ProductGradient;
  readonly target: GradientTarget | undefined;
}

/** What the gradients of looked-up rows are made of. */
export interface TakenLookup {
  readonly stored: string;
  /** Rows of the stored tensor. */
  readonly rows: number;
  /** [N, C]: of the row that token[n], u32 [N], looked up. */
  readonly gradient: ArrayView;
  readonly token: ArrayView;
  /** Rows of each sample: [S + 1]. */
  readonly offsets: Uint32Array;
}

/** Uses pieces while they are there, and factors where no pieces are made. */
export interface PieceSink {
  take(taken: TakenPiece): void;
  takeFactors?(taken: TakenFactors): void;
  takeLookup?(taken: TakenLookup): void;
}

const needsGradients = (): ArgumentError =>
  new ArgumentError(
    "[coupling] gradients are needed here: got a path without them, expected product. Plan no paths for this sink.",
  );

/** @throws ArgumentError for a sink that needs the gradients themselves */
export function takeFactors(sink: PieceSink, taken: TakenFactors): void {
  if (!sink.takeFactors) throw needsGradients();
  sink.takeFactors(taken);
}

/** @throws ArgumentError for a sink that needs the gradients themselves */
export function takeLookup(sink: PieceSink, taken: TakenLookup): void {
  if (!sink.takeLookup) throw needsGradients();
  sink.takeLookup(taken);
}
