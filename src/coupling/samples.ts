/** Samples whose gradients are compared: a response given what comes before it, and weights of its tokens. */
import { ArgumentError } from "../core/errors.js";
import { hashText } from "../core/hash.js";
import type { Qwen2Config } from "../model/config.js";
import { type PackedTokens, packSequences } from "../model/packing.js";

/**
 * g_i, the gradient of a sample, is that of sum over t of weights[t] log p(response token t | all tokens before it), natural
 * logarithm, with respect to all parameters.
 */
export interface CouplingSample {
  /** Token ids, prompt and response. */
  readonly tokens: readonly number[];
  /** Place of the first response token, at least 1: the response is tokens[responseStart] to the end. */
  readonly responseStart: number;
  /** One number a response token. Default 1 each. */
  readonly weights?: readonly number[] | undefined;
}

/** S samples end to end, as the model reads them. */
export interface PackedSamples {
  readonly packed: PackedTokens;
  /** R places whose hidden state predicts a response token, and these tokens, sample after sample. */
  readonly index: Uint32Array;
  readonly target: Uint32Array;
  readonly weights: Float32Array;
  /** Offsets of the samples among the packed tokens, and among the R scored ones; S + 1 each. */
  readonly tokenOffsets: Uint32Array;
  readonly scoredOffsets: Uint32Array;
}

/** An answer given after a prompt, as a sample. */
export function sampleOf({
  prompt,
  answer,
}: {
  readonly prompt: readonly number[];
  readonly answer: readonly number[];
}): CouplingSample {
  return { tokens: [...prompt, ...answer], responseStart: prompt.length };
}

/** What makes a sample: its prompt, its response and the response's weights, as text. */
export function contentOf({ tokens, responseStart, weights }: CouplingSample): string {
  const response = tokens.slice(responseStart);
  const given = weights ?? response.map(() => 1);
  return [
    tokens.slice(0, responseStart).join(),
    response.join(),
    given.map((weight) => weight.toPrecision(6)).join(),
  ].join(" ");
}

/** 64 bits of two hashes with different beginnings, as 16 hexadecimal digits. */
export function contentId(content: string): string {
  return ["a", "b"]
    .map((start) =>
      hashText(start + content)
        .toString(16)
        .padStart(8, "0"),
    )
    .join("");
}

/** The tokens of a sample that are read: the last one is only predicted. */
export const readTokens = ({ tokens }: CouplingSample): number => tokens.length - 1;

/** @throws ArgumentError that names the first sample with too few or too many tokens, ids, or weights */
export function checkSamples(samples: readonly CouplingSample[], config: Qwen2Config): void {
  if (samples.length === 0)
    throw new ArgumentError("[coupling] no samples: got 0, expected at least one. Give some.");
  samples.forEach((sample, index) => {
    const problem = problemOf(sample, config);
    if (problem) throw new ArgumentError(`[coupling] sample ${index}: ${problem}`);
  });
}

function problemOf(
  { tokens, responseStart, weights }: CouplingSample,
  { vocab_size: V, max_position_embeddings: limit }: Qwen2Config,
): string | undefined {
  const { length } = tokens;
  const wrong = tokens.findIndex((token) => !Number.isInteger(token) || token < 0 || token >= V);
  if (wrong >= 0)
    return `token ${wrong} is not in the vocabulary: got id ${tokens[wrong]}, expected an integer from 0 to ${V - 1}. Use the model's own tokenizer.`;
  if (!Number.isInteger(responseStart) || responseStart < 1)
    return `responseStart is out of range: got ${responseStart}, expected an integer of at least 1, since the first token has nothing before it. Begin with a prompt of one token or more.`;
  if (responseStart >= length)
    return `zero response tokens: got responseStart ${responseStart} of ${length} tokens, expected less than ${length}. Leave the sample out or lower responseStart.`;
  if (length - 1 > limit)
    return `too long: got ${length} tokens, expected at most ${limit + 1} (max_position_embeddings and the last one, which is only predicted). Shorten its prompt.`;
  if (weights && weights.length !== length - responseStart)
    return `weights of wrong length: got ${weights.length}, expected ${length - responseStart}, one a response token. Correct them.`;
  const infinite = weights?.findIndex((weight) => !Number.isFinite(Math.fround(weight))) ?? -1;
  if (infinite >= 0)
    return `weight ${infinite} is not finite: got ${weights?.[infinite]}, expected a number that fits 32 bits, up to 3.4e38. Correct it.`;
  return undefined;
}

/** Lays checked samples end to end. */
export function packSamples(samples: readonly CouplingSample[]): PackedSamples {
  const packed = packSequences(samples.map(({ tokens }) => tokens.slice(0, -1)));
  const scoredOffsets = new Uint32Array(samples.length + 1);
  samples.forEach(({ tokens, responseStart }, s) => {
    scoredOffsets[s + 1] = (scoredOffsets[s] as number) + tokens.length - responseStart;
  });
  const R = scoredOffsets[samples.length] as number;
  const [index, target, weights] = [new Uint32Array(R), new Uint32Array(R), new Float32Array(R)];
  samples.forEach((sample, s) => {
    const response = sample.tokens.slice(sample.responseStart);
    const first = scoredOffsets[s] as number;
    target.set(response, first);
    weights.set(sample.weights ?? response.map(() => 1), first);
    for (let t = 0; t < response.length; t++)
      index[first + t] = (packed.offsets[s] as number) + sample.responseStart - 1 + t;
  });
  return { packed, index, target, weights, tokenOffsets: packed.offsets, scoredOffsets };
}

/** Consecutive samples of at most so many tokens together, or single ones of more. */
export function* passesOf<S extends CouplingSample>(
  samples: readonly S[],
  tokensPerPass: number,
): Generator<readonly S[]> {
  for (let first = 0; first < samples.length; ) {
    let [end, tokens] = [first, 0];
    while (end < samples.length && (end === first || tokens + samples[end].tokens.length <= tokensPerPass))
      tokens += samples[end++].tokens.length;
    yield samples.slice(first, end);
    first = end;
  }
}
