/** A coupling analysis in a few lines of text: what a terminal shows. */
import { zoneSentence } from "./coupling_charts.js";
import type { CosinesByState, CouplingDocument } from "./coupling_document.js";

/** The parts of a document that are numbers of the whole batch. */
export function couplingSummary({
  name,
  numbers,
  agreements,
  withinState,
  acrossStates,
  actionTokens,
  danger,
  dangerOptimiser,
  goodAnswers,
  sharedTokens,
  views,
  stateAction,
}: CouplingDocument) {
  return {
    ...{ name, numbers, agreements, withinState, acrossStates, actionTokens },
    danger: danger.toy,
    dangerOptimiser: dangerOptimiser?.toy ?? null,
    ...{ goodAnswers, sharedTokens, stateAction },
    views: views.map(({ what, probe, centroids }) => ({ what, probe, centroids })),
  };
}

/** Views of hidden states, by the key of their numbers. */
const PROBES = ["probe before the action", "probe after the action"];

/** The numbers of a document under flat names, for tables that compare policies. */
export function couplingNumbers(document: CouplingDocument): Record<string, number | null> {
  const { numbers, actionTokens, views } = document;
  return {
    ...numbers,
    ...flatCosines(document, "cosine"),
    // where an answer is an action and nothing else, its tokens are the action's
    ...flatCosines(actionTokens ?? document, "action cosine"),
    ...Object.fromEntries(
      views.map(({ probe }, at) => [PROBES[at] ?? `probe ${at}`, probe?.balancedAccuracy ?? null]),
    ),
  };
}

function flatCosines({ withinState, acrossStates }: CosinesByState, what: string) {
  const named = (where: string, { goodGood, badBad, goodBad }: CosinesByState["withinState"]) => ({
    [`${what}, good and good, ${where}`]: goodGood.mean,
    [`${what}, bad and bad, ${where}`]: badBad.mean,
    [`${what}, good and bad, ${where}`]: goodBad.mean,
  });
  return { ...named("same state", withinState), ...named("across states", acrossStates) };
}

/** The name, then a line a number, each with two spaces before it. */
export function couplingSummaryLines(document: CouplingDocument): string[] {
  const { name, numbers, actionTokens, agreements } = document;
  return [
    name,
    ...Object.entries(numbers).map(([key, value]) => `  ${key}: ${shown(value)}`),
    ...cosineLines(document, "mean cosine"),
    ...(actionTokens ? cosineLines(actionTokens, "mean cosine of the action's tokens") : []),
    `  danger zone, plain step: ${zoneSentence(document.danger.toy)}`,
    ...(document.dangerOptimiser
      ? [`  danger zone, through the optimiser: ${zoneSentence(document.dangerOptimiser.toy)}`]
      : []),
    ...goodAnswerLines(document),
    ...stateLines(document),
    ...agreements.map(
      ({ what, correlation, rankCorrelation, slope }) =>
        `  ${what}: correlation ${shown(correlation)}, ranks ${shown(rankCorrelation)}, slope ${shown(slope)}`,
    ),
  ];
}

function cosineLines({ withinState, acrossStates }: CosinesByState, what: string): string[] {
  const places = [
    ["same state", withinState],
    ["across states", acrossStates],
  ] as const;
  return places.map(([where, { goodGood, badBad, goodBad }]) => {
    const parts = [
      `good-good ${shown(goodGood.mean)} (${goodGood.pairs})`,
      `bad-bad ${shown(badBad.mean)} (${badBad.pairs})`,
      `good-bad ${shown(goodBad.mean)} (${goodBad.pairs})`,
    ];
    return `  ${what}, ${where}: ${parts.join(", ")}`;
  });
}

function goodAnswerLines({ goodAnswers, sharedTokens }: CouplingDocument): string[] {
  const { groups = [] } = goodAnswers ?? {};
  const sum = (of: (group: (typeof groups)[number]) => number) =>
    groups.reduce((total, group) => total + of(group), 0);
  return [
    ...(groups.length > 0
      ? [
          `  rewarded answers held down (GWHES above 0): in ${groups.filter(({ gwhes }) => gwhes > 0).length} of ${groups.length} states; ` +
            `ranks of -GWHES with the change of rewarded answers: ${shown(goodAnswers?.rankRaw ?? null)} plain, ` +
            `${shown(goodAnswers?.rankOptimiser ?? null)} through the optimiser`,
          `  punished tokens that pull them down (NTHR): ${sum(({ pullingTokens }) => pullingTokens)} of ${sum(({ punishedTokens }) => punishedTokens)}`,
        ]
      : []),
    ...(sharedTokens
      ? [
          `  cancellation residual: ${shown(sharedTokens.residual)} on ${sharedTokens.tokens} tokens of ${sharedTokens.groups} prompts`,
        ]
      : []),
  ];
}

function stateLines({ views, stateAction }: CouplingDocument): string[] {
  const probes = views.map(({ what, probe, centroids }) => {
    const accuracy = probe
      ? `${shown(probe.balancedAccuracy)} on ${probe.judged} held out, chance ${shown(probe.chance)} (95 % below ${shown(probe.chanceHigh)})`
      : "none";
    return `  linear probe ${what}: balanced accuracy ${accuracy}; cosine of centroids ${shown(centroids?.cosine ?? null)}`;
  });
  if (!stateAction) return probes;
  const { corrected, plugIn, shuffled, actionEntropy, retrieval, retrievalShuffled } = stateAction;
  return [
    ...probes,
    `  information of state and action: ${shown(corrected)} nats (${shown(plugIn)} less ${shown(shuffled)} by shuffling) of ` +
      `${shown(actionEntropy)}; retrieval ${shown(retrieval)}, shuffled ${shown(retrievalShuffled)}`,
  ];
}

/** Four digits. */
function shown(value: number | null): string {
  return value === null ? "none" : Number(value.toPrecision(4)).toString();
}
