/** Parts of the coupling report about hidden states and about rewarded answers that are held down. */
import type { CouplingDocument, PullingToken, RepresentationView } from "./coupling_document.js";
import { figure, numberText, sampleText, shortText, signedText, table } from "./coupling_text.js";
import { element, escaped, label } from "./svg.js";

const SIZE = 300;
const EDGE = 24;

/** Probe, centroids and picture of each place, and what actions tell of states. */
export function statesPart({ views, samples, stateAction }: CouplingDocument): string {
  if (views.length === 0) return element("p", {}, "No hidden states were read.");
  const places = table(
    "Good against bad by hidden state",
    [
      "place",
      "judged",
      "balanced accuracy on held-out states",
      "with shuffled labels",
      "95 % of shuffles below",
      "cosine of centroids",
      "separation",
    ],
    views.map(({ what, probe, centroids }) => [
      what,
      probe?.judged ?? null,
      probe?.balancedAccuracy ?? null,
      probe?.chance ?? null,
      probe?.chanceHigh ?? null,
      centroids?.cosine ?? null,
      centroids?.separation ?? null,
    ]),
  );
  const planes = views.map((view) => planeChart(view, samples));
  return places + element("div", { class: "planes" }, ...planes) + informationTable(stateAction);
}

/** Samples on the two directions of largest variance: rewarded ones round, punished ones square. */
function planeChart({ what, plane }: RepresentationView, samples: CouplingDocument["samples"]): string {
  const [first, second] = [0, 1].map((axis) => plane.points.map((point) => point[axis]));
  const at = (values: readonly number[], value: number) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const share = high > low ? (value - low) / (high - low) : 0.5;
    return EDGE + share * (SIZE - 2 * EDGE);
  };
  const percent = (share: number) => `${Math.round(100 * share)} %`;
  const marks = plane.points.map(([x, y], i) => {
    const [cx, cy] = [at(first, x), SIZE - at(second, y)];
    const title = element("title", {}, escaped(sampleText(samples[i])));
    return samples[i].advantage > 0
      ? element("circle", { class: "mark good", cx, cy, r: 4 }, title)
      : element("rect", { class: "mark bad", x: cx - 3.5, y: cy - 3.5, width: 7, height: 7 }, title);
  });
  const rewarded = samples.filter(({ advantage }) => advantage > 0).length;
  const alternative =
    `Hidden states ${what}, on the two directions of largest variance (${percent(plane.shares[0])} and ` +
    `${percent(plane.shares[1])}): ${rewarded} rewarded actions as blue circles, ${samples.length - rewarded} punished ones as orange squares.`;
  return element(
    "div",
    {},
    element("h3", {}, escaped(what)),
    figure(SIZE, SIZE, alternative, [
      element("rect", { class: "frame", x: 1, y: 1, width: SIZE - 2, height: SIZE - 2 }),
      ...marks,
      label(SIZE / 2, SIZE - 7, `first direction, ${percent(plane.shares[0])} of variance`, {
        anchor: "middle",
        size: 10,
      }),
      label(8, 14, `second direction, ${percent(plane.shares[1])}`, { size: 10 }),
    ]),
  );
}

function informationTable(found: CouplingDocument["stateAction"]): string {
  if (!found) return "";
  return table(
    "What an action tells of the state it was chosen in, over all rows of the update",
    ["number", "value", "with shuffled actions"],
    [
      ["visits, states, actions", `${found.visits}, ${found.states}, ${found.actions}`, ""],
      ["mutual information of state and action, nats", found.plugIn, found.shuffled],
      ["the same less what shuffling leaves", found.corrected, 0],
      ["entropy of the action, nats", found.actionEntropy, ""],
      [
        "share of visits whose state is the likeliest for their action",
        found.retrieval,
        found.retrievalShuffled,
      ],
    ],
  );
}

/** Groups, tokens and shared tokens. */
export function goodAnswersPart({ goodAnswers, sharedTokens, samples }: CouplingDocument): string {
  const shared = sharedTokens
    ? element(
        "p",
        {},
        escaped(
          sharedTokens.residual === null
            ? "No two answers to one prompt begin alike."
            : `Cancellation residual on the ${sharedTokens.tokens} tokens that answers to one prompt begin with, over ` +
                `${sharedTokens.groups} prompts: ${numberText(sharedTokens.residual)} (0 cancels, 1 does not at all).`,
        ),
      )
    : "";
  if (!goodAnswers || goodAnswers.groups.length === 0)
    return element("p", {}, "No state has a rewarded and a punished answer.") + shared;
  const { groups, tokens, rankRaw, rankOptimiser } = goodAnswers;
  const held = groups.filter(({ gwhes }) => gwhes > 0).length;
  const ranks =
    `GWHES is above 0 in ${held} of ${groups.length} states. Rank correlation of -GWHES with the predicted change of rewarded ` +
    `answers: ${numberText(rankRaw)} by a plain step, ${numberText(rankOptimiser)} through the optimiser.`;
  return (
    element("p", {}, escaped(ranks)) +
    table(
      "States with rewarded and punished answers, worst first",
      [
        "a rewarded answer",
        "rows +",
        "rows -",
        "GWHES",
        "their change, plain step",
        "through the optimiser",
        "punished tokens that pull",
      ],
      groups
        .slice(0, 12)
        .map((group) => [
          shortText(samples[group.sample].action, 40),
          group.positives,
          group.negatives,
          group.gwhes,
          group.raw,
          group.optimiser,
          `${group.pullingTokens} of ${group.punishedTokens}`,
        ]),
    ) +
    tokensTable(tokens, samples) +
    shared
  );
}

function tokensTable(tokens: readonly PullingToken[], samples: CouplingDocument["samples"]): string {
  if (tokens.length === 0)
    return element(
      "p",
      {},
      "No token of a punished answer pulls the rewarded ones of its state down (NTHR).",
    );
  return table(
    "Tokens of punished answers that pull rewarded ones down most (NTHR)",
    ["token", "of", "score", "threshold"],
    tokens.map(({ text, sample, score, threshold }) => [
      text,
      shortText(samples[sample].action, 40),
      score,
      threshold,
    ]),
  );
}

/** Changes of the two kinds with their signs, for one sample. */
export function optimiserText({ optimiser }: CouplingDocument["samples"][number]): string {
  return optimiser
    ? `predicted ${signedText(optimiser.predicted)}, measured ${signedText(optimiser.realised)}`
    : "not measured";
}
