/** Plain forward and backward passes over samples: what every prediction is held against. */
import { Tape } from "../../autograd/tape.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import { requireTrainable, trainableNames } from "../pass.js";
import { type CouplingSample, packSamples, passesOf } from "../samples.js";

/** Gradient of one sample's log-probability, by Hugging Face name. */
export type SampleGradient = ReadonlyMap<string, Float32Array>;

/**
 * sum_t weights_t log p_t of each sample under the model as it is, temperature 1, summed in float64.
 * @param tokensPerPass packed tokens computed at once, about
 */
export async function weightedLogProbs(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  tokensPerPass = 4096,
): Promise<Float64Array> {
  const results: number[] = [];
  for (const part of passesOf(samples, tokensPerPass)) {
    const tape = new Tape(model.launcher, { record: false, activations: model.activations });
    const values = (await forward(model, tape, part).read()) as Float32Array;
    tape.release();
    let at = 0;
    for (const sample of part)
      results.push(weightsOf(sample).reduce((sum, weight) => sum + weight * values[at++], 0));
  }
  return Float64Array.from(results);
}

/**
 * Leaves the gradient of sum_i coefficients_i sum_t weights_t log p_t, the direction of ascent, in the parameters' gradients.
 * @throws ArgumentError when the parameters are frozen
 */
export function backwardOf(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  coefficients: ArrayLike<number>,
  tokensPerPass = 4096,
): void {
  requireTrainable(model);
  model.trained.clearGradients();
  let first = 0;
  for (const part of passesOf(samples, tokensPerPass)) {
    const tape = new Tape(model.launcher, { activations: model.activations });
    const scored = forward(model, tape, part);
    const seeds = part.flatMap((sample, i) =>
      weightsOf(sample).map((weight) => weight * coefficients[first + i]),
    );
    tape.backward([[scored, tape.input(Float32Array.from(seeds))]]);
    tape.release();
    first += part.length;
  }
}

/** Gradients of all trainable parameters, after `backwardOf`. */
export async function readGradients(model: Qwen2Model): Promise<Map<string, Float32Array>> {
  const gradients = new Map<string, Float32Array>();
  for (const name of trainableNames(model)) gradients.set(name, await model.trained.readGradient(name));
  return gradients;
}

/** <g_j, V> of each sample, in float64, from whole gradients and a direction by parameter name. */
export function pushesOf(
  gradients: readonly SampleGradient[],
  direction: ReadonlyMap<string, ArrayLike<number>>,
): Float64Array {
  return Float64Array.from(gradients, (gradient) => {
    let sum = 0;
    for (const [name, values] of gradient) {
      const along = direction.get(name) as ArrayLike<number>;
      for (let k = 0; k < values.length; k++) sum += values[k] * along[k];
    }
    return sum;
  });
}

/** Values of all trainable parameters, to put them back or to compare. */
export async function readValues(model: Qwen2Model): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const name of trainableNames(model)) values.set(name, await model.trained.read(name));
  return values;
}

export function loadValues(model: Qwen2Model, values: ReadonlyMap<string, Float32Array>): void {
  for (const [name, data] of values) model.trained.load(name, data);
}

function forward(model: Qwen2Model, tape: Tape, samples: readonly CouplingSample[]) {
  const { packed, index, target } = packSamples(samples);
  const hidden = model.hidden(tape, model.batch(tape, packed));
  return model.score(tape, hidden, index, target).log_prob;
}

function weightsOf({ tokens, responseStart, weights }: CouplingSample): readonly number[] {
  return weights ?? tokens.slice(responseStart).map(() => 1);
}
