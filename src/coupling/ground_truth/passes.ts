/** Plain forward and backward passes over samples: what every prediction is held against. */
import { Tape } from "../../autograd/tape.js";
import { ArgumentError } from "../../core/errors.js";
import { packSequences } from "../../model/packing.js";
import type { Qwen2Model } from "../../model/qwen2.js";

/** A prompt with a response. */
export interface ScoredSample {
  /** Prompt and response. */
  readonly tokens: readonly number[];
  /** Place of the first response token, at least 1. */
  readonly responseStart: number;
  /** One a response token; default 1 each. */
  readonly weights?: readonly number[] | undefined;
}

/** Gradient of one sample's log-probability, by Hugging Face name. */
export type SampleGradient = ReadonlyMap<string, Float32Array>;

/**
 * sum_t weights_t log p_t of each sample under the model as it is, temperature 1, summed in float64.
 * @param tokensPerPass packed tokens computed at once, about
 */
export async function weightedLogProbs(
  model: Qwen2Model,
  samples: readonly ScoredSample[],
  tokensPerPass = 4096,
): Promise<Float64Array> {
  const results: number[] = [];
  for (const part of passes(samples, tokensPerPass)) {
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
  samples: readonly ScoredSample[],
  coefficients: ArrayLike<number>,
  tokensPerPass = 4096,
): void {
  if (!model.parameters.requiresGrad) {
    throw new ArgumentError("[coupling] the parameters are frozen. Load the policy with requiresGrad true.");
  }
  model.parameters.clearGradients();
  let first = 0;
  for (const part of passes(samples, tokensPerPass)) {
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

/** Gradients of all parameters, after `backwardOf`. */
export async function readGradients(model: Qwen2Model): Promise<Map<string, Float32Array>> {
  const gradients = new Map<string, Float32Array>();
  for (const { name } of model.parameters.named)
    gradients.set(name, await model.parameters.readGradient(name));
  return gradients;
}

/** One backward pass a sample: slow, simple, and all gradients at once on the host. */
export async function separateGradients(
  model: Qwen2Model,
  samples: readonly ScoredSample[],
): Promise<SampleGradient[]> {
  const gradients: SampleGradient[] = [];
  for (const sample of samples) {
    backwardOf(model, [sample], [1]);
    gradients.push(await readGradients(model));
  }
  return gradients;
}

/** Values of all parameters, to put them back or to compare. */
export async function readValues(model: Qwen2Model): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const { name } of model.parameters.named) values.set(name, await model.parameters.read(name));
  return values;
}

export function loadValues(model: Qwen2Model, values: ReadonlyMap<string, Float32Array>): void {
  for (const [name, data] of values) model.parameters.load(name, data);
}

function forward(model: Qwen2Model, tape: Tape, samples: readonly ScoredSample[]) {
  const packed = packSequences(samples.map(({ tokens }) => tokens.slice(0, -1)));
  const [index, target]: [number[], number[]] = [[], []];
  samples.forEach(({ tokens, responseStart }, s) => {
    for (let t = responseStart; t < tokens.length; t++) {
      index.push(packed.offsets[s] + t - 1);
      target.push(tokens[t]);
    }
  });
  const hidden = model.hidden(tape, model.batch(tape, packed));
  return model.score(tape, hidden, Uint32Array.from(index), Uint32Array.from(target)).log_prob;
}

function weightsOf({ tokens, responseStart, weights }: ScoredSample): readonly number[] {
  return weights ?? tokens.slice(responseStart).map(() => 1);
}

function* passes(
  samples: readonly ScoredSample[],
  tokensPerPass: number,
): Generator<readonly ScoredSample[]> {
  for (let first = 0; first < samples.length; ) {
    let [end, tokens] = [first, 0];
    while (end < samples.length && (end === first || tokens + samples[end].tokens.length <= tokensPerPass))
      tokens += samples[end++].tokens.length;
    yield samples.slice(first, end);
    first = end;
  }
}
