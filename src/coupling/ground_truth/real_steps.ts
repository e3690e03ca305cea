/** What really happens to log-probabilities: steps are made, measured and undone. */
import type { Qwen2Model } from "../../model/qwen2.js";
import type { AdamW } from "../../optim/adamw.js";
import type { CouplingSample } from "../samples.js";
import { backwardOf, loadValues, readGradients, readValues, weightedLogProbs } from "./passes.js";

/** One update: samples, and the factor w_i A_i of each. */
export interface RealStep {
  readonly model: Qwen2Model;
  readonly samples: readonly CouplingSample[];
  readonly coefficients: ArrayLike<number>;
}

/**
 * Makes one plain gradient step theta += rate sum_i w_i A_i g_i, and undoes it.
 * @param rate small enough for first order, large enough for float32
 * @returns measured change of each sample's log-probability
 */
export async function plainStepChanges(step: RealStep, rate: number): Promise<Float64Array> {
  const { model, samples, coefficients } = step;
  return undone(step, async (values) => {
    backwardOf(model, samples, coefficients);
    const gradients = await readGradients(model);
    for (const [name, before] of values) {
      const gradient = gradients.get(name) as Float32Array;
      model.trained.load(
        name,
        before.map((value, k) => value + rate * gradient[k]),
      );
    }
  });
}

/**
 * The same step without one sample, all other weights unchanged, against the whole one.
 * @returns for each sample, its change without `left` minus its change in the whole step
 */
export async function leaveOneOutChanges(
  step: RealStep,
  rate: number,
  left: number,
  whole: ArrayLike<number>,
): Promise<Float64Array> {
  const coefficients = Array.from(step.coefficients, (value, i) => (i === left ? 0 : value));
  const without = await plainStepChanges({ ...step, coefficients }, rate);
  return without.map((value, j) => value - whole[j]);
}

/**
 * Learning rate at which the largest predicted change is `most` nats.
 * @param predicted changes per unit of learning rate
 */
export function rateFor(predicted: ArrayLike<number>, most: number): number {
  const largest = Array.from(predicted).reduce((found, value) => Math.max(found, Math.abs(value)), 0);
  return largest > 0 ? most / largest : 0;
}

/** What one step of an optimiser did. */
export interface OptimiserChanges {
  readonly changes: Float64Array;
  /** The update by parameter name: values after minus values before. */
  readonly update: ReadonlyMap<string, Float32Array>;
}

/**
 * Makes one step of AdamW as it stands, moments, clipping and weight decay included, on the loss -sum_i w_i A_i log pi, and
 * puts the weights back. The optimiser's own state has moved on afterwards.
 */
export async function optimiserStepChanges(
  step: RealStep,
  optimizer: AdamW,
  learningRate: number,
): Promise<OptimiserChanges> {
  const { model, samples, coefficients } = step;
  const update = new Map<string, Float32Array>();
  const changes = await undone(step, async (values) => {
    backwardOf(
      model,
      samples,
      Array.from(coefficients, (value) => -value),
    );
    optimizer.step(learningRate);
    for (const [name, before] of values) {
      const after = await model.trained.read(name);
      update.set(
        name,
        after.map((value, k) => value - before[k]),
      );
    }
  });
  return { changes, update };
}

/** Changes of log-probability by what `move` does to the weights, which are put back. */
async function undone(
  { model, samples }: RealStep,
  move: (values: ReadonlyMap<string, Float32Array>) => Promise<void>,
): Promise<Float64Array> {
  const values = await readValues(model);
  const before = await weightedLogProbs(model, samples);
  try {
    await move(values);
    const after = await weightedLogProbs(model, samples);
    return after.map((value, j) => value - before[j]);
  } finally {
    loadValues(model, values);
  }
}
