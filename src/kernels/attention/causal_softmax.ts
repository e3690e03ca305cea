import * as shader from "../../../shaders/attention/causal_softmax.js";
import { defineOp, f32Param, real, u32 } from "../engine/op.js";

/**
 * Shares of attention over packed sequences: y[h, i, j] = softmax over j of scale * scores[h, i, j] for sequence_start[i] <= j <= i,
 * and 0 for all other j. For looking at attention weights: `attention` never keeps them.
 * @source Vaswani et al. 2017, eq. 1, with a causal mask
 */
export const causalSoftmax = defineOp({
  name: "causal_softmax",
  inputs: { scores: real("H N N"), sequence_start: u32("N") },
  outputs: { y: real("H N N") },
  params: { scale: f32Param(1) },
  forward: [
    {
      entry: "forward",
      shader: shader.forward,
      reads: ["scores", "sequence_start"],
      writes: ["y"],
      workgroups: ({ H, N }) => shader.workgroupsFor(H * N),
    },
  ],
  backward: [
    {
      entry: "backward",
      shader: shader.backward,
      reads: ["sequence_start", "y", "d_y"],
      writes: ["d_scores"],
      workgroups: ({ H, N }) => shader.workgroupsFor(H * N),
    },
  ],
  reference: ({ scores, sequence_start }, { H, N, scale }) => {
    const y = new Float64Array(H * N * N);
    for (let row = 0; row < H * N; row++) {
      const i = row % N;
      const own = scores.subarray(row * N + sequence_start[i], row * N + i + 1);
      const largest = own.reduce((most, score) => Math.max(most, score), Number.NEGATIVE_INFINITY);
      const shares = own.map((score) => Math.exp(scale * (score - largest)));
      const total = shares.reduce((sum, share) => sum + share, 0);
      y.set(
        shares.map((share) => share / total),
        row * N + sequence_start[i],
      );
    }
    return { y };
  },
  cost: ({ H, N }) => ({
    forward: { flops: 5 * H * N * N, bytes: 8 * H * N * N },
    backward: { flops: 4 * H * N * N, bytes: 12 * H * N * N },
  }),
});
