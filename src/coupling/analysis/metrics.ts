/** The `coupling/*` numbers of an update, from dot products alone: cheap enough for training. */
import { mean } from "../../core/statistics.js";
import { requireLength } from "./checks.js";
import { pearson, spearman } from "./correlation.js";
import { type InfluenceOptions, pushes } from "./influence.js";

/** What directions say of a batch; arrays have one entry a sample. */
export interface PushedBatch extends InfluenceOptions {
  /** <g_j, U>, U = sum_i w_i A_i g_i or the optimiser's actual update: change of log-probability. */
  readonly totals: ArrayLike<number>;
  /** |g_j|^2 */
  readonly squaredNorms: ArrayLike<number>;
  readonly advantages: ArrayLike<number>;
  /** <g_j, U+>, U+ the part of U by samples with an advantage above 0, where it was asked for. */
  readonly fromGood?: ArrayLike<number>;
  /** `good`, `bad` or neither, where labels are known; default by the sign of the advantage. */
  readonly classes?: ArrayLike<"good" | "bad" | undefined>;
}

/**
 * Numbers of one update under the keys of the glossary, all to first order. Null where a number is not defined: no punished
 * sample, no sample of a class.
 * @throws ArgumentError for sizes that differ and numbers that are not finite
 * @source our reconstruction, see `influence`
 */
export function couplingMetrics(batch: PushedBatch): Record<string, number | null> {
  const { totals, squaredNorms, advantages, fromGood } = batch;
  const { self, cross, inversionRate, harmfulRatio } = pushes(totals, squaredNorms, advantages, batch);
  const classes = batch.classes ?? Array.from(advantages, byAdvantage);
  requireLength("classes", classes, advantages.length);
  if (fromGood) requireLength("fromGood", fromGood, advantages.length);
  const members = (name: string) => [...self.keys()].filter((j) => classes[j] === name);
  const average = (values: ArrayLike<number>, of: readonly number[]) =>
    of.length === 0 ? null : mean(of.map((j) => values[j]));
  const size = (values: Float64Array) => values.reduce((sum, value) => sum + Math.abs(value), 0);
  const all = size(self) + size(cross);
  const [good, bad] = [members("good"), members("bad")];
  return {
    "coupling/samples": advantages.length,
    "coupling/inversion_rate": inversionRate,
    "coupling/harmful_ratio": harmfulRatio,
    "coupling/cross_share": all === 0 ? null : size(cross) / all,
    "coupling/good/self": average(self, good),
    "coupling/good/cross": average(cross, good),
    "coupling/bad/self": average(self, bad),
    "coupling/bad/cross": average(cross, bad),
    ...(fromGood && { "coupling/bad/from_good": average(fromGood, bad) }),
    "coupling/sample_grad_norm": mean(Array.from(squaredNorms, Math.sqrt)),
  };
}

/** Frozen (state, action) pairs around one optimiser step. */
export interface Probe {
  /** [P], predicted change of log-probability, the update as the optimiser made it. */
  readonly predicted: ArrayLike<number>;
  /** [P], predicted by a plain gradient step, per unit of learning rate. */
  readonly raw: ArrayLike<number>;
  /** [P], log-probability after the step minus that before. */
  readonly realised: ArrayLike<number>;
  /** [P], below 0: a flawed action. */
  readonly advantages: ArrayLike<number>;
}

/** The ground truth beside the predictions, under the keys of the glossary. */
export function probeMetrics({ predicted, raw, realised, advantages }: Probe): Record<string, number | null> {
  requireLength("advantages", advantages, realised.length);
  requireLength("raw", raw, realised.length);
  const flawed = Array.from(advantages, (_, j) => j).filter((j) => advantages[j] < 0);
  const risen = (changes: ArrayLike<number>) =>
    flawed.length === 0 ? null : flawed.filter((j) => changes[j] > 0).length / flawed.length;
  return {
    "coupling/probe/samples": realised.length,
    "coupling/probe/realised_inversion_rate": risen(realised),
    "coupling/probe/predicted_inversion_rate": risen(predicted),
    "coupling/probe/correlation": pearson(predicted, realised),
    "coupling/probe/rank_correlation": spearman(predicted, realised),
    "coupling/probe/raw_correlation": pearson(raw, realised),
  };
}

function byAdvantage(advantage: number): "good" | "bad" | undefined {
  if (advantage > 0) return "good";
  return advantage < 0 ? "bad" : undefined;
}
