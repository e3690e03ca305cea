import * as shader from "../../../shaders/loss/token_log_prob.js";
import { rowLayout } from "../../../shaders/rows.js";
import { ArgumentError } from "../../core/errors.js";
import { defineOp, f32, f32Param, u32 } from "../engine/op.js";

/** Log-probability of one column and entropy, of the softmax of one row of scaled logits, in float64. */
export function tokenLogProbReference(
  logits: Float64Array,
  label: number,
): [logProb: number, entropy: number] {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const logSumExp = largest + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - largest), 0));
  const entropy = -logits.reduce((sum, x) => sum + Math.exp(x - logSumExp) * (x - logSumExp), 0);
  return [logits[label] - logSumExp, entropy];
}

/**
 * Log-probability of one token for each row of logits, and the entropy of its distribution:
 * log_prob = log softmax(logits / temperature)[label], entropy = -sum p log p (natural logarithms). Labels are below V.
 * `linear_log_prob` is the same with the product that makes the logits, which then are in memory nowhere.
 * @source torch.nn.functional.log_softmax; the gradient of the entropy with respect to a logit is -p (log p + entropy)
 */
export const tokenLogProb = defineOp({
  name: "token_log_prob",
  inputs: { logits: f32("N V"), label: u32("N") },
  outputs: { log_prob: f32("N"), entropy: f32("N") },
  saved: { log_sum_exp: f32("N") },
  params: { temperature: f32Param(1) },
  derive: ({ temperature }) => {
    if (!(temperature > 0)) {
      throw new ArgumentError(
        `[token_log_prob] temperature is out of range: got ${temperature}, expected more than 0. Use the temperature of sampling.`,
      );
    }
    return {};
  },
  forward: [
    {
      entry: "forward",
      shader: ({ facts }) => shader.forward(rowLayout(facts.isSoftware)),
      reads: ["logits", "label"],
      writes: ["log_prob", "entropy", "log_sum_exp"],
      workgroups: ({ N }, { isSoftware }) => Math.ceil(N / rowLayout(isSoftware).rows),
    },
  ],
  backward: [
    {
      entry: "backward",
      shader: shader.backward,
      reads: ["logits", "label", "entropy", "log_sum_exp", "d_log_prob", "d_entropy"],
      writes: ["d_logits"],
      workgroups: ({ N, V }) => Math.ceil((N * V) / 64),
    },
  ],
  reference: ({ logits, label }, { N, V, temperature }) => {
    const log_prob = new Float64Array(N);
    const entropy = new Float64Array(N);
    for (let n = 0; n < N; n++) {
      const scaled = logits.subarray(n * V, (n + 1) * V).map((logit) => logit / temperature);
      [log_prob[n], entropy[n]] = tokenLogProbReference(scaled, label[n]);
    }
    return { log_prob, entropy };
  },
  cost: ({ N, V }) => ({
    forward: { flops: 6 * N * V, bytes: 4 * N * (V + 4) },
    backward: { flops: 8 * N * V, bytes: 4 * N * (2 * V + 5) },
  }),
});
