/** Sums over the rows of a matrix, for bias gradients in the plans of other ops. */
import * as columnSum from "../../../shaders/layers/column_sum.js";
import type { ArrayView, KernelUnit, PlanContext } from "../engine/op.js";

/** Rows one workgroup adds in the bias gradient. */
const ROWS_PER_PART = 64;
const scalars = { N: "u32", C: "u32", P: "u32", R: "u32" } as const;

const partialUnit: KernelUnit = {
  op: "column_sum",
  scalars,
  kernel: {
    entry: "partial",
    shader: () => columnSum.partial(),
    reads: ["x"],
    writes: ["partial"],
    workgroups: ({ P, C }) => P * Math.ceil(C / 64),
  },
};
const totalUnit: KernelUnit = {
  op: "column_sum",
  scalars,
  kernel: {
    entry: "total",
    shader: () => columnSum.total(),
    reads: ["partial"],
    writes: ["d_y"],
    workgroups: ({ C }) => Math.ceil(C / 64),
  },
};

/** y = sum over the N rows of x [N, C]; added to y when `accumulate`. */
export function columnSumInto(
  context: PlanContext,
  x: ArrayView,
  y: ArrayView,
  N: number,
  C: number,
  accumulate: boolean,
): void {
  const P = Math.ceil(N / ROWS_PER_PART);
  const sizes = { N, C, P, R: ROWS_PER_PART };
  const partial = context.scratch("partial", [P, C]);
  context.run(partialUnit, { x, partial }, sizes);
  context.run(totalUnit, { partial, d_y: y }, sizes, accumulate ? new Set(["d_y"]) : undefined);
}
