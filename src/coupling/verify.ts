/** Checks of a Gram: against one backward pass for each sample, and of a sample alone against it in the batch. */
import type { Qwen2Model } from "../model/qwen2.js";
import { perSampleGram, type SampleGram } from "./gram.js";
import type { CouplingSample } from "./samples.js";
import { gramOfGradients, separateGradients } from "./separate.js";

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

/** A sample's squared gradient norm in the batch and by itself. */
export interface AloneDifference {
  readonly sample: number;
  readonly inBatch: number;
  readonly alone: number;
  /** The same bits in every layer. */
  readonly isEqual: boolean;
}

/** Computes some samples by themselves and compares with what they are in the batch. */
export async function diagnoseAlone(
  policy: Qwen2Model,
  samples: readonly CouplingSample[],
  { gram, layers, forecast }: SampleGram,
  numbers: readonly number[],
): Promise<AloneDifference[]> {
  const S = samples.length;
  const differences: AloneDifference[] = [];
  for (const s of numbers) {
    const { pieceBytes } = forecast;
    const single = await perSampleGram(policy, [samples[s] as CouplingSample], { pieceBytes });
    const isEqual = [...layers].every(([name, values]) => single.layers.get(name)?.[0] === values[s * S + s]);
    differences.push({
      sample: s,
      inBatch: gram[s * S + s] as number,
      alone: single.gram[0] as number,
      isEqual,
    });
  }
  return differences;
}
