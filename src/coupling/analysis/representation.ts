/**
 * Do hidden states tell good actions from bad ones? A linear probe on states that it has not seen, centroids, and a picture in two
 * dimensions. Pure functions in float64.
 */
import { CholeskyDecomposition, EigenvalueDecomposition, Matrix } from "ml-matrix";
import { ArgumentError } from "../../core/errors.js";
import { Random } from "../../core/random.js";
import { mean, quantile } from "../../core/statistics.js";
import { requireFinite, requireLength } from "./checks.js";

/** Hidden states of N actions of two classes. */
export interface LabelledStates {
  /** N rows of equal width C. */
  readonly hidden: readonly ArrayLike<number>[];
  /** [N], the class. */
  readonly isGood: readonly boolean[];
  /** [N], identity of the state that the action was chosen in. */
  readonly states: readonly string[];
}

export interface ProbeOptions {
  readonly seed: number;
  /** Parts of the states, each held out once. Default 5, or as many as there are states. */
  readonly folds?: number;
  /** Regularisation as a share of the mean squared norm of the centred states. Default 0.1. */
  readonly ridge?: number;
  /** Times that the labels are shuffled to see what chance gives. Default 50. */
  readonly shuffles?: number;
}

export interface ProbeResult {
  /** Actions that were judged while their state was held out. */
  readonly judged: number;
  /** Mean of the shares judged right among good and among bad ones: 0.5 knows nothing. */
  readonly balancedAccuracy: number;
  /** The same with shuffled labels: mean, and the value that 95 % of the shuffles stay below. */
  readonly chance: number;
  readonly chanceHigh: number;
}

/**
 * Balanced accuracy of a linear probe on held-out states. States, not actions, are dealt into folds by seed; for each fold a ridge
 * regression of the labels, +1 and -1, is fitted on the others:
 *
 *     f(x) = sum_i a_i <x_i - m, x - m>,   (K + lambda I) a = y - mean y,   lambda = ridge trace(K) / n
 *
 * with m the mean and K the centred products of the n training rows. Good is what lies above the middle of the two classes' mean
 * f in training; a tie counts half. Shuffled labels go the same way, folds included.
 * @returns null where no fold has both classes outside and something to judge
 * @throws ArgumentError for rows of different width, numbers that are not finite, lists of different length
 * @source ours; ridge in its dual form, Saunders et al. 1998
 */
export function linearProbe(data: LabelledStates, options: ProbeOptions): ProbeResult | null {
  checkStates(data);
  const { seed, folds = 5, ridge = 0.1, shuffles = 50 } = options;
  const random = Random.of(seed, "probe");
  const foldOf = dealStates(data.states, folds, random);
  const count = data.isGood.length;
  const labels = [data.isGood, ...Array.from({ length: shuffles }, () => random.shuffle(data.isGood))];
  const scores = labels.map(() => new Float64Array(count).fill(Number.NaN));
  for (const fold of new Set(foldOf)) {
    const train = indices(count, (i) => foldOf[i] !== fold);
    const test = indices(count, (i) => foldOf[i] === fold);
    const fitted = labels.map((good) => train.some((i) => good[i]) && train.some((i) => !good[i]));
    if (train.length < 2 || !fitted[0]) continue;
    judge(data.hidden, train, test, labels, ridge).forEach((margins, at) => {
      if (fitted[at])
        test.forEach((i, t) => {
          scores[at][i] = margins[t];
        });
    });
  }
  const accuracies = labels.map((good, at) => balanced(good, scores[at]));
  const [balancedAccuracy, ...shuffled] = accuracies;
  const chances = shuffled.filter((value) => value !== null);
  if (balancedAccuracy === null || chances.length === 0) return null;
  return {
    judged: scores[0].filter((score) => !Number.isNaN(score)).length,
    balancedAccuracy,
    chance: mean(chances),
    chanceHigh: quantile(chances, 0.95),
  };
}

/** Fold of each row, states dealt round. */
function dealStates(states: readonly string[], folds: number, random: Random): number[] {
  const order = random.shuffle([...new Set(states)]);
  const place = new Map(order.map((state, at) => [state, at % Math.min(folds, order.length)]));
  return states.map((state) => place.get(state) as number);
}

/** Margins of the test rows, above 0 good, for each list of labels. */
function judge(
  hidden: readonly ArrayLike<number>[],
  train: readonly number[],
  test: readonly number[],
  labels: readonly (readonly boolean[])[],
  ridge: number,
): number[][] {
  const centre = centroid(hidden, train);
  const known = centred(hidden, train, centre);
  const gram = known.mmul(known.transpose());
  const lambda = (ridge * gram.trace()) / train.length;
  // rows that are all the same say nothing of anything
  if (!(lambda > 0)) return labels.map(() => test.map(() => 0));
  const targets = new Matrix(train.length, labels.length);
  labels.forEach((good, at) => {
    const signs = train.map((i) => (good[i] ? 1 : -1));
    const middle = mean(signs);
    signs.forEach((sign, row) => {
      targets.set(row, at, sign - middle);
    });
  });
  const factors = new CholeskyDecomposition(Matrix.add(gram, Matrix.eye(train.length).mul(lambda))).solve(
    targets,
  );
  const onTrain = gram.mmul(factors);
  const onTest = centred(hidden, test, centre).mmul(known.transpose()).mmul(factors);
  return labels.map((good, at) => {
    const of = (isGood: boolean) => {
      const own = train.flatMap((i, row) => (good[i] === isGood ? [onTrain.get(row, at)] : []));
      return own.length === 0 ? 0 : mean(own);
    };
    const middle = (of(true) + of(false)) / 2;
    // what differs by rounding alone is a tie
    const noise = 1e-9 * Math.max(Math.abs(of(true) - of(false)), Number.MIN_VALUE);
    return test.map((_, row) => {
      const margin = onTest.get(row, at) - middle;
      return Math.abs(margin) <= noise ? 0 : margin;
    });
  });
}

/** Mean over the classes of the share on the right side; null where a class was not judged. */
function balanced(isGood: readonly boolean[], scores: Float64Array): number | null {
  const shareOf = (wanted: boolean) => {
    const own = indices(isGood.length, (i) => isGood[i] === wanted && !Number.isNaN(scores[i]));
    const right = own.map((i) => (scores[i] === 0 ? 0.5 : Number(scores[i] > 0 === wanted)));
    return right.length === 0 ? null : mean(right);
  };
  const [good, bad] = [shareOf(true), shareOf(false)];
  return good === null || bad === null ? null : (good + bad) / 2;
}

export interface Centroids {
  /** Cosine of the two classes' mean states: near 1 in any model, since states share much. */
  readonly cosine: number;
  /** Distance of the means over the root of the mean squared distance of a state from its own class's mean; null when that is 0. */
  readonly separation: number | null;
}

/** How far the means of good and of bad actions lie apart. @returns null when a class is empty */
export function centroids(data: LabelledStates): Centroids | null {
  checkStates(data);
  const { hidden, isGood } = data;
  const members = [true, false].map((wanted) => indices(isGood.length, (i) => isGood[i] === wanted));
  if (members.some(({ length }) => length === 0)) return null;
  const [good, bad] = members.map((own) => centroid(hidden, own));
  const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
    Array.from(a).reduce((sum, value, c) => sum + value * b[c], 0);
  const apart = Math.sqrt(dot(good, good) + dot(bad, bad) - 2 * dot(good, bad));
  const spread = mean(
    hidden.map((row, i) => {
      const own = isGood[i] ? good : bad;
      return Array.from(row).reduce((sum, value, c) => sum + (value - own[c]) ** 2, 0);
    }),
  );
  const norms = Math.sqrt(dot(good, good) * dot(bad, bad));
  return {
    cosine: norms > 0 ? dot(good, bad) / norms : 0,
    separation: spread > 0 ? apart / Math.sqrt(spread) : null,
  };
}

export interface Plane {
  /** [N], coordinates along the two directions of largest variance. */
  readonly points: readonly (readonly [number, number])[];
  /** Share of the variance that each direction holds. */
  readonly shares: readonly [number, number];
}

/**
 * Principal components of N states, from the N x N products of the centred rows. The sign of each direction makes the coordinate of
 * largest size positive.
 * @source Pearson 1901
 */
export function principalPlane(hidden: readonly ArrayLike<number>[]): Plane {
  checkWidths(hidden);
  if (hidden.length === 0) return { points: [], shares: [0, 0] };
  const all = indices(hidden.length, () => true);
  const rows = centred(hidden, all, centroid(hidden, all));
  const gram = rows.mmul(rows.transpose());
  const total = gram.trace();
  const { realEigenvalues: values, eigenvectorMatrix: vectors } = new EigenvalueDecomposition(gram, {
    assumeSymmetric: true,
  });
  const order = [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, 2);
  const axes = order.map((at) => {
    const size = Math.sqrt(Math.max(0, values[at]));
    const along = all.map((i) => vectors.get(i, at) * size);
    const most = along.reduce((found, value) => (Math.abs(value) > Math.abs(found) ? value : found), 0);
    return most < 0 ? along.map((value) => -value) : along;
  });
  const share = (at: number) => (total > 0 && at < order.length ? Math.max(0, values[order[at]]) / total : 0);
  return { points: all.map((i) => [axes[0][i], axes[1]?.[i] ?? 0] as const), shares: [share(0), share(1)] };
}

function indices(count: number, holds: (i: number) => boolean): number[] {
  return Array.from({ length: count }, (_, i) => i).filter(holds);
}

function centroid(hidden: readonly ArrayLike<number>[], chosen: readonly number[]): Float64Array {
  const sum = new Float64Array(hidden[0].length);
  for (const i of chosen) for (let c = 0; c < sum.length; c++) sum[c] += hidden[i][c] / chosen.length;
  return sum;
}

function centred(
  hidden: readonly ArrayLike<number>[],
  chosen: readonly number[],
  centre: ArrayLike<number>,
): Matrix {
  return new Matrix(chosen.map((i) => Array.from(hidden[i], (value, c) => value - centre[c])));
}

function checkStates({ hidden, isGood, states }: LabelledStates): void {
  requireLength("isGood", isGood, hidden.length);
  requireLength("states", states, hidden.length);
  checkWidths(hidden);
}

function checkWidths(hidden: readonly ArrayLike<number>[]): void {
  const widths = new Set(hidden.map(({ length }) => length));
  if (widths.size > 1) {
    throw new ArgumentError(
      `[coupling] hidden states differ in width: got ${[...widths].join(", ")}, expected one. Use one model for all.`,
    );
  }
  for (const row of hidden) requireFinite("hidden", row);
}
