import { defineOp, f32, optional, real } from "../engine/op.js";
import { matmulInto } from "../matmul/matmul_into.js";
import { columnSumInto } from "./column_sum.js";

/**
 * Linear layer y = x W^T + bias + residual, weight in Hugging Face layout [O, I].
 * @source torch.nn.Linear
 */
export const linear = defineOp({
  name: "linear",
  inputs: {
    x: real("N I"),
    weight: real("O I"),
    bias: optional(f32("O")),
    residual: optional(real("N O")),
  },
  outputs: { y: real("N O") },
  passes: { residual: "y" },
  forward: (context) => {
    const { x, weight, bias, residual, y } = context.views;
    const { N, I, O } = context.scalars;
    matmulInto(context, { a: x, b: weight, y, bias, residual, M: N, N: O, K: I, transposeB: true });
  },
  backward: (context) => {
    const { x, weight, d_y, d_x, d_weight, d_bias } = context.views;
    const { N, I, O } = context.scalars;
    const accumulate = (name: string) => context.accumulate.has(name);
    const sumA = d_bias && { y: d_bias, accumulate: accumulate("d_bias") };
    context.together(() => {
      if (d_x) {
        const sizes = { M: N, N: I, K: O };
        matmulInto(context, { a: d_y, b: weight, y: d_x, ...sizes, accumulate: accumulate("d_x") });
      }
      if (d_weight) {
        const sizes = { M: O, N: I, K: N, transposeA: true };
        const product = { a: d_y, b: x, y: d_weight, ...sizes, accumulate: accumulate("d_weight") };
        matmulInto(context, { ...product, isLate: true, ...(sumA && { sumA }) });
      }
    });
    if (d_bias && !d_weight) columnSumInto(context, d_y, d_bias, N, O, accumulate("d_bias"));
  },
  reference: ({ x, weight, bias, residual }, { N, I, O }) => {
    const y = new Float64Array(N * O);
    for (let n = 0; n < N; n++) {
      for (let o = 0; o < O; o++) {
        let sum = (bias ? bias[o] : 0) + (residual ? residual[n * O + o] : 0);
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
