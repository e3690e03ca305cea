/** First-order influence of an update's samples on each other, from the Gram of their gradients. */
import { ArgumentError } from "../../core/errors.js";
import { requireFinite, requireGram, requireLength } from "./checks.js";

export interface InfluenceOptions {
  /**
   * w_i, what the loss multiplies A_i log pi(y_i) by (1/N for a plain mean over samples), at least 0. A sample whose tokens
   * are all clipped or masked has weight 0: it moves nothing, but is still moved. Samples with part of their tokens clipped
   * need a Gram whose source side leaves those tokens out. Default 1/N.
   */
  readonly weights?: ArrayLike<number>;
  /** eta, factor of every result. Default 1: change per unit of learning rate. */
  readonly learningRate?: number;
}

/** Changes of log-probability in nats, times `learningRate`; arrays have one entry a sample. */
export interface Influence {
  /** S_j = eta w_j A_j K_jj */
  readonly self: Float64Array;
  /** C_j = eta sum over i != j of w_i A_i K_ij */
  readonly cross: Float64Array;
  /** S_j + C_j, the first-order change of log pi(y_j | x_j) */
  readonly total: Float64Array;
  /** Samples with w_j A_j < 0 and a total above 0, in order. */
  readonly inversions: readonly number[];
  /** Share of the punished samples (w_j A_j < 0) that are inverted; null without one. */
  readonly inversionRate: number | null;
  /** sum of max(C_j, 0) over sum of |S_j|, both over punished samples; null when that sum is 0. */
  readonly harmfulRatio: number | null;
}

/**
 * What one step of plain gradient ascent on sum_i w_i A_i log pi(y_i | x_i) does to each sample, to first order:
 *
 *     delta log pi(y_j | x_j) = eta sum_i w_i A_i K_ij,   K_ij = <g_i, g_j>
 *
 * The importance ratio is taken as 1 and there is no KL term. AdamW scales gradients by coordinate, so these are a stand-in
 * for its steps only; for those use the dot products of g_j with the actual update (`pushes`).
 * @param gram [N, N], row-major, inner products of gradients of log-probabilities
 * @param advantages [N]
 * @throws ArgumentError for sizes that differ, numbers that are not finite, weights below 0
 * @source first-order learning dynamics, cf. Ren & Sutherland 2407.10490; parts and inversion are our reconstruction
 */
export function influence(
  gram: ArrayLike<number>,
  advantages: ArrayLike<number>,
  options: InfluenceOptions = {},
): Influence {
  const count = advantages.length;
  requireGram(gram, count);
  const scale = sampleScales(advantages, options);
  const total = new Float64Array(count);
  for (let j = 0; j < count; j++) {
    for (let i = 0; i < count; i++) total[j] += scale[i] * gram[i * count + j];
  }
  const self = Float64Array.from({ length: count }, (_, j) => scale[j] * gram[j * count + j]);
  return { ...parts(self, total), ...inversionsOf(scale, self, total) };
}

/**
 * The same from dot products alone, without the N x N Gram.
 * @param totals [N], <g_j, U>, where U = sum_i w_i A_i g_i, or the optimiser's actual update
 * @param selfProducts [N], |g_j|^2 for plain gradient steps
 * @remarks With an update of AdamW the self part is that of a plain step scaled by the learning rate; the cross part then
 * holds the rest: the other samples, momentum, weight decay and the scaling of coordinates.
 */
export function pushes(
  totals: ArrayLike<number>,
  selfProducts: ArrayLike<number>,
  advantages: ArrayLike<number>,
  options: InfluenceOptions = {},
): Influence {
  const count = advantages.length;
  requireLength("totals", totals, count);
  requireLength("selfProducts", selfProducts, count);
  requireFinite("totals", totals);
  requireFinite("selfProducts", selfProducts);
  const scale = sampleScales(advantages, options);
  const total = Float64Array.from(totals);
  const self = Float64Array.from({ length: count }, (_, j) => scale[j] * selfProducts[j]);
  return { ...parts(self, total), ...inversionsOf(scale, self, total) };
}

/** eta w_i A_i of every sample. @throws ArgumentError, see `influence` */
export function sampleScales(
  advantages: ArrayLike<number>,
  { weights, learningRate = 1 }: InfluenceOptions,
): Float64Array {
  const count = advantages.length;
  requireFinite("advantages", advantages);
  if (!Number.isFinite(learningRate)) {
    throw new ArgumentError(
      `[coupling] learningRate is not finite: got ${learningRate}, expected a number. Pass that of the update.`,
    );
  }
  if (weights) {
    requireLength("weights", weights, count);
    requireFinite("weights", weights);
    for (let i = 0; i < count; i++) {
      if (weights[i] < 0) {
        throw new ArgumentError(
          `[coupling] a loss weight is negative: got ${weights[i]} for sample ${i}, expected 0 or more. ` +
            "Put the sign into its advantage.",
        );
      }
    }
  }
  return Float64Array.from(
    { length: count },
    // + 0: a weight of 0 gives 0, not -0
    (_, i) => learningRate * (weights ? weights[i] : 1 / count) * advantages[i] + 0,
  );
}

function parts(self: Float64Array, total: Float64Array): Pick<Influence, "self" | "cross" | "total"> {
  return { self, total, cross: total.map((value, j) => value - self[j]) };
}

function inversionsOf(
  scale: Float64Array,
  self: Float64Array,
  total: Float64Array,
): Pick<Influence, "inversions" | "inversionRate" | "harmfulRatio"> {
  const punished = [...scale.keys()].filter((j) => scale[j] < 0);
  const inversions = punished.filter((j) => total[j] > 0);
  const harm = punished.reduce((sum, j) => sum + Math.max(total[j] - self[j], 0), 0);
  const correction = punished.reduce((sum, j) => sum + Math.abs(self[j]), 0);
  return {
    inversions,
    inversionRate: punished.length === 0 ? null : inversions.length / punished.length,
    harmfulRatio: correction === 0 ? null : harm / correction,
  };
}

/** One sample pushing another: the change that `from` causes in the log-probability of `to`. */
export interface PairInfluence {
  readonly from: number;
  readonly to: number;
  readonly gram: number;
  /** K_ij / sqrt(K_ii K_jj) */
  readonly cosine: number;
  /** eta w_i A_i K_ij */
  readonly change: number;
}

/**
 * Pairs of different samples in which one raises a punished other most, worst first; equal ones in order of index.
 * @param most how many pairs at most
 */
export function worstPairs(
  gram: ArrayLike<number>,
  advantages: ArrayLike<number>,
  most: number,
  options: InfluenceOptions = {},
): PairInfluence[] {
  const count = advantages.length;
  requireGram(gram, count);
  const scale = sampleScales(advantages, options);
  const found: PairInfluence[] = [];
  for (let to = 0; to < count; to++) {
    if (!(scale[to] < 0)) continue;
    for (let from = 0; from < count; from++) {
      const product = gram[from * count + to];
      const change = scale[from] * product;
      if (from !== to && change > 0) {
        found.push({ from, to, gram: product, cosine: cosine(gram, count, from, to), change });
      }
    }
  }
  return found.sort((a, b) => b.change - a.change || a.to - b.to || a.from - b.from).slice(0, most);
}

/** Cosine of samples i and j of a Gram [count, count]; 0 when a gradient is 0. */
export function cosine(gram: ArrayLike<number>, count: number, i: number, j: number): number {
  const norms = Math.sqrt(gram[i * count + i]) * Math.sqrt(gram[j * count + j]);
  return norms > 0 ? Math.max(-1, Math.min(1, gram[i * count + j] / norms)) : 0;
}
