/** How alike the gradients of good and of bad samples are, within one state and across states. */
import { mean } from "../../core/statistics.js";
import { requireFinite, requireGram, requireLength } from "./checks.js";
import { cosine } from "./influence.js";

/** Cosines of pairs of one kind. */
export interface CosineSummary {
  readonly pairs: number;
  /** null without a pair */
  readonly mean: number | null;
}

/** Pairs of two good samples, of two bad ones, of one of each. */
export interface PairClasses {
  readonly goodGood: CosineSummary;
  readonly badBad: CosineSummary;
  readonly goodBad: CosineSummary;
}

export interface ClassCosines {
  readonly withinState: PairClasses;
  readonly acrossStates: PairClasses;
}

/**
 * Means of cos_ij = K_ij / sqrt(K_ii K_jj) over unordered pairs of different samples, by class: good is an advantage above
 * 0, bad one below 0. Samples with advantage 0 or without gradient take part in no pair.
 * @param gram [N, N], row-major, as `perSampleGram` returns it
 * @param advantages [N]
 * @param states [N], any identity of the state
 * @returns cosines without unit, -1 to 1
 * @throws ArgumentError for sizes that differ and numbers that are not finite
 * @source our reconstruction
 */
export function classCosines(
  gram: ArrayLike<number>,
  advantages: ArrayLike<number>,
  states: ArrayLike<unknown>,
): ClassCosines {
  const count = advantages.length;
  requireGram(gram, count);
  requireFinite("advantages", advantages);
  requireLength("states", states, count);
  const found = { within: [[], [], []] as number[][], across: [[], [], []] as number[][] };
  for (let i = 0; i < count; i++) {
    for (let j = i + 1; j < count; j++) {
      if (advantages[i] === 0 || advantages[j] === 0) continue;
      if (!(gram[i * count + i] > 0 && gram[j * count + j] > 0)) continue;
      const bad = Number(advantages[i] < 0) + Number(advantages[j] < 0);
      found[states[i] === states[j] ? "within" : "across"][bad].push(cosine(gram, count, i, j));
    }
  }
  return { withinState: classes(found.within), acrossStates: classes(found.across) };
}

/** @param byBad cosines of pairs with 0, 1 and 2 bad samples */
function classes([goodGood, goodBad, badBad]: readonly number[][]): PairClasses {
  return { goodGood: summary(goodGood), badBad: summary(badBad), goodBad: summary(goodBad) };
}

function summary(cosines: readonly number[]): CosineSummary {
  return { pairs: cosines.length, mean: cosines.length === 0 ? null : mean(cosines) };
}
