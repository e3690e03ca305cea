/**
 * Rival remedies for samples that push each other: factors of single tokens beside the advantage. Pure functions; a row's
 * `weight` takes what they return.
 */
import { groupBy } from "../../core/group_by.js";
import { type LastLayerSample, nthr } from "../../coupling/analysis/last_layer.js";
import type { Identity } from "./table.js";

/** An answer among others that were given to the same prompt. */
export interface AnswerRow {
  /** Answers of one group are compared position by position. */
  readonly group: Identity;
  readonly answer: readonly number[];
  readonly advantage: number;
}

export interface ConflictOptions {
  /** Factor of a conflict token in an answer of positive advantage. Default 2. */
  readonly positive?: number;
  /** Factor of a conflict token in an answer of negative advantage. Default 0: it is skipped. */
  readonly negative?: number;
}

/**
 * Factors of conflict tokens: tokens that stand at the same position of answers of both signs in a group. They are amplified
 * where the advantage is positive and skipped where it is negative; all other factors are 1.
 * @returns one array an answer, as long as the answer
 * @source GTPO (2508.03772), conflict-aware gradients. Positions are counted from the start only; the paper's entropy
 *   terms are not part of this
 */
export function conflictTokenWeights(
  rows: readonly AnswerRow[],
  { positive = 2, negative = 0 }: ConflictOptions = {},
): Float64Array[] {
  const weights = rows.map(({ answer }) => new Float64Array(answer.length).fill(1));
  for (const members of groupBy([...rows.keys()], (index) => rows[index].group).values()) {
    const seen = { [-1]: new Set<string>(), 0: new Set<string>(), 1: new Set<string>() };
    const signOf = (index: number) => Math.sign(rows[index].advantage) as -1 | 0 | 1;
    const place = (token: number, position: number) => `${position} ${token}`;
    for (const index of members) {
      rows[index].answer.forEach((token, position) => {
        seen[signOf(index)].add(place(token, position));
      });
    }
    for (const index of members) {
      const sign = signOf(index);
      if (sign === 0) continue;
      const others = seen[sign === 1 ? -1 : 1];
      rows[index].answer.forEach((token, position) => {
        if (others.has(place(token, position))) weights[index][position] = sign === 1 ? positive : negative;
      });
    }
  }
  return weights;
}

export interface NthrOptions {
  /** Share of the weakest positive answer's own score from which on a token is spared. Default 1. */
  readonly beta?: number;
  /** Factor of spared tokens; null: `nthrEta` of the share of positive answers, the paper's choice. Default 0. */
  readonly eta?: number | null;
}

/** 2 |0.5 - p|: spared tokens keep more of their advantage in groups that nearly always, or hardly ever, succeed. */
export function nthrEta(successRate: number): number {
  return 2 * Math.abs(0.5 - successRate);
}

/**
 * Factors of tokens of punished answers, 1 or `eta`: those are spared that pull the good answers down with them
 * ("lazy likelihood displacement"). A token is spared when its score is above tau = beta times the least, over positive
 * answers, of the mean score of that answer's own tokens; see `nthr`.
 * @param positives answers of positive advantage of one group, as the last layer sees them
 * @param negatives answers of negative advantage of the same group
 * @returns one array a negative answer; all 1 without positive answers
 * @source NTHR (2505.18830)
 */
export function nthrTokenWeights(
  positives: readonly LastLayerSample[],
  negatives: readonly LastLayerSample[],
  { beta = 1, eta = 0 }: NthrOptions = {},
): Float64Array[] {
  const weights = negatives.map(({ tokens }) => new Float64Array(tokens.length).fill(1));
  if (positives.length === 0 || negatives.length === 0) return weights;
  const factor = eta ?? nthrEta(positives.length / (positives.length + negatives.length));
  nthr(positives, negatives, beta).selected.forEach((places, index) => {
    for (const t of places) weights[index][t] = factor;
  });
  return weights;
}
