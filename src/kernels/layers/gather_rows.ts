import * as shader from "../../../shaders/layers/gather_rows.js";
import { defineOp, type KernelUnit, real, u32 } from "../engine/op.js";

const scatterUnit: KernelUnit = {
  op: "gather_rows",
  scalars: { R: "u32", C: "u32" },
  kernel: {
    entry: "backward_x",
    shader: shader.scatter,
    reads: ["d_y", "index"],
    writes: ["sum"],
    workgroups: ({ R, C }) => Math.ceil((R * C) / 64),
  },
};

/**
 * Picks rows: y[r] = x[index[r]]. Lets the vocabulary head see only the tokens whose log-probability is wanted.
 * The R indices must be distinct and below N.
 */
export const gatherRows = defineOp({
  name: "gather_rows",
  inputs: { x: real("N C"), index: u32("R") },
  outputs: { y: real("R C") },
  forward: [
    {
      entry: "forward",
      shader: shader.forward,
      reads: ["x", "index"],
      writes: ["y"],
      workgroups: ({ R, C }) => Math.ceil((R * C) / 64),
    },
  ],
  backward: ({ run, clear, views, scalars, accumulate }) => {
    if (!views.d_x) return;
    if (!accumulate.has("d_x")) clear(views.d_x);
    run(scatterUnit, { d_y: views.d_y, index: views.index, sum: views.d_x }, scalars);
  },
  reference: ({ x, index }, { R, C }) => {
    const y = new Float64Array(R * C);
    for (let r = 0; r < R; r++) y.set(x.subarray(index[r] * C, (index[r] + 1) * C), r * C);
    return { y };
  },
  cost: ({ N, R, C }) => ({
    forward: { flops: 0, bytes: 8 * R * C + 4 * R },
    backward: { flops: R * C, bytes: 4 * (3 * R + N) * C },
  }),
});
