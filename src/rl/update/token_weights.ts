/** Rows with the factors of single tokens that a rival remedy gives them. */
import type { TrainConfig } from "../../config/schema.js";
import { groupBy } from "../../core/group_by.js";
import { responseStates } from "../../coupling/ground_truth/response_states.js";
import { sampleOf } from "../../coupling/samples.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import { conflictTokenWeights, nthrTokenWeights } from "../advantages/token_weights.js";
import type { PlayedRow } from "../rows.js";

type Settings = Pick<
  TrainConfig["grpo"],
  | "token_weights"
  | "conflict_positive"
  | "conflict_negative"
  | "nthr_beta"
  | "nthr_eta"
  | "temperature"
  | "tokens_per_micro_batch"
>;

/** Likeliest tokens that stand for a distribution: what is left out of it is small in a policy that acts. */
const NTHR_LIKELIEST = 256;

/**
 * Rows with factors of their tokens by `grpo.token_weights`: none, GTPO's of conflict tokens, or NTHR's of tokens that pull good
 * answers down. Answers are compared that were given in one state of a group: rows of one anchor, or of one prompt where a row has
 * none. The papers compare answers to one prompt; states of an agent are our reading of that.
 * @param model the policy that is trained, before the update: NTHR reads its hidden states
 */
export async function withTokenWeights(
  model: Qwen2Model,
  rows: readonly PlayedRow[],
  settings: Settings,
): Promise<readonly PlayedRow[]> {
  if (settings.token_weights === "none") return rows;
  const weights =
    settings.token_weights === "gtpo"
      ? conflictTokenWeights(
          rows.map((row) => ({ group: stateOf(row), answer: row.answer, advantage: row.advantage ?? 0 })),
          { positive: settings.conflict_positive, negative: settings.conflict_negative },
        )
      : await nthrWeights(model, rows, settings);
  return rows.map((row, index) => {
    const own = row.weight;
    return { ...row, weight: Array.from(weights[index], (factor, t) => factor * (own?.[t] ?? 1)) };
  });
}

function stateOf({ group, anchorKey, text }: PlayedRow): string {
  return `${group}\n${anchorKey ?? text.hash}`;
}

async function nthrWeights(
  model: Qwen2Model,
  rows: readonly PlayedRow[],
  { nthr_beta: beta, nthr_eta: eta, temperature, tokens_per_micro_batch: tokensPerPass }: Settings,
): Promise<Float64Array[]> {
  const weights: Float64Array[] = rows.map(({ answer }) => new Float64Array(answer.length).fill(1));
  const signed = (members: readonly number[], sign: number) =>
    members.filter((index) => Math.sign(rows[index].advantage ?? 0) === sign);
  const states = [...groupBy(rows.keys(), (index) => stateOf(rows[index])).values()]
    .map((members) => ({ positives: signed(members, 1), negatives: signed(members, -1) }))
    .filter(({ positives, negatives }) => positives.length > 0 && negatives.length > 0);
  const needed = states.flatMap(({ positives, negatives }) => [...positives, ...negatives]);
  const samples = await responseStates(
    model,
    needed.map((index) => sampleOf(rows[index])),
    { temperature, likeliest: NTHR_LIKELIEST, tokensPerPass },
  );
  const seen = new Map(needed.map((index, at) => [index, samples[at]]));
  const samplesOf = (members: readonly number[]) => members.flatMap((index) => seen.get(index) ?? []);
  for (const { positives, negatives } of states) {
    const found = nthrTokenWeights(samplesOf(positives), samplesOf(negatives), { beta, eta });
    negatives.forEach((index, at) => {
      weights[index] = found[at];
    });
  }
  return weights;
}
