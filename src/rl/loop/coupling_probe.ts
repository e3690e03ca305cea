/**
 * Coupling while training: some rows of an update, what the update is predicted to do to each of them (its own part and that
 * of the others), and what it really did.
 */
import type { TrainConfig } from "../../config/schema.js";
import { Random } from "../../core/random.js";
import { type KeptWeights, keepWeights } from "../../coupling/actual_update.js";
import { type ClassCosines, classCosines } from "../../coupling/analysis/class_cosines.js";
import { couplingMetrics, probeMetrics } from "../../coupling/analysis/metrics.js";
import { directions } from "../../coupling/directions.js";
import { perSampleGram } from "../../coupling/gram.js";
import { type CouplingSample, sampleOf } from "../../coupling/samples.js";
import type { Row } from "../rows.js";
import type { Learner } from "../update/learner.js";

/** Rows that are watched through one update. */
export interface WatchedRows {
  readonly rows: readonly Row[];
  /** log pi of each answer, sum over its tokens, before the update. */
  readonly logProbs: ArrayLike<number>;
  /** First-order change of it by a plain step on the watched rows alone, per unit of learning rate. */
  readonly predicted: ArrayLike<number>;
  /** The weights before the update; `watchedMetrics` releases them. */
  readonly kept: KeptWeights;
  readonly metrics: Readonly<Record<string, number | null>>;
}

/** Whether an update is measured; none is with `coupling.every` 0. @param index 0-based number of the update within its stage */
export function isMeasured({ coupling }: TrainConfig, index: number): boolean {
  return (index + 1) % coupling.every === 0;
}

/**
 * Measures before the update, by one more forward and backward pass over the watched rows. The batch that pushes is these rows
 * with equal weights, a sample of the whole one. Gradients are those at temperature 1. The weights are copied, so that what the
 * optimiser makes of the whole batch is known afterwards.
 * @returns undefined where fewer than two rows have an advantage
 */
export async function watchRows(
  { coupling, seed }: TrainConfig,
  learner: Learner,
  played: readonly Row[],
  index: number,
): Promise<WatchedRows | undefined> {
  const rows = drawRows(played, coupling.samples, Random.of(seed, "coupling", index));
  if (rows.length < 2) return undefined;
  const samples = rows.map(sampleOf);
  const advantages = rows.map(({ advantage = 0 }) => advantage);
  const coefficients = advantages.map((advantage) => advantage / rows.length);
  const { model } = learner;
  model.trained.clearGradients();
  const measured = coupling.gram
    ? await gramOf(model, samples, coefficients, rows)
    : await directions(model, samples, [(name) => model.trained.get(name).grad], { coefficients }).then(
        ({ dots, squares, logProbs }) => ({ totals: dots, squaredNorms: squares, logProbs, cosines: {} }),
      );
  const { totals, squaredNorms, logProbs, cosines } = measured;
  const metrics = { ...couplingMetrics({ totals, squaredNorms, advantages }), ...cosines };
  return { rows, logProbs, predicted: totals, kept: keepWeights(model), metrics };
}

/**
 * What became of the watched rows, and what the update as the optimiser made it, clipping, moments and weight decay included,
 * does to them to first order: by one more forward and backward pass, with the gradients after the update.
 */
export async function watchedMetrics(
  { rows, logProbs, predicted: raw, kept, metrics }: WatchedRows,
  { model }: Learner,
): Promise<Record<string, number>> {
  const { dots: predicted, logProbs: after } = await directions(model, rows.map(sampleOf), [kept.update()]);
  kept.release();
  const realised = after.map((value, at) => value - logProbs[at]);
  const advantages = rows.map(({ advantage = 0 }) => advantage);
  const all = { ...metrics, ...probeMetrics({ predicted, raw, realised, advantages }) };
  // numbers that are not defined are left out
  return Object.fromEntries(
    Object.entries(all).filter((entry): entry is [string, number] => entry[1] !== null),
  );
}

/** Different rows with an advantage, in the order of play. */
function drawRows(played: readonly Row[], count: number, random: Random): Row[] {
  const distinct = new Map<string, Row>();
  for (const row of played) {
    const key = `${row.prompt.join()} ${row.answer.join()}`;
    if (row.advantage && !distinct.has(key)) distinct.set(key, row);
  }
  const chosen = new Set(random.shuffle([...distinct.values()]).slice(0, count));
  return [...distinct.values()].filter((row) => chosen.has(row));
}

async function gramOf(
  model: Learner["model"],
  samples: readonly CouplingSample[],
  coefficients: readonly number[],
  rows: readonly Row[],
) {
  const { gram, logProbs } = await perSampleGram(model, samples);
  const S = samples.length;
  const totals = Float64Array.from({ length: S }, (_, j) =>
    coefficients.reduce((sum, coefficient, i) => sum + coefficient * gram[i * S + j], 0),
  );
  const squaredNorms = Float64Array.from({ length: S }, (_, j) => gram[j * S + j]);
  const advantages = rows.map(({ advantage = 0 }) => advantage);
  const states = rows.map(({ taskId, anchorKey, text }) => `${taskId}\n${anchorKey ?? text?.hash}`);
  return { totals, squaredNorms, logProbs, cosines: cosineMetrics(classCosines(gram, advantages, states)) };
}

function cosineMetrics(found: ClassCosines): Record<string, number | null> {
  const metrics: Record<string, number | null> = {};
  for (const [where, pairs] of [
    ["within_state", found.withinState],
    ["across_states", found.acrossStates],
  ] as const) {
    metrics[`coupling/cosine/${where}/good_good`] = pairs.goodGood.mean;
    metrics[`coupling/cosine/${where}/bad_bad`] = pairs.badBad.mean;
    metrics[`coupling/cosine/${where}/good_bad`] = pairs.goodBad.mean;
  }
  return metrics;
}
