/** Tells inversions that come from other states apart from those that a softmax over one state's actions makes alone. */
import { requireGram, requireLength } from "./checks.js";
import { type InfluenceOptions, influence, sampleScales } from "./influence.js";

/** Where a sample's cross part comes from; arrays have one entry a sample, in nats per unit of learning rate. */
export interface CrossParts {
  /** From other samples in the same state. */
  readonly within: Float64Array;
  /** From samples in other states: coupling. */
  readonly across: Float64Array;
}

/** Why punished samples rise. */
export interface InversionCauses {
  /** They would fall if only samples of their own state were trained on: other states lift them. */
  readonly coupling: readonly number[];
  /** They rise by their own state's samples alone, as in any softmax: not called coupling. */
  readonly ownState: readonly number[];
}

/**
 * Splits each cross part by the state of the pushing sample.
 * @param gram [N, N], row-major, as `perSampleGram` returns it
 * @param advantages [N]
 * @param states [N], any identity of the state; equal ones are one state
 * @source ours
 */
export function splitCross(
  gram: ArrayLike<number>,
  advantages: ArrayLike<number>,
  states: ArrayLike<unknown>,
  options: InfluenceOptions = {},
): CrossParts {
  const count = advantages.length;
  requireGram(gram, count);
  requireLength("states", states, count);
  const scale = sampleScales(advantages, options);
  const within = new Float64Array(count);
  const across = new Float64Array(count);
  for (let j = 0; j < count; j++) {
    for (let i = 0; i < count; i++) {
      if (i === j) continue;
      (states[i] === states[j] ? within : across)[j] += scale[i] * gram[i * count + j];
    }
  }
  return { within, across };
}

/**
 * Sorts the inversions of an update. Punishing one action of a state moves mass to its others, flawed ones included
 * (`softmax_dynamics.ts`), with no other state involved; only what other states do is called coupling.
 * @param gram [N, N], row-major; `advantages` and `states` [N]
 * @returns indices of samples, in order; together they are the inversions of `influence`
 * @throws ArgumentError as `influence`
 * @source ours
 */
export function inversionCauses(
  gram: ArrayLike<number>,
  advantages: ArrayLike<number>,
  states: ArrayLike<unknown>,
  options: InfluenceOptions = {},
): InversionCauses {
  const { self, inversions } = influence(gram, advantages, options);
  const { within } = splitCross(gram, advantages, states, options);
  const risesAlone = (j: number) => self[j] + within[j] > 0;
  return {
    coupling: inversions.filter((j) => !risesAlone(j)),
    ownState: inversions.filter(risesAlone),
  };
}
