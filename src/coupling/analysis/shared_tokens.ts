/** Do the terms of a loss cancel on tokens that all members of a group have in common? */
import { ArgumentError } from "../../core/errors.js";
import { groupBy } from "../../core/group_by.js";
import { requireFinite, requireLength } from "./checks.js";

/** One answer of a group. */
export interface SharedTokenSample {
  /** Samples with the same key are compared: same prompt, same group. */
  readonly group: string | number;
  /** Token ids of the answer. */
  readonly tokens: ArrayLike<number>;
  /** Factor of each token's log-probability in the loss, sign included: w_t A ratio_t, and 0 where a token is clipped. */
  readonly coefficients: ArrayLike<number>;
}

export interface CancellationResidual {
  /** Groups of two or more that have a first token in common. */
  readonly groups: number;
  /** Positions shared, over all groups. */
  readonly tokens: number;
  /** sum over shared positions of |sum_i c_it| over that of sum_i |c_it|: 0 cancels, 1 does not at all; null without one. */
  readonly residual: number | null;
}

/**
 * Tokens before which all members of a group read and wrote the same have the same gradient, so the loss moves them by the
 * sum of their coefficients. With advantages that add up to 0 and equal weights it is 0 at ratio 1; unequal clips, lengths
 * or penalties leave a rest that pushes what all answers share.
 * @source 2604.13088 for the question; this normalisation is ours
 */
export function cancellationResidual(samples: readonly SharedTokenSample[]): CancellationResidual {
  let [groups, tokens, left, all] = [0, 0, 0, 0];
  for (const members of groupBy(samples, ({ group }) => group).values()) {
    for (const { tokens: ids, coefficients } of members) {
      requireLength("coefficients", coefficients, ids.length);
      requireFinite("coefficients", coefficients);
      if (ids.length === 0) {
        throw new ArgumentError(
          "[coupling] an answer is empty: got 0 tokens, expected at least 1. Leave the sample out.",
        );
      }
    }
    const shared = members.length < 2 ? 0 : commonPrefix(members.map(({ tokens: ids }) => ids));
    groups += Number(shared > 0);
    tokens += shared;
    for (let t = 0; t < shared; t++) {
      left += Math.abs(members.reduce((sum, { coefficients }) => sum + coefficients[t], 0));
      all += members.reduce((sum, { coefficients }) => sum + Math.abs(coefficients[t]), 0);
    }
  }
  return { groups, tokens, residual: all === 0 ? null : left / all };
}

function commonPrefix(lists: readonly ArrayLike<number>[]): number {
  const shortest = Math.min(...lists.map(({ length }) => length));
  for (let t = 0; t < shortest; t++) {
    if (lists.some((list) => list[t] !== lists[0][t])) return t;
  }
  return shortest;
}
