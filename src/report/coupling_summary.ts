/** A coupling analysis in a few lines of text: what a terminal shows. */
import type { CosinesByState, CouplingDocument } from "./coupling_document.js";

/** The parts of a document that are numbers of the whole batch. */
export function couplingSummary({
  name,
  numbers,
  agreements,
  withinState,
  acrossStates,
  actionTokens,
}: CouplingDocument) {
  return { name, numbers, agreements, withinState, acrossStates, actionTokens };
}

/** The name, then a line a number, each with two spaces before it. */
export function couplingSummaryLines(document: CouplingDocument): string[] {
  const { name, numbers, actionTokens, agreements } = document;
  return [
    name,
    ...Object.entries(numbers).map(([key, value]) => `  ${key}: ${shown(value)}`),
    ...cosineLines(document, "mean cosine"),
    ...(actionTokens ? cosineLines(actionTokens, "mean cosine of the action's tokens") : []),
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

/** Four digits. */
function shown(value: number | null): string {
  return value === null ? "none" : Number(value.toPrecision(4)).toString();
}
