/** Cross entropy of an expert's answers. */
import { crossEntropy } from "../../kernels/index.js";
import { goesOn, type Row, type TokenRow } from "../rows.js";
import type { Objective } from "./objective.js";

type ImitatedRow = TokenRow & Pick<Row, "weight">;

/**
 * Weighted mean of the cross entropy over answer tokens of the rows, weights of their own or 1, plus `promptLossWeight` times
 * the sum over prompt tokens divided by the sum of the answers' weights. A row that goes on where the row before it ended
 * predicts what is new in its prompt alone.
 */
export function imitationObjective(rows: readonly ImitatedRow[], promptLossWeight = 0): Objective {
  const answerWeight = 1 / rows.reduce((sum, row) => sum + weightsOf(row).reduce((a, b) => a + b, 0), 0);
  const predicted = promptLossWeight > 0 ? rows.map((row, index) => wholeRow(row, rows[index - 1])) : rows;
  return {
    rows: predicted,
    temperature: 1,
    loss(tape, { log_prob }, first, end, lossScale) {
      const weights = predicted.slice(first, end).flatMap(({ answer }, index) => {
        const own = weightsOf(rows[first + index]);
        const fromPrompt = answer.length - own.length;
        return answer.map((_, t) => (t < fromPrompt ? promptLossWeight : own[t - fromPrompt]) * answerWeight);
      });
      const { d_log_prob, stats } = tape.apply(crossEntropy, {
        log_prob,
        weight: tape.input(Float32Array.from(weights)),
        loss_scale: lossScale,
      });
      return { seeds: [[log_prob, d_log_prob]], stats };
    },
  };
}

function weightsOf({ answer, weight }: ImitatedRow): readonly number[] {
  return weight ?? answer.map(() => 1);
}

/** The loss, from the `stats` of every micro-batch. */
export function imitationLoss(parts: readonly ArrayLike<number>[]): number {
  return parts.reduce((sum, part) => sum + part[1], 0);
}

export function answerTokens(rows: readonly TokenRow[]): number {
  return rows.reduce((sum, { answer }) => sum + answer.length, 0);
}

/** A row that predicts its prompt too: from its second token on, or from where it goes on from the row before. */
function wholeRow(row: TokenRow, before: TokenRow | undefined): TokenRow {
  const { prompt, answer } = row;
  const read = before && goesOn(row, before) ? before.prompt.length + before.answer.length : 1;
  return { prompt: prompt.slice(0, read), answer: [...prompt.slice(read), ...answer] };
}
