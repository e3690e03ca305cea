/** Everything that a Gram says of a batch, as one document for files and reports. */
import {
  COUPLING_VERSION,
  type CosinesByState,
  type CouplingAgreement,
  type CouplingDocument,
  type CouplingLayer,
  type CouplingSample,
  type GoodAnswers,
  type RepresentationView,
  type SharedTokens,
  type StateActionNumbers,
  type TokenHeat,
} from "../../report/coupling_document.js";
import type { DistinctSample } from "./batch.js";
import { classCosines } from "./class_cosines.js";
import { fitToy, fixedPoints, flawedActions } from "./danger_zone.js";
import { cosine, type Influence, influence, sampleScales, worstPairs } from "./influence.js";
import { inversionCauses } from "./inversion_causes.js";
import { couplingMetrics } from "./metrics.js";
import type { RepeatConsistency } from "./repeat_consistency.js";
import { clusteredOrder } from "./seriation.js";

/** A batch as it was measured; arrays have one entry a sample unless said otherwise. */
export interface MeasuredBatch {
  readonly name: string;
  readonly passport: CouplingDocument["passport"];
  readonly samples: readonly DistinctSample[];
  /** [S, S], row-major. */
  readonly gram: ArrayLike<number>;
  /** The same for each parameter, by Hugging Face name. */
  readonly layers: Readonly<Record<string, ArrayLike<number>>>;
  /** Log-probability of the response, weighted as in the sample. */
  readonly logProbs: ArrayLike<number>;
  /** Cosines of gradients of the action's tokens alone. */
  readonly actionTokens?: CosinesByState | undefined;
  readonly realised?: readonly (number | null)[];
  readonly agreements?: readonly CouplingAgreement[];
  /** What one step of the run's optimiser does. */
  readonly optimiser?: { readonly predicted: ArrayLike<number>; readonly realised: ArrayLike<number> };
  readonly repeats?: RepeatConsistency;
  readonly goodAnswers?: GoodAnswers;
  readonly sharedTokens?: SharedTokens;
  readonly views?: readonly RepresentationView[];
  readonly stateAction?: StateActionNumbers | undefined;
  readonly tokenHeat?: TokenHeat;
  /** Worst pairs at most. Default 12. */
  readonly pairs?: number;
}

/** Changes are per unit of learning rate of a plain gradient step. */
export function couplingDocument(batch: MeasuredBatch): CouplingDocument {
  const { samples, gram, logProbs } = batch;
  const advantages = samples.map(({ advantage }) => advantage);
  const options = { weights: samples.map(({ weight }) => weight) };
  const states = samples.map(({ state }) => state);
  const found = influence(gram, advantages, options);
  return {
    version: COUPLING_VERSION,
    name: batch.name,
    passport: batch.passport,
    samples: samples.map((sample, j) => describedSample(sample, j, found, batch)),
    gram: Array.from(gram, (value) => Number(value.toPrecision(6))),
    order: clusteredOrder(cosines(gram, samples.length), samples.length),
    numbers: numbersOf(batch, found),
    pairs: worstPairs(gram, advantages, batch.pairs ?? 12, options),
    ...classCosines(gram, advantages, states),
    actionTokens: batch.actionTokens ?? null,
    layers: Object.entries(batch.layers).map(([name, layer]) => layerOf(name, layer, batch)),
    danger: dangerOf(logProbs, found.total, advantages),
    dangerOptimiser: batch.optimiser ? dangerOf(logProbs, batch.optimiser.predicted, advantages) : null,
    goodAnswers: batch.goodAnswers ?? null,
    sharedTokens: batch.sharedTokens ?? null,
    views: batch.views ?? [],
    stateAction: batch.stateAction ?? null,
    agreements: batch.agreements ?? [],
    tokenHeat: batch.tokenHeat ?? null,
  };
}

function describedSample(
  sample: DistinctSample,
  j: number,
  { self, cross, total }: Influence,
  { logProbs, realised, optimiser }: MeasuredBatch,
): CouplingSample {
  const { id, state, stateText, action, taskType, rows, advantage, weight } = sample;
  return {
    ...{ id, state, stateText, action, taskType, rows, advantage, weight },
    logProb: logProbs[j],
    self: self[j],
    cross: cross[j],
    total: total[j],
    realised: realised?.[j] ?? null,
    optimiser: optimiser ? { predicted: optimiser.predicted[j], realised: optimiser.realised[j] } : null,
  };
}

function numbersOf(
  { samples, gram, repeats, optimiser }: MeasuredBatch,
  { total, inversions }: Influence,
): Record<string, number | null> {
  const count = samples.length;
  const advantages = samples.map(({ advantage }) => advantage);
  const weights = samples.map(({ weight }) => weight);
  const causes = inversionCauses(
    gram,
    advantages,
    samples.map(({ state }) => state),
    { weights },
  );
  const scale = sampleScales(advantages, { weights });
  const fromGood = Float64Array.from({ length: count }, (_, j) =>
    samples.reduce((sum, _sample, i) => sum + Math.max(scale[i], 0) * gram[i * count + j], 0),
  );
  const squaredNorms = samples.map((_, j) => gram[j * count + j]);
  const risen = (changes: ArrayLike<number>) =>
    samples.filter((_, j) => advantages[j] < 0 && changes[j] > 0).length;
  return {
    rewarded: advantages.filter((advantage) => advantage > 0).length,
    punished: advantages.filter((advantage) => advantage < 0).length,
    states: new Set(samples.map(({ state }) => state)).size,
    inversions: inversions.length,
    "inversions by coupling": causes.coupling.length,
    "inversions by their own state": causes.ownState.length,
    ...(optimiser && {
      "inversions through the optimiser": risen(optimiser.predicted),
      "inversions measured after its step": risen(optimiser.realised),
    }),
    ...couplingMetrics({ totals: total, squaredNorms, advantages, weights, fromGood }),
    ...(repeats && {
      "repeat consistency": repeats.consistency,
      "states met by two episodes": repeats.states,
    }),
  };
}

function cosines(gram: ArrayLike<number>, count: number): Float64Array {
  return Float64Array.from({ length: count * count }, (_, at) =>
    cosine(gram, count, Math.floor(at / count), at % count),
  );
}

function layerOf(name: string, layer: ArrayLike<number>, { samples, gram }: MeasuredBatch): CouplingLayer {
  const count = samples.length;
  const trace = (of: ArrayLike<number>) => samples.reduce((sum, _, j) => sum + of[j * count + j], 0);
  const [whole, own] = [trace(gram), trace(layer)];
  let goodToBad = 0;
  samples.forEach((from, i) => {
    samples.forEach((to, j) => {
      if (from.advantage > 0 && to.advantage < 0)
        goodToBad += from.weight * from.advantage * layer[i * count + j];
    });
  });
  return { name, part: partOf(name), share: whole > 0 ? own / whole : 0, goodToBad };
}

/** Part of the model by the parameter's Hugging Face name. */
export function partOf(name: string): string {
  if (name.includes("norm")) return "norm";
  if (name.includes("self_attn")) return "attention";
  if (name.includes("mlp")) return "mlp";
  return "embedding";
}

function dangerOf(
  logProbs: ArrayLike<number>,
  totals: ArrayLike<number>,
  advantages: readonly number[],
): CouplingDocument["danger"] {
  const points = flawedActions(logProbs, totals, advantages);
  const toy = fitToy(points);
  return { points, toy: toy && { ...toy, rest: fixedPoints(toy) ?? null } };
}
