import * as columnSum from "../../shaders/column_sum.js";
import { matmulInto } from "./matmul.js";
import { type ArrayView, defineOp, f32, type KernelUnit, optional, type PlanContext } from "./op.js";

/** Rows one workgroup adds in the bias gradient. */
const ROWS_PER_PART = 64;
const scalars = { N: "u32", C: "u32", P: "u32", R: "u32" } as const;

const partialUnit: KernelUnit = {
  op: "column_sum",
  scalars,
  kernel: {
    entry: "partial",
    shader: columnSum.partial,
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
    shader: columnSum.total,
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

/**
 * Linear layer y = x W^T + bias, weight in Hugging Face layout [O, I].
 * @source torch.nn.Linear
 */
export const linear = defineOp({
  name: "linear",
  inputs: { x: f32("N I"), weight: f32("O I"), bias: optional(f32("O")) },
  outputs: { y: f32("N O") },
  forward: ({ run, views, scalars: { N, I, O } }) => {
    matmulInto(
      { run },
      { a: views.x, b: views.weight, y: views.y, bias: views.bias, M: N, N: O, K: I, transposeB: true },
    );
  },
  backward: (context) => {
    const { run, views, accumulate } = context;
    const { N, I, O } = context.scalars;
    const { x, weight, d_y, d_x, d_weight, d_bias } = views;
    if (d_x)
      matmulInto({ run }, { a: d_y, b: weight, y: d_x, M: N, N: I, K: O, accumulate: accumulate.has("d_x") });
    if (d_weight) {
      matmulInto(
        { run },
        {
          a: d_y,
          b: x,
          y: d_weight,
          M: O,
          N: I,
          K: N,
          transposeA: true,
          accumulate: accumulate.has("d_weight"),
        },
      );
    }
    if (d_bias) columnSumInto(context, d_y, d_bias, N, O, accumulate.has("d_bias"));
  },
  reference: ({ x, weight, bias }, { N, I, O }) => {
    const y = new Float64Array(N * O);
    for (let n = 0; n < N; n++) {
      for (let o = 0; o < O; o++) {
        let sum = bias ? bias[o] : 0;
        for (let i = 0; i < I; i++) sum += x[n * I + i] * weight[o * I + i];
        y[n * O + o] = sum;
      }
    }
    return { y };
  },
  cost: ({ N, I, O }) => ({
    forward: { flops: 2 * N * I * O, bytes: 4 * (N * I + O * I + N * O) },
    backward: { flops: 4 * N * I * O, bytes: 8 * (N * I + O * I + N * O) },
  }),
});
