import { ArgumentError } from "../../core/errors.js";
import { defineOp, f32, optional, real, type Scalars, u32Param } from "../engine/op.js";
import { columnSumInto } from "../layers/column_sum.js";
import { matmulInto } from "./matmul_into.js";

/**
 * Batched product y = op(a) op(b) + bias, where op transposes the last two axes when the param says so.
 * a is [B, M, K], or [B, K, M] with transpose_a = 1; b is [B, K, N], or [B, N, K] with transpose_b = 1.
 * @source ours
 */
export const matmul = defineOp({
  name: "matmul",
  inputs: { a: real("B A1 A2"), b: real("B B1 B2"), bias: optional(f32("N")) },
  outputs: { y: real("B M N") },
  params: { transpose_a: u32Param(0), transpose_b: u32Param(0) },
  derived: ["M", "N", "K"],
  derive: ({ A1, A2, B1, B2, N: biasSize, transpose_a, transpose_b }) => {
    const [M, K] = transpose_a ? [A2, A1] : [A1, A2];
    const [N, rows] = transpose_b ? [B1, B2] : [B2, B1];
    if (rows !== K || (biasSize !== undefined && biasSize !== N)) {
      throw new ArgumentError(
        `[matmul] sizes do not fit: got a [${A1}, ${A2}], b [${B1}, ${B2}]${biasSize === undefined ? "" : `, bias [${biasSize}]`} with transpose_a = ${transpose_a}, transpose_b = ${transpose_b}, expected one K in a and b, and one N in b and bias. Check the shapes and the transpositions.`,
      );
    }
    return { M, N, K };
  },
  forward: (context) => {
    const { a, b, bias, y } = context.views;
    matmulInto(context, { a, b, bias, y, ...productOf(context.scalars) });
  },
  backward: (context) => {
    const { a, b, d_y, d_a, d_b, d_bias } = context.views;
    const { batch, M, N, K, transposeA, transposeB } = productOf(context.scalars);
    const add = (name: string) => context.accumulate.has(name);
    context.together(() => {
      if (d_a) {
        const shared = { batch, y: d_a, accumulate: add("d_a") };
        matmulInto(
          context,
          transposeA
            ? { ...shared, a: b, b: d_y, transposeA: transposeB, transposeB: true, M: K, N: M, K: N }
            : { ...shared, a: d_y, b, transposeB: !transposeB, M, N: K, K: N },
        );
      }
      if (d_b) {
        const shared = { batch, y: d_b, accumulate: add("d_b") };
        matmulInto(
          context,
          transposeB
            ? { ...shared, a: d_y, b: a, transposeA: true, transposeB: transposeA, M: N, N: K, K: M }
            : { ...shared, a, b: d_y, transposeA: !transposeA, M: K, N, K: M },
        );
      }
    });
    if (d_bias) columnSumInto(context, d_y, d_bias, batch * M, N, add("d_bias"));
  },
  reference: ({ a, b, bias }, scalars) => {
    const { batch, M, N, K, transposeA, transposeB } = productOf(scalars);
    const y = new Float64Array(batch * M * N);
    for (let i = 0; i < y.length; i++) {
      const n = i % N;
      const m = Math.floor(i / N) % M;
      const start = Math.floor(i / (N * M)) * K;
      let sum = bias ? bias[n] : 0;
      for (let k = 0; k < K; k++) {
        const left = transposeA ? a[(start + k) * M + m] : a[start * M + m * K + k];
        const right = transposeB ? b[start * N + n * K + k] : b[(start + k) * N + n];
        sum += left * right;
      }
      y[i] = sum;
    }
    return { y };
  },
  cost: ({ B, M, N, K }) => ({
    forward: { flops: 2 * B * M * N * K, bytes: 4 * B * (M * K + K * N + M * N) },
    backward: { flops: 4 * B * M * N * K, bytes: 8 * B * (M * K + K * N + M * N) },
  }),
});

function productOf({ B, M, N, K, transpose_a, transpose_b }: Scalars) {
  return { batch: B, M, N, K, transposeA: transpose_a === 1, transposeB: transpose_b === 1 };
}
