import { partial, total } from "../../shaders/column_sum.js";
import * as shader from "../../shaders/rms_norm.js";
import { rowLayout } from "../../shaders/rows.js";
import { defineOp, f32, f32Param, real } from "./op.js";

/** Rows added by one workgroup of the gain gradient. */
const ROWS_PER_PART = 64;

/**
 * RMS normalisation over the channel axis: y = x * rstd * gain, rstd = 1 / sqrt(mean(x^2) + eps).
 * @source Zhang & Sennrich 2019, eq. 4
 */
export const rmsNorm = defineOp({
  name: "rms_norm",
  inputs: { x: real("N C"), gain: f32("C") },
  outputs: { y: real("N C") },
  saved: { rstd: f32("N") },
  params: { eps: f32Param(1e-6) },
  derived: ["P", "R"],
  derive: ({ N }) => ({ P: Math.ceil(N / ROWS_PER_PART), R: ROWS_PER_PART }),
  scratch: { partial: f32("P C") },
  forward: [
    {
      entry: "forward",
      shader: ({ facts }) => shader.forward(rowLayout(facts.isSoftware)),
      reads: ["x", "gain"],
      writes: ["y", "rstd"],
      workgroups: ({ N }, { isSoftware }) => Math.ceil(N / rowLayout(isSoftware).rows),
    },
  ],
  backward: [
    {
      entry: "backward_x",
      shader: ({ facts }) => shader.backwardX(rowLayout(facts.isSoftware)),
      reads: ["x", "gain", "rstd", "d_y"],
      writes: ["d_x"],
      workgroups: ({ N }, { isSoftware }) => Math.ceil(N / rowLayout(isSoftware).rows),
    },
    {
      entry: "backward_gain_partial",
      shader: () => partial("read_d_y(row * params.C + c) * read_x(row * params.C + c) * rstd[row]"),
      reads: ["x", "rstd", "d_y"],
      writes: ["partial"],
      for: ["d_gain"],
      workgroups: ({ P, C }) => P * Math.ceil(C / 64),
    },
    {
      entry: "backward_gain",
      shader: () => total("d_gain"),
      reads: ["partial"],
      writes: ["d_gain"],
      workgroups: ({ C }) => Math.ceil(C / 64),
    },
  ],
  reference: ({ x, gain }, { N, C, eps }) => {
    const y = new Float64Array(N * C);
    const rstd = new Float64Array(N);
    for (let n = 0; n < N; n++) {
      const row = x.subarray(n * C, (n + 1) * C);
      rstd[n] = 1 / Math.sqrt(row.reduce((sum, value) => sum + value * value, 0) / C + eps);
      row.forEach((value, c) => {
        y[n * C + c] = value * rstd[n] * gain[c];
      });
    }
    return { y, rstd };
  },
  cost: ({ N, C }) => ({
    forward: { flops: 4 * N * C, bytes: 4 * (2 * N * C + C + N) },
    backward: { flops: 10 * N * C, bytes: 4 * (5 * N * C + 2 * C + 2 * N) },
  }),
});
