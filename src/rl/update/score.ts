/** Log-probabilities and entropies of given token sequences. */
import { Tape } from "../../autograd/tape.js";
import { ArgumentError } from "../../core/errors.js";
import { checkTokens } from "../../model/check_tokens.js";
import type { Qwen2Config } from "../../model/config.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import { microBatches } from "./micro_batches.js";

/** Scores of one sequence of T tokens: T - 1 values, the first one for token 1 given token 0. */
export interface SequenceScore {
  readonly logProbs: readonly number[];
  readonly entropy: readonly number[];
}

/** @throws ArgumentError for an id that the model has no row for, or a sequence longer than it can read */
export function checkSequences(
  sequences: readonly (readonly number[])[],
  { vocab_size: vocabulary, max_position_embeddings: longest }: Qwen2Config,
): void {
  for (const [index, sequence] of sequences.entries()) {
    if (sequence.length > 0) checkTokens(sequence, vocabulary, `sequence ${index}`);
    if (sequence.length <= longest) continue;
    throw new ArgumentError(
      `[sequence ${index}] too long: got ${sequence.length} tokens, expected at most ${longest} (max_position_embeddings). ` +
        "Shorten it.",
    );
  }
}

/**
 * Natural log-probability of every token given those before it, and the entropy of each of these distributions.
 * @param sequences token ids; sequences of fewer than two tokens have empty scores
 * @param tokensPerBatch packed tokens computed at once
 * @throws ArgumentError for an id that the model has no row for, or a sequence longer than it can read
 */
export async function scoreSequences(
  model: Qwen2Model,
  sequences: readonly (readonly number[])[],
  tokensPerBatch = 4096,
): Promise<SequenceScore[]> {
  checkSequences(sequences, model.config);
  const scored = sequences.filter((sequence) => sequence.length > 1);
  const rows = scored.map((sequence) => ({ prompt: sequence.slice(0, 1), answer: sequence.slice(1) }));
  const results: SequenceScore[] = [];
  for (const { first, end, packed, index, target } of microBatches(rows, tokensPerBatch)) {
    const tape = new Tape(model.launcher, { record: false, activations: model.activations });
    const hidden = model.hidden(tape, model.batch(tape, packed));
    const { log_prob, entropy } = model.score(tape, hidden, index, target);
    const [logProbBytes, entropyBytes] = await model.launcher.runtime.read([log_prob.range, entropy.range]);
    tape.release();
    const logProbs = new Float32Array(logProbBytes);
    const entropies = new Float32Array(entropyBytes);
    let at = 0;
    for (let row = first; row < end; row++) {
      const count = rows[row].answer.length;
      results.push({
        logProbs: [...logProbs.subarray(at, at + count)],
        entropy: [...entropies.subarray(at, at + count)],
      });
      at += count;
    }
  }
  const iterator = results.values();
  return sequences.map((sequence) =>
    sequence.length > 1 ? (iterator.next().value as SequenceScore) : { logProbs: [], entropy: [] },
  );
}
