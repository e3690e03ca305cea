/** The stage that imitates the world's expert: cross entropy on rows of expert play. */
import type { TrainConfig } from "../../config/schema.js";
import { groupBy } from "../../core/group_by.js";
import { answerTokens, imitationLoss, imitationObjective } from "../objective/imitation.js";
import type { Row } from "../rows.js";
import { imitationBatch } from "./data_order.js";
import type { Stage } from "./stage.js";

/** @param rows of the expert, from which each update draws */
export function imitationStage({ seed, imitation }: TrainConfig, rows: readonly Row[]): Stage {
  const units = imitation.batch_of === "episodes" ? episodesOf(rows) : rows.map((row) => [row]);
  return {
    name: "imitation",
    settings: imitation,
    needsReference: false,
    evaluateEvery: 0,
    async update({ learner, index, learningRate }) {
      const batch = imitationBatch(seed, units, imitation.batch_size, index).flat();
      const objective = imitationObjective(batch, imitation.prompt_loss_weight);
      const result = await learner.update(objective, learningRate);
      return {
        loss: imitationLoss(result.stats),
        learning_rate: learningRate,
        grad_norm: result.gradNorm,
        skipped: Number(result.skipped),
        skipped_updates: result.skippedSteps,
        loss_scale: result.lossScale,
        num_tokens: answerTokens(batch),
      };
    },
  };
}

/** Rows by episode. Questions come last: an episode's own steps, one after the other, are then one text to the pass. */
function episodesOf(rows: readonly Row[]): Row[][] {
  return [...groupBy(rows, ({ episode }) => episode).values()].map((own) => [
    ...own.filter(({ tag }) => tag !== undefined),
    ...own.filter(({ tag }) => tag === undefined),
  ]);
}
