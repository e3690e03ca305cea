/** What the last layer leaves behind in a forward pass: hidden states and the likeliest tokens. No backward pass. */
import { Tape } from "../autograd/tape.js";
import type { Tensor } from "../autograd/tensor.js";
import { ArgumentError } from "../core/errors.js";
import { gatherRows, linear } from "../kernels/index.js";
import type { Qwen2Model } from "../model/qwen2.js";
import type { LastLayerSample, TokenDistribution } from "./analysis/last_layer.js";
import { type CouplingSample, checkSamples, type PackedSamples, packSamples, readTokens } from "./samples.js";

export interface LastLayerOptions {
  /** Divides the logits. Default 1. */
  readonly temperature?: number;
  /** Tokens of each distribution that are kept, the likeliest ones. Default: the whole vocabulary, which is exact. */
  readonly topK?: number;
  /** Packed tokens of one forward pass, at most; a longer sample goes alone. Default 4096. */
  readonly tokensPerBatch?: number;
}

/** Logits that are on their way at one time, as values: bounds memory of device and host. */
const LOGITS_AT_ONCE = 2 ** 22;

/**
 * Hidden states that predict the response tokens, and the distributions there.
 * @returns one entry a sample, in their order: `hidden` [T, C] of T response tokens
 * @throws ArgumentError for samples that the model cannot read, a topK or temperature out of range
 * @remarks In mixed precision logits are halves: probabilities are good to some 1e-2 then. Host memory: T (C + 2 topK) values.
 */
export async function lastLayerSamples(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  options: LastLayerOptions = {},
): Promise<LastLayerSample[]> {
  const { vocab_size: V } = model.config;
  const { temperature = 1, topK = V } = options;
  if (!(temperature > 0) || !(topK >= 1))
    throw new ArgumentError(
      `[coupling] last-layer options are out of range: got temperature ${temperature} and topK ${topK}, expected above 0 and at ` +
        "least 1. Change them.",
    );
  const results: LastLayerSample[] = [];
  await forEachBatch(model, samples, options.tokensPerBatch, async (tape, hidden, packed) => {
    const states = await readRows(tape, hidden, packed.index);
    const distributions = await distributionsAt(model, tape, hidden, packed.index, temperature, topK);
    const { hidden_size: C } = model.config;
    for (let s = 0; s + 1 < packed.scoredOffsets.length; s++) {
      const [from, to] = [packed.scoredOffsets[s], packed.scoredOffsets[s + 1]];
      results.push({
        tokens: packed.target.slice(from, to),
        hidden: states.slice(from * C, to * C),
        distributions: distributions.slice(from, to),
      });
    }
  });
  return results;
}

/**
 * The hidden state that predicts the first token of each response: what the policy makes of the state before it acts.
 * @returns [C] a sample
 * @throws ArgumentError for samples that the model cannot read
 */
export async function decisionStates(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  tokensPerBatch?: number,
): Promise<Float32Array[]> {
  const { hidden_size: C } = model.config;
  const results: Float32Array[] = [];
  await forEachBatch(model, samples, tokensPerBatch, async (tape, hidden, { index, scoredOffsets }) => {
    const first = scoredOffsets.slice(0, -1).map((offset) => index[offset]);
    const states = await readRows(tape, hidden, first);
    for (let s = 0; s < first.length; s++) results.push(states.slice(s * C, (s + 1) * C));
  });
  return results;
}

async function forEachBatch(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  tokensPerBatch = 4096,
  use: (tape: Tape, hidden: Tensor, packed: PackedSamples) => Promise<void>,
): Promise<void> {
  if (samples.length === 0) return;
  checkSamples(samples, model.config);
  for (let first = 0; first < samples.length; ) {
    let end = first + 1;
    for (let tokens = readTokens(samples[first]); end < samples.length; end++) {
      tokens += readTokens(samples[end]);
      if (tokens > tokensPerBatch) break;
    }
    const packed = packSamples(samples.slice(first, end));
    const tape = new Tape(model.launcher, { record: false, activations: model.activations });
    await use(tape, model.hidden(tape, model.batch(tape, packed.packed)), packed);
    tape.release();
    first = end;
  }
}

async function readRows(tape: Tape, x: Tensor, index: Uint32Array): Promise<Float32Array> {
  return (await tape.apply(gatherRows, { x, index: tape.input(index) }).y.read()) as Float32Array;
}

async function distributionsAt(
  model: Qwen2Model,
  tape: Tape,
  hidden: Tensor,
  index: Uint32Array,
  temperature: number,
  topK: number,
): Promise<TokenDistribution[]> {
  const { vocab_size: V } = model.config;
  const rows = Math.max(1, Math.floor(LOGITS_AT_ONCE / V));
  const results: TokenDistribution[] = [];
  for (let from = 0; from < index.length; from += rows) {
    const places = tape.input(index.slice(from, from + rows));
    const x = tape.apply(gatherRows, { x: hidden, index: places }).y;
    const logits = (await tape.apply(linear, { x, weight: model.headWeight }).y.read()) as Float32Array;
    for (let r = 0; r < logits.length / V; r++)
      results.push(distribution(logits.subarray(r * V, (r + 1) * V), temperature, topK));
  }
  return results;
}

/** Softmax of one row of logits; the likeliest tokens, ids rising, the lower id first among equals. */
function distribution(logits: Float32Array, temperature: number, topK: number): TokenDistribution {
  const most = logits.reduce((best, value) => Math.max(best, value), Number.NEGATIVE_INFINITY);
  const scaled = Float64Array.from(logits, (value) => Math.exp((value - most) / temperature));
  const sum = scaled.reduce((total, value) => total + value, 0);
  let ids = Uint32Array.from(scaled.keys());
  if (topK < ids.length)
    ids = ids
      .sort((a, b) => scaled[b] - scaled[a] || a - b)
      .slice(0, topK)
      .sort();
  return { ids, probabilities: Float64Array.from(ids, (id) => scaled[id] / sum) };
}
