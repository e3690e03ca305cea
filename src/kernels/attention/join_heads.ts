import * as shader from "../../../shaders/attention/heads.js";
import { workgroupsFor } from "../../../shaders/layers/columns.js";
import { defineOp, real } from "../engine/op.js";

/**
 * A matrix a head as columns side by side: y[n, h D + d] = x[h, n, d].
 * @source ours
 */
export const joinHeads = defineOp({
  name: "join_heads",
  inputs: { x: real("H N D") },
  outputs: { y: real("N W") },
  derived: ["W"],
  derive: ({ H, D }) => ({ W: H * D }),
  forward: [
    {
      entry: "forward",
      shader: shader.join,
      reads: ["x"],
      writes: ["y"],
      workgroups: ({ N, W }) => workgroupsFor(N * W),
    },
  ],
  backward: [
    {
      entry: "backward_x",
      shader: shader.joinBackward,
      reads: ["d_y"],
      writes: ["d_x"],
      workgroups: ({ N, W }) => workgroupsFor(N * W),
    },
  ],
  reference: ({ x }, { N, W, D }) => ({
    y: Float64Array.from({ length: N * W }, (_, i) => {
      const [n, h, d] = [Math.floor(i / W), Math.floor((i % W) / D), i % D];
      return x[(h * N + n) * D + d];
    }),
  }),
  cost: ({ N, W }) => ({
    forward: { flops: 0, bytes: 8 * N * W },
    backward: { flops: 0, bytes: 8 * N * W },
  }),
});
