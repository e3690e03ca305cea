import { defineOp, f32, optional, real } from "../engine/op.js";
import { matmulInto } from "../matmul/matmul_into.js";

/**
 * Linear layer y = x W^T + bias + residual, weight in Hugging Face layout [O, I].
 * @source torch.nn.Linear
 */
export const linear = defineOp({
  name: "linear",
  fuses: ["linear", "add"],
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
    const { x, weight, d_y, d_x } = context.views;
    const { N, I, O } = context.scalars;
    context.together(() => {
      if (d_x) {
        const sizes = { M: N, N: I, K: O };
        matmulInto(context, {
          a: d_y,
          b: weight,
          y: d_x,
          ...sizes,
          accumulate: context.accumulate.has("d_x"),
        });
      }
      const names = { weight: "weight", bias: "bias" };
      context.weightGradient({ kind: "product", ...names, gradient: d_y, input: x, N, O, I, isLate: true });
    });
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
