/** Token ids and sampling options against a model, before a GPU is asked. */
import { ArgumentError } from "../core/errors.js";

/**
 * @param rows of the embedding: vocab_size
 * @param what the ids are, for the message
 * @throws ArgumentError for no tokens at all, or an id that the model has no row for
 */
export function checkTokens(tokens: readonly number[], rows: number, what: string): void {
  if (tokens.length === 0) {
    throw new ArgumentError(
      `[${what}] no tokens: got an empty list, expected at least one id. Leave it out, or give it tokens.`,
    );
  }
  const at = tokens.findIndex((token) => !Number.isInteger(token) || token < 0 || token >= rows);
  if (at < 0) return;
  throw new ArgumentError(
    `[${what}] token is not in the vocabulary: got id ${tokens[at]} at place ${at}, expected a whole number from 0 to ` +
      `${rows - 1}. Use the tokenizer that belongs to the model.`,
  );
}

/** Options of sampling, see `SamplingOptions`. */
interface Sampling {
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly endTokens: readonly number[];
}

/** @param rows of the embedding @throws ArgumentError for options that no sampling has */
export function checkSampling(
  { maxNewTokens, temperature, topK = 0, topP = 1, endTokens }: Sampling,
  rows: number,
): void {
  const rules: readonly [name: string, got: number, holds: boolean, expected: string][] = [
    [
      "maxNewTokens",
      maxNewTokens,
      Number.isInteger(maxNewTokens) && maxNewTokens > 0,
      "a whole number above 0",
    ],
    // as f32, smaller and larger ones make every logit infinite or equal
    [
      "temperature",
      temperature,
      temperature === 0 || (temperature >= 1e-6 && temperature <= 1e6),
      "0, or a number from 0.000001 to 1000000",
    ],
    ["topK", topK, Number.isInteger(topK) && topK >= 0, "a whole number, 0 or more"],
    ["topP", topP, topP > 0 && topP <= 1, "a number above 0, up to 1"],
  ];
  const broken = rules.find(([, , holds]) => !holds);
  if (broken !== undefined) {
    throw new ArgumentError(
      `[generate] option ${broken[0]} is wrong: got ${broken[1]}, expected ${broken[3]}. Change it.`,
    );
  }
  if (endTokens.length > 0) checkTokens(endTokens, rows, "endTokens");
}
