/** Checks of a Gram: against one backward pass for each sample, and of a sample alone against it in the batch. */
import type { Qwen2Model } from "../model/qwen2.js";
import { type Direction, directions } from "./directions.js";
import type { GramOptions, SampleGram } from "./gram.js";
import type { CouplingSample } from "./samples.js";
import { addBatchGradient, gramOfGradients, separateGradients } from "./separate.js";

/** How far two Grams are apart. */
export interface GramDifference {
  readonly name: string;
  /** Largest |difference| as a share of the largest |entry| that was expected. */
  readonly error: number;
}

/** Bound of `GramDifference.error` that every layer and the total keep in f32, and in mixed precision (f16 has 11 bits). */
export const GRAM_TOLERANCE = { f32: 1e-4, f16: 3e-2 } as const;

/** Largest difference of two Grams as a share of the largest entry of the expected one; 0 for two that are 0 throughout. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [difference, largest] = [0, 0];
  for (let at = 0; at < expected.length; at++) {
    // a value that is no number makes the error none either, which is below no bound
    difference = Math.max(difference, Math.abs((actual[at] as number) - (expected[at] as number)));
    largest = Math.max(largest, Math.abs(expected[at] as number));
  }
  return difference === 0 ? 0 : difference / largest;
}

/** [n, n] of the entries of some samples. */
function entriesOf(gram: Float64Array, S: number, numbers: readonly number[]): Float64Array {
  return Float64Array.from(numbers.flatMap((i) => numbers.map((j) => gram[i * S + j] as number)));
}

/**
 * Computes the Gram of some of the samples from one backward pass each, in float64 sums, and compares.
 * @param numbers of the samples that are checked
 * @returns one entry a parameter, and `total` at the end
 */
export async function verifyGram(
  policy: Qwen2Model,
  samples: readonly CouplingSample[],
  { gram, layers }: SampleGram,
  numbers: readonly number[],
): Promise<GramDifference[]> {
  const S = samples.length;
  const chosen = numbers.map((s) => samples[s] as CouplingSample);
  const expected = gramOfGradients(await separateGradients(policy, chosen));
  const total = new Float64Array(numbers.length ** 2);
  const differences = [...expected].map(([name, values]) => {
    values.forEach((value, at) => {
      total[at] += value;
    });
    return { name, error: relativeError(entriesOf(layers.get(name) as Float64Array, S, numbers), values) };
  });
  return [...differences, { name: "total", error: relativeError(entriesOf(gram, S, numbers), total) }];
}

/** A sample's gradient in the batch against its gradient computed by itself, by an ordinary backward pass. */
export interface AloneDifference {
  readonly sample: number;
  /** |g|^2 in the batch, and alone. */
  readonly inBatch: number;
  readonly alone: number;
  /** Cosine of the angle between the two. */
  readonly cosine: number;
}

/** Least `AloneDifference.cosine`: what is beside a sample changes the order of some sums, and no more. */
export const LEAST_COSINE = 0.99999;

/**
 * Computes the gradients of some samples alone and holds them against those in the batch of all samples.
 * @param policy its gradients are overwritten, and cleared at the end
 */
export async function diagnoseAlone(
  policy: Qwen2Model,
  samples: readonly CouplingSample[],
  numbers: readonly number[],
  options: Pick<GramOptions, "budgetBytes" | "pieceBytes"> = {},
): Promise<AloneDifference[]> {
  const { trained: parameters } = policy;
  const differences: AloneDifference[] = [];
  for (const sample of numbers) {
    const own = [samples[sample] as CouplingSample];
    parameters.clearGradients();
    addBatchGradient(policy, own);
    const gradient: Direction = (name) => parameters.get(name).grad;
    const alone = (await directions(policy, own, [gradient], options)).squares[0] as number;
    const { dots, squares } = await directions(policy, samples, [gradient], options);
    const inBatch = squares[sample] as number;
    const cosine = alone === 0 && inBatch === 0 ? 1 : (dots[sample] as number) / Math.sqrt(alone * inBatch);
    differences.push({ sample, inBatch, alone, cosine });
  }
  parameters.clearGradients();
  return differences;
}
