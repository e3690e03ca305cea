/** Every op, by import: the registry in op.ts is complete once this module is loaded. */

export { attention } from "./attention/attention.js";
export { appendKv, attentionDecode, type KvAppend } from "./attention/attention_decode.js";
export { rope, ropeTable } from "./attention/rope.js";
export { Launcher } from "./engine/launch.js";
export * from "./engine/op.js";
export { add, addInto } from "./layers/add.js";
export { concatColumns } from "./layers/concat_columns.js";
export { dropout } from "./layers/dropout.js";
export { type EmbeddingSegments, embedding, embeddingSegments } from "./layers/embedding.js";
export { gatedMlp } from "./layers/gated_mlp.js";
export { gatherRows } from "./layers/gather_rows.js";
export { linear } from "./layers/linear.js";
export { addLowRank, type LowRankChange, type LowRankFactors, lowRankGradients } from "./layers/low_rank.js";
export { normLinear } from "./layers/norm_linear.js";
export { rmsNorm } from "./layers/rms_norm.js";
export { sliceColumns } from "./layers/slice_columns.js";
export { swiglu } from "./layers/swiglu.js";
export { crossEntropy } from "./loss/cross_entropy.js";
export { linearLogProb } from "./loss/linear_log_prob.js";
export { KL_KINDS, policyLoss, RATIO_LEVELS, type StreamParam, SURROGATES } from "./loss/policy_loss.js";
export { joinPolicyStatistics, POLICY_STATISTICS, type PolicyStatistics } from "./loss/policy_statistics.js";
export { tokenLogProb } from "./loss/token_log_prob.js";
export { matmul } from "./matmul/matmul.js";
export { matmulInto } from "./matmul/matmul_into.js";
export type { Matmul } from "./matmul/matmul_product.js";
export { advanceSequences, type SampledSequences } from "./steps/advance.js";
export { sample } from "./steps/sample.js";
