/** Rows and loss settings for tests of updates. */
import type { PolicyLossOptions, StreamLoss } from "../../src/rl/objective/policy.js";
import type { PlayedRow, Row } from "../../src/rl/rows.js";

/** The columns that a loss does not look at. */
export const unplaced: Omit<Row, "prompt" | "answer"> = {
  kind: "policy",
  group: 0,
  episode: 0,
  step: 0,
  taskId: "task",
  taskType: "type",
};

/** What a played row has beside, of a valid step that nothing was won or paid with. */
export const played: Omit<PlayedRow, "prompt" | "answer" | "logProbs"> = {
  ...unplaced,
  text: { blocks: [], text: "", hash: "" },
  observation: "here",
  action: "go",
  valid: true,
  truncated: false,
  stepReward: 0,
  outcome: 0,
};

const plain: StreamLoss = {
  coefficient: 1,
  clipLow: 0.2,
  clipHigh: 0.2,
  dualClip: 0,
  beta: 0,
  klKind: "k3",
  entropyCoef: 0,
  aggregation: "token_mean",
  normaliser: 4,
  skipBelow: 0,
};

/** Loss settings with the usual clips and nothing else, but for what is given. */
export function lossOptions(
  policy: Partial<StreamLoss>,
  classification?: Partial<StreamLoss>,
  temperature = 1,
): PolicyLossOptions {
  return {
    temperature,
    policy: { ...plain, ...policy },
    ...(classification && { classification: { ...plain, ...classification } }),
  };
}
