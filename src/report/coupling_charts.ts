/** Pictures of the coupling report: class cosines, danger zone, layers, tokens. Colours come from the page's style. */
import type {
  CosineClasses,
  CosinesByState,
  CouplingDocument,
  CouplingLayer,
  DangerZone,
} from "./coupling_document.js";
import { heatClass, heatStep } from "./coupling_heat_map.js";
import { figure, numberText, sampleText, shortText, signedText } from "./coupling_text.js";
import { element, escaped, label } from "./svg.js";

const WIDTH = 560;

/** A picture without its frame. */
export interface Chart {
  readonly width: number;
  readonly height: number;
  readonly alternative: string;
  readonly marks: readonly string[];
}

const drawn = ({ width, height, alternative, marks }: Chart): string =>
  figure(width, height, alternative, marks);

const KINDS = [
  ["goodGood", "good and good"],
  ["badBad", "bad and bad"],
  ["goodBad", "good and bad"],
] as const;

/** Means of cosines by class, from -1 to 1, as bars. */
export function classCharts(document: CouplingDocument): string {
  const whole = classChart(document, "");
  const { actionTokens } = document;
  if (!actionTokens) return whole;
  const part = (title: string, chart: string) => element("h3", {}, title) + chart;
  return (
    part("Whole answers", whole) +
    part("Tokens of the action alone", classChart(actionTokens, " of action tokens"))
  );
}

/** @param what is compared, for the text alternative */
function classChart({ withinState, acrossStates }: CosinesByState, what: string): string {
  const rows = (name: string, classes: CosineClasses) =>
    KINDS.map(([key, words]) => ({ text: `${words}, ${name}`, ...classes[key] }));
  const all = [...rows("same state", withinState), ...rows("across states", acrossStates)];
  const [left, right, top, height] = [220, 440, 10, 24];
  const at = (value: number) => left + ((value + 1) / 2) * (right - left);
  const bars = all.flatMap(({ text, mean, pairs }, index) => {
    const y = top + index * height;
    const value = mean ?? 0;
    return [
      label(left - 10, y + 15, text, { anchor: "end" }),
      element("rect", {
        class: value < 0 ? "bar-low" : "bar-high",
        x: Math.min(at(0), at(value)),
        y: y + 4,
        width: Math.abs(at(value) - at(0)),
        height: height - 10,
      }),
      label(right + 8, y + 15, mean === null ? "no pairs" : `${numberText(mean)} (${pairs})`, { size: 11 }),
    ];
  });
  const bottom = top + all.length * height;
  const alternative = `Mean cosines${what}: ${all.map(({ text, mean, pairs }) => `${text} ${numberText(mean)} of ${pairs} pairs`).join("; ")}.`;
  return figure(WIDTH, bottom + 22, alternative, [
    ...[-1, 0, 1].flatMap((tick) => [
      element("line", { class: "grid", x1: at(tick), x2: at(tick), y1: top, y2: bottom }),
      label(at(tick), bottom + 14, String(tick), { anchor: "middle", size: 11 }),
    ]),
    ...bars,
  ]);
}

/** The danger zone by a plain gradient step, and by the update that the optimiser really makes. */
export function dangerCharts({ danger, dangerOptimiser, samples }: CouplingDocument): string {
  const part = (zone: DangerZone) => {
    const chart = dangerChart(zone, samples);
    const picture = chart
      ? drawn(chart)
      : element("p", {}, "No punished action with a probability between 0 and 1.");
    return picture + element("p", {}, escaped(zoneSentence(zone.toy)));
  };
  if (!dangerOptimiser) return part(danger);
  return (
    element("h3", {}, "Plain gradient step, per unit of learning rate") +
    part(danger) +
    element("h3", {}, "Through the optimiser's actual update") +
    part(dangerOptimiser)
  );
}

/**
 * Punished actions by probability and predicted drift of their logit, with the zones of the toy that fits them; undefined where
 * there are none.
 */
export function dangerChart(
  { points, toy }: DangerZone,
  samples: CouplingDocument["samples"],
): Chart | undefined {
  if (points.length === 0) return undefined;
  const [left, right, top, bottom] = [70, 540, 16, 260];
  const [low, high] = driftRange(points.map(({ drift }) => drift));
  const x = (q: number) => left + q * (right - left);
  const y = (drift: number) => bottom - ((drift - low) / (high - low)) * (bottom - top);
  const rising = points.filter(({ drift }) => drift > 0).length;
  const alternative =
    `Danger zone: ${points.length} punished actions by probability and predicted change of their logit, ${rising} of them ` +
    `above 0. ${zoneSentence(toy)}`;
  const marks = [
    ...zones(toy, x, top, bottom),
    element("line", { class: "axis", x1: left, x2: right, y1: y(0), y2: y(0) }),
    ...(toy ? [toyCurve(toy, [low, high], x, y)] : []),
    ...points.map(({ index, q, drift }) =>
      element(
        "circle",
        { class: drift > 0 ? "rising" : "falling", cx: x(q), cy: y(drift), r: 4 },
        element(
          "title",
          {},
          escaped(`${sampleText(samples[index])}: q ${numberText(q)}, ${signedText(drift)}`),
        ),
      ),
    ),
    ...[0, 0.25, 0.5, 0.75, 1].map((q) =>
      label(x(q), bottom + 16, String(q), { anchor: "middle", size: 11 }),
    ),
    ...[high, 0, low].map((drift) =>
      label(left - 6, y(drift) + 4, signedText(Number(drift.toPrecision(2))), { anchor: "end", size: 11 }),
    ),
    label(
      (left + right) / 2,
      bottom + 38,
      "probability q of the punished action; above the line: predicted to rise",
      {
        anchor: "middle",
      },
    ),
  ];
  return { width: WIDTH, height: 310, alternative, marks };
}

type Toy = CouplingDocument["danger"]["toy"];

/** What the fitted toy says. */
export function zoneSentence(toy: Toy): string {
  if (!toy) return "No toy with a risk above 0 and a drive of at least 0 fits them.";
  const numbers = `Fitted risk ${numberText(toy.risk)}, drive ${numberText(toy.drive)}`;
  return toy.rest
    ? `${numbers}: safe regime below q = ${numberText(toy.rest.unstable)}, in which it settles at ${numberText(toy.rest.stable)}.`
    : `${numbers}: no safe regime, the drive is at least a quarter of the risk.`;
}

function zones(toy: Toy, x: (q: number) => number, top: number, bottom: number): string[] {
  if (!toy) return [];
  const border = toy.rest?.unstable ?? 0;
  const zone = (kind: string, from: number, to: number, text: string) => [
    element("rect", { class: kind, x: x(from), y: top, width: x(to) - x(from), height: bottom - top }),
    ...(to - from > 0.12 ? [label(x((from + to) / 2), top + 14, text, { anchor: "middle", size: 11 })] : []),
  ];
  return [
    ...(border > 0 ? zone("zone-safe", 0, border, "safe regime") : []),
    ...(border < 1 ? zone("zone-danger", border, 1, border > 0 ? "danger zone" : "no safe regime") : []),
  ];
}

/** From the lowest to the highest, 0 among them, with some room on both sides. */
function driftRange(drifts: readonly number[]): readonly [number, number] {
  const [low, high] = [Math.min(0, ...drifts), Math.max(0, ...drifts)];
  const room = Math.max(0.12 * (high - low), Number.MIN_VALUE);
  return [low - room, high + room];
}

function toyCurve(
  { risk, drive }: NonNullable<Toy>,
  [low, high]: readonly [number, number],
  x: (q: number) => number,
  y: (drift: number) => number,
): string {
  const points = Array.from({ length: 81 }, (_, i) => i / 80).flatMap((q) => {
    const drift = -risk * q * (1 - q) + drive;
    return drift >= low && drift <= high ? [`${x(q).toFixed(1)},${y(drift).toFixed(1)}`] : [];
  });
  return element("polyline", { class: "curve", points: points.join(" ") });
}

/** Rows at most of the layer profile. */
const LAYER_ROWS = 24;

/** The layer profile, or that there is none. */
export function layerFigure(document: CouplingDocument): string {
  const chart = layerChart(document);
  return chart ? drawn(chart) : element("p", {}, "No layers were recorded.");
}

/** How much of the gradients and of the push from rewarded on punished samples goes through each layer. */
export function layerChart({ layers }: CouplingDocument): Chart | undefined {
  if (layers.length === 0) return undefined;
  const pushed = (layer: CouplingLayer) => Math.abs(layer.goodToBad);
  const shown = layers
    .slice()
    .sort((a, b) => pushed(b) - pushed(a))
    .slice(0, LAYER_ROWS)
    .sort((a, b) => layers.indexOf(a) - layers.indexOf(b));
  const most = Math.max(...shown.map(pushed), Number.MIN_VALUE);
  const [left, middle, right, top, height] = [250, 400, 520, 26, 18];
  const rows = shown.flatMap(({ name, share, goodToBad }, index) => {
    const y = top + index * height;
    return [
      label(left - 8, y + 13, shortText(name, 40), { anchor: "end", size: 10 }),
      element("rect", {
        class: "bar-even",
        x: left,
        y: y + 3,
        width: share * (middle - left - 10),
        height: 11,
      }),
      element("rect", {
        class: goodToBad > 0 ? "bar-high" : "bar-low",
        x: middle,
        y: y + 3,
        width: (Math.abs(goodToBad) / most) * (right - middle - 30),
        height: 11,
      }),
      label(right + 35, y + 13, signedText(goodToBad), { anchor: "end", size: 10 }),
    ];
  });
  const parts = partSums(layers);
  const alternative =
    `Layer profile. Share of squared gradient norms and push from rewarded on punished samples by part: ` +
    `${parts.map(([part, share, push]) => `${part} ${numberText(share)} and ${signedText(push)}`).join("; ")}.`;
  const marks = [
    label(left, 14, "share of |g|²", { size: 11 }),
    label(middle, 14, "rewarded on punished", { size: 11 }),
    ...rows,
  ];
  return { width: WIDTH, height: top + shown.length * height + 8, alternative, marks };
}

/** Name, share and push of each part, in the order of the layers. */
export function partSums(layers: readonly CouplingLayer[]): [string, number, number][] {
  const sums = new Map<string, [number, number]>();
  for (const { part, share, goodToBad } of layers) {
    const [shares, pushes] = sums.get(part) ?? [0, 0];
    sums.set(part, [shares + share, pushes + goodToBad]);
  }
  return [...sums].map(([part, [share, push]]) => [part, share, push]);
}

/** Tokens of one sample, coloured by their number; the largest has the fullest colour. */
export function tokenHeat({ tokenHeat: heat, samples }: CouplingDocument): string {
  if (!heat) return element("p", {}, "No tokens were recorded.");
  const most = Math.max(...heat.tokens.map(({ value }) => Math.abs(value)), Number.MIN_VALUE);
  const spans = heat.tokens.map(({ text, value }) =>
    element(
      "span",
      { class: `token ${heatClass(heatStep(value / most))}`, title: signedText(value) },
      escaped(text),
      element("small", {}, escaped(signedText(value))),
    ),
  );
  const about = `${sampleText(samples[heat.sample])}. ${heat.what}`;
  return element("p", {}, escaped(about)) + element("p", { class: "tokens" }, ...spans);
}
