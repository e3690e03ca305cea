/** How whole programs of a benchmark compute: what their rows say as dtype, and how far their results may be off. */
import type { KernelFacts } from "../src/gpu/runtime.js";

/** `mixed`: matrices and activations are stored as f16 beside f32 masters, sums and statistics. */
export type Precision = "f32" | "mixed";

/** `f32`, `mixed`, and the factors of matrix products where these are others: `f16`, `mixed split_f16`. */
export function programDtype({ matmulPrecision }: KernelFacts, precision: Precision): string {
  const words = [precision, matmulPrecision].filter((word) => word !== "f32");
  return words.join(" ") || "f32";
}

/** Nats by which a log-probability may differ from a more exact one. */
export function allowedLogProb({ matmulPrecision }: KernelFacts, precision: Precision): number {
  return precision === "mixed" || matmulPrecision === "f16" ? 3e-2 : 2e-3;
}
