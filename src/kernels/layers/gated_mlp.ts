import { ArgumentError } from "../../core/errors.js";
import {
  type ArrayView,
  defineOp,
  f32,
  f32Param,
  type PlanContext,
  real,
  type Scalars,
} from "../engine/op.js";
import { matmulInto, matmulParts } from "../matmul/matmul_into.js";
import { rmsNormBackward, rmsNormReference } from "./rms_norm.js";

/**
 * Feed-forward block with its norm and residual: y = x + h down^T, h = silu(gate) * up, where gate and up of f are columns
 * 2 f and 2 f + 1 of norm(x) gate_up^T (their rows lie interleaved in gate_up), norm as in `norm_linear`.
 * @source Shazeer 2020, eq. 6; Zhang & Sennrich 2019, eq. 4
 */
export const gatedMlp = defineOp({
  name: "gated_mlp",
  fuses: ["rms_norm", "linear", "slice_columns", "swiglu", "add"],
  inputs: { x: real("N C"), gain: f32("C"), gate_up: real("F2 C"), down: real("C F") },
  outputs: { y: real("N C") },
  saved: { rstd: f32("N"), products: real("N F2"), h: real("N F") },
  starts: { x: "y" },
  params: { eps: f32Param(1e-6) },
  derive: ({ F, F2 }) => {
    if (F2 !== 2 * F)
      throw new ArgumentError(
        `[gated_mlp] sizes do not fit: got gate_up of ${F2} rows and down of ${F} columns, expected two rows for each column. Interleave the rows of gate and up.`,
      );
    return {};
  },
  forward: (context) => {
    const { x, gain, gate_up, down, y, rstd, products, h } = context.views;
    const { N, C, F, F2, eps } = context.scalars;
    const opening = { a: x, b: gate_up, y: products, M: N, N: F2, K: C, transposeB: true };
    matmulInto(context, { ...opening, norm: { gain, rstd, eps }, gated: { h } });
    matmulInto(context, { a: h, b: down, y, M: N, N: C, K: F, transposeB: true, residual: x });
  },
  backward: (context) => {
    const { x, gain, gate_up, rstd, d_y, d_x, d_gain, d_gate_up } = context.views;
    const { N, C, F2 } = context.scalars;
    const isOpen = d_x || d_gain || d_gate_up;
    const d_products = isOpen ? context.scratch("d_products", [N, F2], d_y.dtype) : undefined;
    let d_norm: ArrayView | undefined;
    context.together(() => closingGradients(context, d_products));
    context.together(() => {
      if (d_products && (d_x || d_gain))
        d_norm = matmulParts(context, { a: d_products, b: gate_up, M: N, N: C, K: F2 });
      if (d_products)
        context.weightGradient({
          kind: "product",
          weight: "gate_up",
          gradient: d_products,
          input: x,
          scale: { rows: rstd, columns: gain },
          N,
          O: F2,
          I: C,
          isLate: true,
        });
    });
    if (d_norm) rmsNormBackward(context, { x, gain, rstd, d_y: d_norm, d_x }, N, C);
  },
  reference,
  cost: ({ N, C, F }) => ({
    forward: { flops: 6 * N * C * F, bytes: 4 * (3 * N * C + 3 * C * F + 4 * N * F) },
    backward: { flops: 12 * N * C * F, bytes: 4 * (8 * N * C + 6 * C * F + 9 * N * F) },
  }),
});

/** Gradients of gate and up of every row, and of the weight `down`. */
function closingGradients(context: PlanContext, d_products?: ArrayView): void {
  const { down, products, h, d_y } = context.views;
  const { N, C, F } = context.scalars;
  if (d_products) {
    const gateBackward = { gate_up: products };
    matmulInto(context, { a: d_y, b: down, y: d_products, M: N, N: F, K: C, gateBackward });
  }
  const sizes = { N, O: C, I: F, isLate: true };
  context.weightGradient({ kind: "product", weight: "down", gradient: d_y, input: h, ...sizes });
}

function reference(
  { x, gain, gate_up, down }: Readonly<Record<"x" | "gain" | "gate_up" | "down", Float64Array>>,
  scalars: Scalars,
) {
  const { N, C, F } = scalars;
  const { y: rows } = rmsNormReference(x, gain, scalars);
  const y = x.slice();
  for (let n = 0; n < N; n++) {
    for (let f = 0; f < F; f++) {
      let [gate, up] = [0, 0];
      for (let c = 0; c < C; c++) {
        gate += rows[n * C + c] * gate_up[2 * f * C + c];
        up += rows[n * C + c] * gate_up[(2 * f + 1) * C + c];
      }
      const h = (gate / (1 + Math.exp(-gate))) * up;
      for (let c = 0; c < C; c++) y[n * C + c] += h * down[c * F + f];
    }
  }
  return { y };
}
