/** Coupling through the output matrix alone, from hidden states and token probabilities: exact for that layer, cheap. */
import { ArgumentError } from "../../core/errors.js";
import { requireFinite, requireLength } from "./checks.js";

/** Probabilities of the likeliest tokens of one position; what is left out counts as 0. */
export interface TokenDistribution {
  /** Token ids, rising. */
  readonly ids: ArrayLike<number>;
  /** As many, each 0 to 1. */
  readonly probabilities: ArrayLike<number>;
}

/** What one answer's tokens leave behind in a forward pass. */
export interface LastLayerSample {
  /** [T], token ids that were answered. */
  readonly tokens: ArrayLike<number>;
  /** [T, C], row-major: the states that the output matrix multiplies, each predicting its token. */
  readonly hidden: ArrayLike<number>;
  /** [T], softmax at each place; the whole vocabulary makes the results exact. */
  readonly distributions: readonly TokenDistribution[];
}

/** One token of a sample, as the sums below read it. */
interface Place {
  readonly token: number;
  readonly hidden: ArrayLike<number>;
  readonly at: number;
  readonly width: number;
  readonly distribution: TokenDistribution;
}

/**
 * Gram of the gradients with respect to the output matrix W of logits z = W h:
 *
 *     K_ij = sum over tokens t of i, u of j of (h_t . h_u) (e_y(t) - p_t) . (e_y(u) - p_u)
 *
 * @returns [N, N], row-major
 * @throws ArgumentError for samples of different width and sizes that do not fit
 * @remarks With tied embeddings W also takes a gradient from its use as input; that part is not here.
 * @source the linear layer's Gram; the last factor is [y_t = y_u] - p_t[y_u] - p_u[y_t] + p_t . p_u
 */
export function lastLayerGram(samples: readonly LastLayerSample[]): Float64Array {
  const places = samples.map(placesOf);
  requireOneWidth(places);
  const count = samples.length;
  const gram = new Float64Array(count * count);
  for (let i = 0; i < count; i++) {
    for (let j = i; j < count; j++) {
      let sum = 0;
      for (const t of places[i]) for (const u of places[j]) sum += product(t, u);
      gram[i * count + j] = sum;
      gram[j * count + i] = sum;
    }
  }
  return gram;
}

export interface NthrScores {
  /** For each negative sample, one score a token: s_t = (e_y - p)^T M+ h, M+ = sum of (e_y - p) h^T over positives' tokens. */
  readonly negatives: readonly Float64Array[];
  /** Mean score of each positive sample's own tokens. */
  readonly positiveMeans: Float64Array;
  /** beta times the smallest positive mean: tokens of negatives above it pull the positives down. */
  readonly threshold: number;
  /** For each negative sample, the places of those tokens. */
  readonly selected: readonly (readonly number[])[];
}

/**
 * Which tokens of punished answers pull the rewarded ones down: NTHR scores of one group.
 * @param positives at least one sample with a positive advantage
 * @param negatives samples of the same prompt with a negative one
 * @source 2505.18830 (NTHR)
 */
export function nthr(
  positives: readonly LastLayerSample[],
  negatives: readonly LastLayerSample[],
  beta = 1,
): NthrScores {
  if (positives.length === 0) {
    throw new ArgumentError("[coupling] no positive sample: got 0, expected at least 1. Skip such groups.");
  }
  const positivePlaces = positives.map(placesOf);
  const negativePlaces = negatives.map(placesOf);
  requireOneWidth([...positivePlaces, ...negativePlaces]);
  const against = positivePlaces.flat();
  const score = (place: Place) => against.reduce((sum, other) => sum + product(place, other), 0);
  const positiveMeans = Float64Array.from(
    positivePlaces,
    (places) => places.reduce((sum, place) => sum + score(place), 0) / places.length,
  );
  const threshold = beta * Math.min(...positiveMeans);
  const scores = negativePlaces.map((places) => Float64Array.from(places, score));
  return {
    negatives: scores,
    positiveMeans,
    threshold,
    selected: scores.map((values) => [...values.keys()].filter((t) => values[t] > threshold)),
  };
}

/**
 * Group-weighted hidden-embedding score: how much the group's update holds its good answers down, through the output
 * matrix. Above 0 the negatives pull harder than the positives push.
 *
 *     p- sum over (+, -) token pairs of alpha <h, h'>  -  p+ sum over (+, +) token pairs of alpha <h, h'>
 *     alpha = <e_y - p, e_y' - p'>,  p+ = (1 - p) / sqrt(p (1 - p)),  p- = p / sqrt(p (1 - p))
 *
 * with p the share of positives: the same as minus the influence on all positives under advantages scaled by the standard
 * deviation of outcomes, with this layer's Gram and weight 1.
 * @returns null for a group of one kind only
 * @source 2505.18830 (GWHES)
 */
export function gwhes(
  positives: readonly LastLayerSample[],
  negatives: readonly LastLayerSample[],
): number | null {
  if (positives.length === 0 || negatives.length === 0) return null;
  const [good, bad] = [positives.flatMap(placesOf), negatives.flatMap(placesOf)];
  requireOneWidth([good, bad]);
  const share = positives.length / (positives.length + negatives.length);
  const spread = Math.sqrt(share * (1 - share));
  const sum = (others: readonly Place[]) =>
    good.reduce(
      (total, place) => total + others.reduce((inner, other) => inner + product(place, other), 0),
      0,
    );
  return (share / spread) * sum(bad) - ((1 - share) / spread) * sum(good);
}

function placesOf({ tokens, hidden, distributions }: LastLayerSample): Place[] {
  if (tokens.length === 0) {
    throw new ArgumentError(
      "[coupling] an answer is empty: got 0 tokens, expected at least 1. Leave the sample out.",
    );
  }
  requireLength("distributions", distributions, tokens.length);
  requireFinite("hidden", hidden);
  const width = hidden.length / tokens.length;
  if (!Number.isInteger(width)) {
    throw new ArgumentError(
      `[coupling] hidden states do not fit: got ${hidden.length} values for ${tokens.length} tokens, expected a multiple. ` +
        "Pass one state a token.",
    );
  }
  return Array.from(tokens, (token, t) => {
    const distribution = distributions[t];
    requireLength("probabilities", distribution.probabilities, distribution.ids.length);
    return { token, hidden, at: t * width, width, distribution };
  });
}

function requireOneWidth(places: readonly (readonly Place[])[]): void {
  const widths = new Set(places.flat().map(({ width }) => width));
  if (widths.size <= 1) return;
  throw new ArgumentError(
    `[coupling] hidden states differ in width: got ${[...widths].join(", ")}, expected one. Use one model for all.`,
  );
}

/** Inner product of two tokens' gradients. */
function product(t: Place, u: Place): number {
  let states = 0;
  for (let c = 0; c < t.width; c++) states += t.hidden[t.at + c] * u.hidden[u.at + c];
  const errors =
    Number(t.token === u.token) -
    probability(t.distribution, u.token) -
    probability(u.distribution, t.token) +
    overlap(t.distribution, u.distribution);
  return states * errors;
}

/** Binary search: ids rise. */
function probability({ ids, probabilities }: TokenDistribution, token: number): number {
  let [low, high] = [0, ids.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ids[middle] < token) low = middle + 1;
    else high = middle;
  }
  return ids[low] === token ? probabilities[low] : 0;
}

function overlap(a: TokenDistribution, b: TokenDistribution): number {
  let [i, j, sum] = [0, 0, 0];
  while (i < a.ids.length && j < b.ids.length) {
    if (a.ids[i] === b.ids[j]) sum += a.probabilities[i++] * b.probabilities[j++];
    else if (a.ids[i] < b.ids[j]) i++;
    else j++;
  }
  return sum;
}
