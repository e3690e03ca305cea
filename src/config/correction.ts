/** The section `correction` of a configuration: instructions made of the policy's own critiques. Defaults are ours (RECON). */
import { flag, fraction, integerFrom, section } from "./fields.js";

export const correctionSection = section({
  enabled: flag()
    .default(false)
    .describe(
      "put instructions against the policy's habits into its prompts; our reconstruction of the paper",
    ),
  every: integerFrom(1).default(10).describe("updates between two looks for habits"),
  threshold: fraction()
    .default(0.5)
    .describe(
      "share of a state's visits from which a flawed action is a habit; below half of it an instruction retires",
    ),
  min_visits: integerFrom(1).default(4).describe("visits of a state below which nothing is said about it"),
  max_instructions: integerFrom(1).default(5).describe("instructions for each task type, at most"),
  max_tokens: integerFrom(1).default(120).describe("tokens of the instructions of one task type, at most"),
  cold_start_share: fraction()
    .default(0)
    .describe(
      "share of the imitation stage's episodes that show instructions against the mistakes of other episodes, which the expert " +
        "does not make: teaches to read them; needs imitation.detours or gcd.cold_start_share, where mistakes come from",
    ),
  dropout: fraction().default(0.5).describe("share of groups that play without the instructions"),
});
