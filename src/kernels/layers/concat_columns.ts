import * as shader from "../../../shaders/layers/columns.js";
import { defineOp, real } from "../engine/op.js";

/**
 * Puts the columns of b behind those of a: y[n] = (a[n], b[n]).
 * @source torch.cat along the second axis
 */
export const concatColumns = defineOp({
  name: "concat_columns",
  inputs: { a: real("N A"), b: real("N B") },
  outputs: { y: real("N W") },
  derived: ["W"],
  derive: ({ A, B }) => ({ W: A + B }),
  forward: [
    {
      entry: "forward",
      shader: shader.concat,
      reads: ["a", "b"],
      writes: ["y"],
      workgroups: ({ N, W }) => shader.workgroupsFor(N * W),
    },
  ],
  backward: [
    {
      entry: "backward_a",
      shader: shader.concatBackwardA,
      reads: ["d_y"],
      writes: ["d_a"],
      workgroups: ({ N, A }) => shader.workgroupsFor(N * A),
    },
    {
      entry: "backward_b",
      shader: shader.concatBackwardB,
      reads: ["d_y"],
      writes: ["d_b"],
      workgroups: ({ N, B }) => shader.workgroupsFor(N * B),
    },
  ],
  reference: ({ a, b }, { N, A, B, W }) => {
    const y = new Float64Array(N * W);
    for (let n = 0; n < N; n++) {
      y.set(a.subarray(n * A, (n + 1) * A), n * W);
      y.set(b.subarray(n * B, (n + 1) * B), n * W + A);
    }
    return { y };
  },
  cost: ({ N, W }) => ({
    forward: { flops: 0, bytes: 8 * N * W },
    backward: { flops: 0, bytes: 8 * N * W },
  }),
});
