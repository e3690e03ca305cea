/** Which groups hold their good answers down, and by which tokens: NTHR and GWHES over the states of an update. */
import { groupBy } from "../../core/group_by.js";
import type { GoodAnswers, PullingToken } from "../../report/coupling_document.js";
import { requireLength } from "./checks.js";
import { spearman } from "./correlation.js";
import { gwhes, type LastLayerSample, nthr } from "./last_layer.js";

/** Samples of an update; arrays have one entry a sample. */
export interface GroupedAnswers {
  readonly samples: readonly {
    readonly state: string;
    readonly advantage: number;
    /** Rows of the rollout that it stands for: so many times it counts. */
    readonly rows: number;
  }[];
  readonly lastLayer: readonly LastLayerSample[];
  /** Predicted change of log-probability by a plain gradient step, and by the optimiser's actual update. */
  readonly raw: ArrayLike<number>;
  readonly optimiser: ArrayLike<number>;
  /** Text of a token id. */
  readonly textOf: (token: number) => string;
}

/** Tokens listed at most. */
const TOKENS = 12;

/**
 * NTHR and GWHES of every state with rewarded and punished answers, beside what is predicted of its rewarded answers: by all
 * parameters and all states, raw and through the optimiser. Both scores know the state's own answers and the last layer only.
 * @source 2505.18830 for the scores; the comparison is ours
 */
export function goodAnswers(batch: GroupedAnswers): GoodAnswers {
  const { samples } = batch;
  requireLength("last-layer samples", batch.lastLayer, samples.length);
  requireLength("raw changes", batch.raw, samples.length);
  requireLength("changes by the optimiser", batch.optimiser, samples.length);
  const states = groupBy([...samples.keys()], (i) => samples[i].state);
  const scored = [...states.values()].flatMap((members) => scoredState(members, batch));
  const groups = scored.map(({ group }) => group).sort((a, b) => b.gwhes - a.gwhes || a.sample - b.sample);
  const against = (of: (group: (typeof groups)[number]) => number) =>
    spearman(
      groups.map(({ gwhes: score }) => -score),
      groups.map(of),
    );
  return {
    groups,
    tokens: scored
      .flatMap(({ tokens }) => tokens)
      .sort((a, b) => b.score - b.threshold - (a.score - a.threshold))
      .slice(0, TOKENS),
    rankRaw: against(({ raw }) => raw),
    rankOptimiser: against(({ optimiser }) => optimiser),
  };
}

function scoredState(
  members: readonly number[],
  { samples, lastLayer, raw, optimiser, textOf }: GroupedAnswers,
) {
  const good = members.filter((i) => samples[i].advantage > 0);
  const bad = members.filter((i) => samples[i].advantage < 0);
  if (good.length === 0 || bad.length === 0) return [];
  const answers = (own: readonly number[]) =>
    own.flatMap((i) => Array.from({ length: samples[i].rows }, () => lastLayer[i]));
  const positives = answers(good);
  const { negatives, threshold, selected } = nthr(
    positives,
    bad.map((i) => lastLayer[i]),
  );
  const tokens = selected.flatMap((places, n) =>
    places.map((t): PullingToken => {
      const { tokens: ids } = lastLayer[bad[n]];
      return { sample: bad[n], text: textOf(ids[t]), score: negatives[n][t], threshold };
    }),
  );
  const average = (values: ArrayLike<number>) => good.reduce((sum, i) => sum + values[i], 0) / good.length;
  const group = {
    sample: good[0],
    positives: positives.length,
    negatives: bad.reduce((sum, i) => sum + samples[i].rows, 0),
    gwhes: gwhes(positives, answers(bad)) as number,
    raw: average(raw),
    optimiser: average(optimiser),
    punishedTokens: bad.reduce((sum, i) => sum + lastLayer[i].tokens.length, 0),
    pullingTokens: tokens.length,
  };
  return [{ group, tokens }];
}
