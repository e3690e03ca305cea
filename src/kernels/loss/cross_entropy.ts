import * as shader from "../../../shaders/loss/cross_entropy.js";
import { TOKENS_PER_PART, total } from "../../../shaders/loss/token_statistics.js";
import { rowLayout } from "../../../shaders/rows.js";
import { defineOp, f32, optional } from "../engine/op.js";

/** tokens of weight above 0, loss, sum of their log-probabilities. */
const STATISTICS = 3;

/**
 * Supervised loss on top of linear_log_prob: loss = -sum weight * log_prob, with its gradient. `weight` holds the token
 * mask and the normaliser of the whole batch (src/core/aggregation.ts). Tokens of weight 0 do not count, whatever their value.
 * The gradient (not the statistics) is multiplied by `loss_scale`, see src/optim/loss_scale.ts.
 * stats: [number of tokens of weight above 0, loss, unweighted sum of their log-probabilities].
 */
export const crossEntropy = defineOp({
  name: "cross_entropy",
  inputs: { log_prob: f32("N"), weight: f32("N"), loss_scale: optional(f32("1")) },
  outputs: { d_log_prob: f32("N"), stats: f32(`${STATISTICS}`) },
  derived: ["P"],
  derive: ({ N }) => ({ P: Math.ceil(N / TOKENS_PER_PART) }),
  scratch: { partial: f32(`P ${STATISTICS}`) },
  forward: [
    {
      entry: "tokens",
      shader: ({ has }) => shader.tokens(has("loss_scale")),
      reads: ["log_prob", "weight", "loss_scale"],
      writes: ["d_log_prob", "partial"],
      workgroups: ({ P }) => Math.ceil(P / 64),
    },
    {
      entry: "total",
      // no column is a maximum: no remainder equals the period
      shader: ({ facts }) => total(rowLayout(facts.isSoftware), STATISTICS, STATISTICS, STATISTICS),
      reads: ["partial"],
      writes: ["stats"],
      workgroups: (_, { isSoftware }) => Math.ceil(STATISTICS / rowLayout(isSoftware).rows),
    },
  ],
  backward: { none: "its gradient is an output: seed the tape with d_log_prob" },
  reference: ({ log_prob, weight, loss_scale }) => {
    const scale = loss_scale?.[0] ?? 1;
    const stats = new Float64Array(STATISTICS);
    weight.forEach((w, t) => {
      if (!(w > 0)) return;
      stats[0] += 1;
      stats[1] -= w * log_prob[t];
      stats[2] += log_prob[t];
    });
    return { d_log_prob: weight.map((w) => (w > 0 ? -w * scale : 0)), stats };
  },
  cost: ({ N }) => ({ forward: { flops: 4 * N, bytes: 12 * N } }),
});
