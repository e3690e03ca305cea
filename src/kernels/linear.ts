import { columnSumInto } from "./column_sum.js";
import { matmulInto } from "./matmul.js";
import { defineOp, f32, optional } from "./op.js";

/**
 * Linear layer y = x W^T + bias, weight in Hugging Face layout [O, I].
 * @source torch.nn.Linear
 */
export const linear = defineOp({
  name: "linear",
  inputs: { x: f32("N I"), weight: f32("O I"), bias: optional(f32("O")) },
  outputs: { y: f32("N O") },
  forward: (context) => {
    const { x, weight, bias, y } = context.views;
    const { N, I, O } = context.scalars;
    matmulInto(context, { a: x, b: weight, y, bias, M: N, N: O, K: I, transposeB: true });
  },
  backward: (context) => {
    const { x, weight, d_y, d_x, d_weight, d_bias } = context.views;
    const { N, I, O } = context.scalars;
    const add = (name: string) => context.accumulate.has(name);
    context.together(() => {
      if (d_x) matmulInto(context, { a: d_y, b: weight, y: d_x, M: N, N: I, K: O, accumulate: add("d_x") });
      if (d_weight) {
        const sizes = { M: O, N: I, K: N, transposeA: true };
        matmulInto(context, { a: d_y, b: x, y: d_weight, ...sizes, accumulate: add("d_weight") });
      }
    });
    if (d_bias) columnSumInto(context, d_y, d_bias, N, O, add("d_bias"));
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
