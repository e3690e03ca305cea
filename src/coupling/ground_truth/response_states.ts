/** What a forward pass knows of each answered token: the state that predicts it, and the probabilities there. */
import { Tape } from "../../autograd/tape.js";
import type { Tensor } from "../../autograd/tensor.js";
import { ArgumentError } from "../../core/errors.js";
import { gatherRows, linear } from "../../kernels/index.js";
import { packSequences } from "../../model/packing.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import type { LastLayerSample, TokenDistribution } from "../analysis/last_layer.js";
import { type CouplingSample, checkSamples, packSamples, passesOf } from "../samples.js";

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
  /** Divides the logits. Default 1. */
  readonly temperature?: number;
}

/** Bytes of logits that are read back at once. */
const LOGIT_BYTES = 64 * 2 ** 20;

/**
 * Final hidden states [T, C] and softmax, of every sample's response. No gradient is computed: it works with
 * frozen policies, in memory of a forward pass.
 * @param samples weights of tokens do not count here
 * @throws ArgumentError as `perSampleGram` for samples that do not fit; for one whose probabilities are not finite; for
 * `likeliest` below 1
 * @remarks probabilities are made in float64 of f32 logits, which are read back some rows at a time
 */
export async function responseStates(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  { tokensPerPass = 2048, likeliest = 512, temperature = 1 }: ResponseOptions = {},
): Promise<ResponseStates[]> {
  if (samples.length === 0) return [];
  checkSamples(samples, model.config);
  if (!(likeliest >= 1)) {
    throw new ArgumentError(
      `[coupling] likeliest is out of range: got ${likeliest}, expected at least 1. Leave it out for 512 tokens.`,
    );
  }
  const found: ResponseStates[] = [];
  for (const part of passesOf(samples, tokensPerPass)) {
    const first = found.length;
    const read = await statesOf(model, part, likeliest, temperature);
    read.forEach(({ distributions }, s) => {
      if (distributions.every(({ probabilities }) => Number.isFinite(probabilities[0]))) return;
      throw new ArgumentError(
        `[coupling] sample ${first + s}: its token probabilities are not finite. Check the model's weights, or leave the sample out.`,
      );
    });
    found.push(...read);
  }
  return found;
}

/**
 * The hidden state that predicts the first token of each response: what the policy makes of the state before it acts.
 * @returns [C] a sample
 * @throws ArgumentError as `perSampleGram` for samples that do not fit
 */
export async function decisionStates(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  tokensPerPass = 2048,
): Promise<Float32Array[]> {
  if (samples.length === 0) return [];
  checkSamples(samples, model.config);
  const { hidden_size: C } = model.config;
  const found: Float32Array[] = [];
  for (const part of passesOf(samples, tokensPerPass)) {
    const { packed, index, scoredOffsets } = packSamples(part);
    const first = scoredOffsets.slice(0, -1).map((offset) => index[offset]);
    const tape = new Tape(model.launcher, { record: false, activations: model.activations });
    const x = model.hidden(tape, model.batch(tape, packed));
    const rows = tape.apply(gatherRows, { x, index: tape.input(first) }).y;
    const states = (await rows.read()) as Float32Array;
    tape.release();
    for (let s = 0; s < part.length; s++) found.push(states.slice(s * C, (s + 1) * C));
  }
  return found;
}

async function statesOf(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  likeliest: number,
  temperature: number,
): Promise<ResponseStates[]> {
  const { hidden_size: C, max_position_embeddings: limit } = model.config;
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
  const hidden = Float32Array.from((await rows.read()) as ArrayLike<number>);
  const predicting = places.flatMap((own, s) => own.map((_, t) => t < places[s].length - 1));
  const all = await distributionsOf(model, rows, predicting, likeliest, temperature);
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
      distributions: all.slice(first, first + count),
    };
  });
}

const NOTHING: TokenDistribution = { ids: [], probabilities: [] };

/** Of every row that predicts; of the others nothing. */
async function distributionsOf(
  { launcher, headWeight: weight, config: { vocab_size: V } }: Qwen2Model,
  rows: Tensor,
  predicting: readonly boolean[],
  likeliest: number,
  temperature: number,
): Promise<TokenDistribution[]> {
  const most = Math.max(1, Math.floor(LOGIT_BYTES / (4 * V)));
  const found = predicting.map(() => NOTHING);
  const wanted = [...predicting.keys()].filter((row) => predicting[row]);
  for (let first = 0; first < wanted.length; first += most) {
    const some = wanted.slice(first, first + most);
    // f32 whatever the activations are: logits are told apart by small differences
    const tape = new Tape(launcher, { record: false });
    const x = tape.apply(gatherRows, { x: rows, index: tape.input(Uint32Array.from(some)) }).y;
    const logits = (await tape.apply(linear, { x, weight }).y.read()) as Float32Array;
    tape.release();
    some.forEach((row, r) => {
      found[row] = distribution(logits.subarray(r * V, (r + 1) * V), likeliest, temperature);
    });
  }
  return found;
}

/** Softmax in float64, the likeliest tokens kept, ids rising. */
function distribution(logits: Float32Array, likeliest: number, temperature: number): TokenDistribution {
  const most = logits.reduce((a, b) => Math.max(a, b));
  let sum = 0;
  for (const logit of logits) sum += Math.exp((logit - most) / temperature);
  const ids = likeliest >= logits.length ? Array.from(logits.keys()) : idsOfLargest(logits, likeliest);
  return { ids, probabilities: ids.map((id) => Math.exp((logits[id] - most) / temperature) / sum) };
}

/** Rising; of equal logits the lower ids are taken. */
function idsOfLargest(logits: Float32Array, count: number): number[] {
  // descending: few of many logits are among the largest so far, so that no sort of all is needed
  const chosen: number[] = [];
  for (let id = 0; id < logits.length; id++) {
    if (chosen.length === count && !(logits[id] > logits[chosen[count - 1]])) continue;
    if (chosen.length === count) chosen.pop();
    let at = chosen.length;
    while (at > 0 && logits[chosen[at - 1]] < logits[id]) at--;
    chosen.splice(at, 0, id);
  }
  return chosen.sort((a, b) => a - b);
}
