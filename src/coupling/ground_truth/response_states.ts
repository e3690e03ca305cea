/** What a forward pass knows of each answered token: the state that predicts it, and the probabilities there. */
import { Tape } from "../../autograd/tape.js";
import { gatherRows, linear } from "../../kernels/index.js";
import { packSequences } from "../../model/packing.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import type { LastLayerSample, TokenDistribution } from "../analysis/last_layer.js";
import type { CouplingSample } from "../samples.js";

/** A sample of T answered tokens as the last layer sees it. */
export interface ResponseStates extends LastLayerSample {
  /** [C], the state that has read the whole answer; of an answer at the end of the context, all but its last token. */
  readonly after: Float32Array;
}

export interface ResponseOptions {
  /** Packed tokens computed at once, about. Default 2048. */
  readonly tokensPerPass?: number;
  /** Likeliest tokens kept of each distribution; the whole vocabulary where it is not larger. Default 512. */
  readonly likeliest?: number;
}

/**
 * Final hidden states [T, C] and softmax at temperature 1, of every sample's response.
 * @remarks Logits of one pass are read back whole: T V numbers.
 */
export async function responseStates(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  { tokensPerPass = 2048, likeliest = 512 }: ResponseOptions = {},
): Promise<ResponseStates[]> {
  const found: ResponseStates[] = [];
  for (let first = 0; first < samples.length; ) {
    let [end, tokens] = [first, 0];
    while (end < samples.length && (end === first || tokens + samples[end].tokens.length <= tokensPerPass))
      tokens += samples[end++].tokens.length;
    found.push(...(await statesOf(model, samples.slice(first, end), likeliest)));
    first = end;
  }
  return found;
}

async function statesOf(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  likeliest: number,
): Promise<ResponseStates[]> {
  const { hidden_size: C, vocab_size: V, max_position_embeddings: limit } = model.config;
  const packed = packSequences(samples.map(({ tokens }) => tokens.slice(0, limit)));
  // of each sample the T places that predict, and the last one that is read
  const places = samples.map(({ tokens, responseStart }, s) =>
    Array.from(
      { length: tokens.length - responseStart + 1 },
      (_, t) => packed.offsets[s] + Math.min(responseStart - 1 + t, limit - 1),
    ),
  );
  const tape = new Tape(model.launcher, { record: false, activations: model.activations });
  const x = model.hidden(tape, model.batch(tape, packed));
  const rows = tape.apply(gatherRows, { x, index: tape.input(Uint32Array.from(places.flat())) }).y;
  const logits = tape.apply(linear, { x: rows, weight: model.headWeight }).y;
  const hidden = Float32Array.from((await rows.read()) as ArrayLike<number>);
  const scores = Float32Array.from((await logits.read()) as ArrayLike<number>);
  tape.release();
  let at = 0;
  return samples.map(({ tokens, responseStart }, s) => {
    const first = at;
    const count = places[s].length - 1;
    at += places[s].length;
    return {
      tokens: tokens.slice(responseStart),
      hidden: hidden.slice(first * C, (first + count) * C),
      after: hidden.slice((first + count) * C, (first + count + 1) * C),
      distributions: Array.from({ length: count }, (_, t) =>
        distribution(scores.subarray((first + t) * V, (first + t + 1) * V), likeliest),
      ),
    };
  });
}

/** Softmax in float64, the likeliest tokens kept, ids rising. */
function distribution(logits: Float32Array, likeliest: number): TokenDistribution {
  const most = logits.reduce((found, value) => Math.max(found, value), Number.NEGATIVE_INFINITY);
  const weights = Float64Array.from(logits, (value) => Math.exp(value - most));
  const sum = weights.reduce((total, value) => total + value, 0);
  const all = Array.from(weights.keys());
  const ids =
    all.length <= likeliest
      ? all
      : all
          .sort((a, b) => weights[b] - weights[a])
          .slice(0, likeliest)
          .sort((a, b) => a - b);
  return { ids, probabilities: ids.map((id) => weights[id] / sum) };
}
