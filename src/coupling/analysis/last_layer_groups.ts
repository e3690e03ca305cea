/** Scores of groups through the output matrix: which tokens of punished answers pull the rewarded ones down. */
import { groupBy } from "../../core/group_by.js";
import { gwhes, type LastLayerSample, lastLayerGram, nthr } from "./last_layer.js";

/** An answer of a group: answers to one prompt. */
export interface GroupedSample {
  readonly group: string;
  readonly advantage: number;
  /** Answers of the group that it stands for: so many times it counts. Default 1. */
  readonly rows?: number;
  readonly states: LastLayerSample;
}

/** Scores of one group. Samples are numbers among all samples. */
export interface GroupScores {
  readonly group: string;
  readonly positives: readonly number[];
  readonly negatives: readonly number[];
  /** Above 0 the negatives pull harder than the positives push. */
  readonly gwhes: number;
  /** Scores of a negative's tokens above it pull the positives down. */
  readonly threshold: number;
  /** Of each negative: one score a token, and the places of those above the threshold. */
  readonly tokens: readonly { readonly scores: readonly number[]; readonly selected: readonly number[] }[];
}

/** Last-layer Gram of all samples, and the scores of every group with both signs. */
export interface LastLayerScores {
  /** [S, S], row-major. */
  readonly gram: Float64Array;
  readonly groups: readonly GroupScores[];
}

/**
 * @param beta factor of the threshold of NTHR
 * @source 2505.18830 (NTHR, GWHES)
 */
export function lastLayerScores(samples: readonly GroupedSample[], beta = 1): LastLayerScores {
  const numbered = samples.map((sample, number) => ({ ...sample, number }));
  const groups = [...groupBy(numbered, ({ group }) => group)].flatMap(([group, members]): GroupScores[] => {
    const positives = members.filter(({ advantage }) => advantage > 0);
    const negatives = members.filter(({ advantage }) => advantage < 0);
    const [good, bad] = [positives, negatives].map((some) =>
      some.flatMap(({ states, rows = 1 }) => Array.from({ length: rows }, () => states)),
    );
    const score = gwhes(good, bad);
    if (score === null) return [];
    const single = negatives.map(({ states }) => states);
    const { negatives: scores, threshold, selected } = nthr(good, single, beta);
    return [
      {
        group,
        positives: positives.map(({ number }) => number),
        negatives: negatives.map(({ number }) => number),
        gwhes: score,
        threshold,
        tokens: scores.map((values, at) => ({ scores: [...values], selected: selected[at] })),
      },
    ];
  });
  return { gram: lastLayerGram(samples.map(({ states }) => states)), groups };
}
