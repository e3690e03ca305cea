/** Per-token weights that turn a sum over tokens into the loss aggregation of a whole batch. */
import { ArgumentError } from "./errors.js";

/**
 * How token losses become one number; over the sequences that have a counted token:
 * - `token_mean`: mean over all counted tokens of the batch (DAPO);
 * - `sequence_mean`: mean over sequences of the mean over their tokens (GRPO);
 * - `sequence_sum`: mean over sequences of the sum over their tokens, divided by `normaliser` (Dr. GRPO: a constant
 *   such as the longest response).
 */
export type Aggregation = "token_mean" | "sequence_mean" | "sequence_sum";

/**
 * loss = sum over sequences and tokens of weight * token loss. Compute it once over the whole batch and slice it: any
 * split into micro-batches then has the same gradient.
 * @param masks one a sequence: 1 for tokens that count, 0 for others
 * @param normaliser divides `sequence_sum`; default 1
 * @returns one array a sequence, as long as its mask; 0 where masked, and everywhere when no token counts
 * @throws ArgumentError when the normaliser is not positive
 * @source Shao et al. 2024, eq. 3; Yu et al. 2025, eq. 8; Liu et al. 2025, section 3.2
 */
export function aggregationWeights(
  aggregation: Aggregation,
  masks: readonly ArrayLike<number>[],
  normaliser = 1,
): Float32Array[] {
  if (!(normaliser > 0)) {
    throw new ArgumentError(
      `[aggregation] normaliser is out of range: got ${normaliser}, expected more than 0. Use the longest response length, or 1.`,
    );
  }
  const counts = masks.map((mask) => Array.from(mask).filter((value) => value > 0).length);
  const tokens = counts.reduce((sum, count) => sum + count, 0);
  const sequences = counts.filter((count) => count > 0).length;
  const weightOf = (count: number): number => {
    if (aggregation === "token_mean") return 1 / tokens;
    if (aggregation === "sequence_mean") return 1 / (sequences * count);
    return 1 / (sequences * normaliser);
  };
  return masks.map((mask, index) => {
    const weight = weightOf(counts[index] as number);
    return Float32Array.from({ length: mask.length }, (_, t) => ((mask[t] as number) > 0 ? weight : 0));
  });
}
