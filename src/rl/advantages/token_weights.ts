/**
 * Rival remedies for samples that push each other: factors of single tokens beside the advantage. Pure functions; a row's
 * `weight` takes what they return.
 */
import { ArgumentError } from "../../core/errors.js";
import { groupBy } from "../../core/group_by.js";
import { mean } from "../../core/statistics.js";
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

/** What the last layer knows about one answered token. */
export interface TokenFeature {
  /** Last hidden state h, C. */
  readonly hidden: ArrayLike<number>;
  /** g = one-hot of the token - probabilities, V or any fixed choice of tokens; see `logitError`. */
  readonly error: ArrayLike<number>;
}

/** Derivative of a token's log-probability by the logits: its one-hot vector minus the probabilities. */
export function logitError(token: number, probabilities: ArrayLike<number>): Float64Array {
  return Float64Array.from(probabilities, (value, id) => Number(id === token) - value);
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>, what: string): number {
  if (a.length !== b.length) {
    throw new ArgumentError(
      `[token_weights] ${what} differ in length: got ${a.length} and ${b.length}, expected equal ones. Take them from one model.`,
    );
  }
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/**
 * First-order pull of the positive answers on a token, through the output layer alone:
 *
 *     s = g^T M h,   M = sum over tokens u of positive answers of g_u h_u^T,   so   s = sum_u <g, g_u> <h, h_u>
 *
 * Above 0: a step that raises the positive answers raises this token, and one that lowers this token lowers them.
 */
export function nthrScore(token: TokenFeature, positives: readonly (readonly TokenFeature[])[]): number {
  let sum = 0;
  for (const answer of positives) {
    for (const { hidden, error } of answer) {
      sum += dot(token.error, error, "logit errors") * dot(token.hidden, hidden, "hidden states");
    }
  }
  return sum;
}

export interface NthrOptions {
  /** Share of the weakest positive answer's own score from which on a token is spared. Default 1. */
  readonly beta?: number;
  /** Factor of spared tokens. Default 0; `nthrEta` gives the paper's choice by success rate. */
  readonly eta?: number;
}

/** 2 |0.5 - p|: spared tokens keep more of their advantage in groups that nearly always, or hardly ever, succeed. */
export function nthrEta(successRate: number): number {
  return 2 * Math.abs(0.5 - successRate);
}

/**
 * Factors of tokens of punished answers, 1 or `eta`: those are spared that pull the good answers down with them
 * ("lazy likelihood displacement"). A token is spared when its score is above tau = beta times the least, over positive
 * answers, of the mean score of that answer's own tokens.
 * @param positives answers of positive advantage of one group, token by token
 * @param negatives answers of negative advantage of the same group
 * @returns one array a negative answer; all 1 without positive answers
 * @source NTHR (2505.18830)
 */
export function nthrTokenWeights(
  positives: readonly (readonly TokenFeature[])[],
  negatives: readonly (readonly TokenFeature[])[],
  { beta = 1, eta = 0 }: NthrOptions = {},
): Float64Array[] {
  const own = positives
    .filter(({ length }) => length > 0)
    .map((answer) => mean(answer.map((token) => nthrScore(token, positives))));
  const threshold = own.length === 0 ? Number.POSITIVE_INFINITY : beta * Math.min(...own);
  return negatives.map((answer) =>
    Float64Array.from(answer, (token) => (nthrScore(token, positives) > threshold ? eta : 1)),
  );
}
