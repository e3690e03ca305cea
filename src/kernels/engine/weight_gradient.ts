/**
 * Gradients of parameters as the factors they are made of. Every op hands them to `PlanContext.weightGradient`, where both
 * factors exist, so that whoever needs gradients sample by sample, or needs none, asks no op about it.
 */
import type { ArrayView } from "./array_view.js";

/** d_weight[o, i] = sum over n of gradient[n, o] input[n, i], and d_bias[o] = sum over n of gradient[n, o]. */
export interface ProductGradient {
  readonly kind: "product";
  /** Name of the op's input that is the weight [., I]. */
  readonly weight: string;
  /** Name of the op's input that is the bias [O]. */
  readonly bias?: string;
  /** [N, O]. */
  readonly gradient: ArrayView;
  /** [N, I]; times rows[n] columns[i] where `scale` is given. */
  readonly input: ArrayView;
  readonly scale?: { readonly rows: ArrayView; readonly columns: ArrayView };
  /** Row of the weight that column 0 of `gradient` belongs to. Default 0. */
  readonly first?: number;
  readonly N: number;
  readonly O: number;
  readonly I: number;
  /** Nothing reads the gradient soon, and its factors stay as they are: it may be computed late. */
  readonly isLate?: boolean;
}

/** d_weight[c] = sum over n of gradient[n, c] input[n, c] rows[n]: the gain of a norm. */
export interface GainGradient {
  readonly kind: "gain";
  readonly weight: string;
  /** [N, C], or parts of it that are to be added, [P, N, C]. */
  readonly gradient: ArrayView;
  /** [N, C]. */
  readonly input: ArrayView;
  /** [N]. */
  readonly rows: ArrayView;
  readonly N: number;
  readonly C: number;
}

/** d_weight[id[u], c] = sum of gradient[order[at], c] over `at` from segment_start[u] to segment_start[u + 1]: rows looked up. */
export interface LookupGradient {
  readonly kind: "lookup";
  readonly weight: string;
  /** [N, C]. */
  readonly gradient: ArrayView;
  /** Places of the N rows, sorted by the row that they looked up. */
  readonly order: ArrayView;
  /** The U rows of the weight that were looked up, ascending. */
  readonly id: ArrayView;
  /** [U + 1]. */
  readonly segment_start: ArrayView;
  readonly N: number;
  readonly C: number;
  readonly U: number;
}

export type WeightGradient = ProductGradient | GainGradient | LookupGradient;

/** A gradient about to be computed, as an observer sees it. */
export interface ObservedGradient {
  readonly factors: WeightGradient;
  /** Names of the parameters; those that are frozen, or not there, are absent. */
  readonly parameter?: string;
  readonly bias?: string;
  /** Which rows n runs over: a name that was given to rows by `Tape.nameRows`. Absent for rows without a name. */
  readonly rows?: string;
  /** Where the sums belong: the rows of the weight's gradient that the factors speak of, and the bias's. */
  readonly target?: GradientTarget;
  readonly biasTarget?: GradientTarget;
}

export interface GradientTarget {
  readonly view: ArrayView;
  /** The gradient is to be added to what is there. */
  readonly accumulate: boolean;
}

/** What an observer may ask for: launch kernels, and memory that is returned once the observer is done with the gradient. */
export interface GradientObserver {
  /**
   * Both factors are in memory and will not change before the observer returns; launches that read them may not be late.
   * @returns true: the observer has computed the sums at the targets, or does not want them; false: they are computed as ever
   */
  factors?(gradient: ObservedGradient): boolean;
  /** Every contribution to the gradient of this parameter has been appended. */
  final?(parameter: string): void;
}
