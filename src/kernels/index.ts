/** Every op, by import: the registry in op.ts is complete once this module is loaded. */
export { add, addInto } from "./add.js";
export { attention } from "./attention.js";
export { appendKv, attentionDecode, type KvAppend } from "./attention_decode.js";
export { crossEntropy } from "./cross_entropy.js";
export { type EmbeddingSegments, embedding, embeddingSegments } from "./embedding.js";
export { gatherRows } from "./gather_rows.js";
export { Launcher } from "./launch.js";
export { linear } from "./linear.js";
export { linearLogProb } from "./linear_log_prob.js";
export { type Matmul, matmul, matmulInto } from "./matmul.js";
export * from "./op.js";
export { joinPolicyStatistics, POLICY_STATISTICS, type PolicyStatistics, policyLoss } from "./policy_loss.js";
export { rmsNorm } from "./rms_norm.js";
export { rope, ropeTable } from "./rope.js";
export { sample } from "./sample.js";
export { swiglu } from "./swiglu.js";
