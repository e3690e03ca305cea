/**
 * Low-rank changes of frozen weights, W + (alpha / R) B A with A [R, I] and B [O, R]: adding them to a weight, and the factors
 * of the gradients of A and B.
 * @source Hu et al. 2021 (2106.09685)
 */
import { rowFactorsInto } from "../coupling/token_pairs.js";
import type { ArrayView, PlanContext } from "../engine/op.js";
import { runForward } from "../engine/op_unit.js";
import type { ProductGradient } from "../engine/weight_gradient.js";
import { matmulInto } from "../matmul/matmul_into.js";
import { addInto } from "./add.js";
import { concatColumns } from "./concat_columns.js";
import { sliceColumns } from "./slice_columns.js";

/** A [R, I] and B [O, R] of a part of a weight, f32. Scaled ones are times alpha / R. */
export interface LowRankFactors {
  readonly rank: number;
  readonly a: ArrayView;
  readonly scaledA: ArrayView;
  readonly scaledB: ArrayView;
}

/** Some rows of a weight, with or without a change. */
export interface LowRankPart {
  readonly rows: number;
  readonly factors: LowRankFactors | undefined;
}

/** All rows of a weight: its parts one after the other, or two of equal size row by row in turn. */
export interface LowRankChange {
  readonly alternates: boolean;
  readonly parts: readonly LowRankPart[];
}

/** Appends weight += its change. @param weight [O, I], f32 or f16 */
export function addLowRank(
  context: PlanContext,
  weight: ArrayView,
  { alternates, parts }: LowRankChange,
): void {
  const [O, I] = weight.shape as [number, number];
  const whole = parts.length === 1 && parts[0]?.factors;
  if (whole) {
    const { scaledB, a, rank } = whole;
    matmulInto(context, { a: scaledB, b: a, y: weight, M: O, N: I, K: rank, accumulate: true });
    return;
  }
  // rows one after the other are one long row; alternating ones are halves of double rows
  const N = alternates ? parts[0].rows : 1;
  const changes = parts.map((part) => changeOf(context, part, I));
  const change = changes.reduce((joined, next) => {
    const [A, B] = [joined, next].map(({ shape }) => (shape[0] * shape[1]) / N);
    const y = context.scratch("change", [(N * (A + B)) / I, I]);
    runForward(context, concatColumns, { a: joined, b: next, y }, { N, A, B, W: A + B });
    return y;
  });
  addInto(context, weight, change);
}

function changeOf(context: PlanContext, { rows, factors }: LowRankPart, I: number): ArrayView {
  const y = context.scratch("part", [rows, I]);
  if (factors) {
    const { scaledB, a, rank } = factors;
    matmulInto(context, { a: scaledB, b: a, y, M: rows, N: I, K: rank });
  } else context.clear(y);
  return y;
}

/** Factors of the gradients of A and of B. */
export interface LowRankGradients {
  readonly a: ProductGradient;
  readonly b: ProductGradient;
}

/**
 * With G [N, O] the gradient of the products with the changed weight, X [N, I] their input and s = alpha / R:
 * d_A = (s G B)^T X and d_B = G^T (s X A^T), of the columns of G that belong to a part.
 * @param whole factors of the gradient of the whole weight
 * @param give called for each part that has a change
 */
export function lowRankGradients(
  context: PlanContext,
  whole: ProductGradient,
  { alternates, parts }: LowRankChange,
  give: (part: number, gradients: LowRankGradients) => void,
): void {
  const { N, O, I, scale } = whole;
  let { input } = whole;
  if (scale) {
    input = context.scratch("input", [N, I]);
    rowFactorsInto(context, { x: whole.input, ...scale, y: input });
  }
  let first = 0;
  parts.forEach(({ rows, factors }, part) => {
    const columns = { N, C: O, K: rows, first, stride: alternates ? 2 : 1, count: rows };
    first += alternates ? 1 : rows;
    if (!factors) return;
    let { gradient } = whole;
    if (rows !== O) {
      gradient = context.scratch("gradient", [N, rows], gradient.dtype);
      runForward(context, sliceColumns, { x: whole.gradient, y: gradient }, columns);
    }
    const { rank: R, scaledA, scaledB } = factors;
    const inner = context.scratch("inner", [N, R]);
    matmulInto(context, { a: gradient, b: scaledB, y: inner, M: N, N: R, K: rows });
    const products = context.scratch("products", [N, R]);
    matmulInto(context, { a: input, b: scaledA, y: products, M: N, N: R, K: I, transposeB: true });
    const shared = { kind: "product", weight: "weight", N } as const;
    give(part, {
      a: { ...shared, gradient: inner, input, O: R, I },
      b: { ...shared, gradient, input: products, O: rows, I: R },
    });
  });
}
