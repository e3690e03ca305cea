import { type ArrayView, defineOp, f32, f32Param, optional, real } from "../engine/op.js";
import { matmulInto, matmulParts } from "../matmul/matmul_into.js";
import { rmsNormBackward, rmsNormReference } from "./rms_norm.js";

/**
 * Linear layer of normalised rows: y = norm(x) W^T + bias, norm(x) = x * rstd * gain, rstd = 1 / sqrt(mean(x^2) + eps);
 * weight in Hugging Face layout [O, I]. The normalised rows are kept nowhere.
 * @source Zhang & Sennrich 2019, eq. 4; torch.nn.Linear
 */
export const normLinear = defineOp({
  name: "norm_linear",
  fuses: ["rms_norm", "linear"],
  inputs: { x: real("N I"), gain: f32("I"), weight: real("O I"), bias: optional(f32("O")) },
  outputs: { y: real("N O") },
  saved: { rstd: f32("N") },
  params: { eps: f32Param(1e-6) },
  forward: (context) => {
    const { x, gain, weight, bias, y, rstd } = context.views;
    const { N, I, O, eps } = context.scalars;
    const norm = { gain, rstd, eps };
    matmulInto(context, { a: x, b: weight, y, bias, M: N, N: O, K: I, transposeB: true, norm });
  },
  backward: (context) => {
    const { x, gain, weight, rstd, d_y, d_x, d_gain } = context.views;
    const { N, I, O } = context.scalars;
    let d_norm: ArrayView | undefined;
    context.together(() => {
      if (d_x || d_gain) d_norm = matmulParts(context, { a: d_y, b: weight, M: N, N: I, K: O });
      context.weightGradient({
        kind: "product",
        weight: "weight",
        bias: "bias",
        gradient: d_y,
        input: x,
        scale: { rows: rstd, columns: gain },
        N,
        O,
        I,
        isLate: true,
      });
    });
    if (d_norm) rmsNormBackward(context, { x, gain, rstd, d_y: d_norm, d_x }, N, I);
  },
  reference: ({ x, gain, weight, bias }, scalars) => {
    const { N, I, O } = scalars;
    const { y: rows } = rmsNormReference(x, gain, { ...scalars, C: I });
    const y = Float64Array.from({ length: N * O }, (_, index) => {
      const [n, o] = [Math.floor(index / O), index % O];
      let sum = bias ? bias[o] : 0;
      for (let i = 0; i < I; i++) sum += rows[n * I + i] * weight[o * I + i];
      return sum;
    });
    return { y };
  },
  cost: ({ N, I, O }) => ({
    forward: { flops: 2 * N * I * O + 4 * N * I, bytes: 4 * (N * I + O * I + N * O) },
    backward: { flops: 4 * N * I * O + 12 * N * I, bytes: 4 * (6 * N * I + 2 * O * I + 2 * N * O) },
  }),
});
