/** Pictures of a coupling analysis that stand alone, for papers and pages, on light and on dark grounds. */
import { type Chart, dangerChart, layerChart, zoneSentence } from "./coupling_charts.js";
import type { CouplingDocument } from "./coupling_document.js";
import { heatCells, heatLegendMarks, SIZE } from "./coupling_heat_map.js";
import { pictureRules } from "./coupling_style.js";
import { experimentPicture, HEAD, linearScale, tickText } from "./experiment_style.js";
import { element, escaped, label } from "./svg.js";

const MARGIN = 16;

/**
 * SVG documents by file name. Left out: the heat map of no samples, parts and danger zone of no punished ones, the profile of
 * no layers.
 * @source ours
 */
export function couplingPictures(document: CouplingDocument): Map<string, string> {
  return new Map(
    Object.entries({
      "coupling_heat_map.svg": heatPicture(document),
      "coupling_parts.svg": partsPicture(document),
      "coupling_danger_zone.svg": dangerPicture(document),
      "coupling_layers.svg": layerPicture(document),
    }).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

/** Cosines of all pairs in clustered order, with the bands of rewarded and punished samples. */
function heatPicture(document: CouplingDocument): string | undefined {
  const { samples } = document;
  if (samples.length === 0) return undefined;
  const rewarded = samples.filter(({ advantage }) => advantage > 0).length;
  const punished = samples.filter(({ advantage }) => advantage < 0).length;
  const bottom = HEAD + SIZE + 34;
  const head = {
    title: `Cosines between the gradients of ${samples.length} samples`,
    note: `A row pushes, a column is pushed. Band: ${rewarded} rewarded samples (blue), ${punished} punished (orange).`,
  };
  return experimentPicture(SIZE + 2 * MARGIN, bottom + 30, head, [
    element("style", {}, pictureRules()),
    element("g", { transform: `translate(${MARGIN} ${HEAD})` }, heatCells(document)),
    element(
      "g",
      { transform: `translate(${MARGIN + 90} ${bottom - 12}) scale(18 12)` },
      ...heatLegendMarks(),
    ),
    label(MARGIN + 82, bottom, "cosine -1", { anchor: "end", size: 11 }),
    label(MARGIN + 90 + 21 * 18 + 8, bottom, "+1", { size: 11 }),
  ]);
}

const PLOT = { left: 64, right: 624, top: HEAD + 12, bottom: HEAD + 252 } as const;

/** What each punished sample does to itself, what all others do to it, and the sum. */
function partsPicture({ samples }: CouplingDocument): string | undefined {
  const punished = samples.filter(({ advantage }) => advantage < 0).sort((a, b) => b.total - a.total);
  if (punished.length === 0) return undefined;
  const rising = punished.filter(({ total }) => total > 0).length;
  const ends = punished.flatMap(({ self, cross, total }) => [self, Math.max(0, cross), total]);
  const y = linearScale([0, ...ends], PLOT.bottom, PLOT.top);
  const step = (PLOT.right - PLOT.left) / punished.length;
  const bar = (at: number, from: number, to: number, name: string) =>
    element("rect", {
      ...{ x: PLOT.left + (at + 0.15) * step, width: 0.7 * step, class: name },
      ...{ y: Math.min(y.at(from), y.at(to)), height: Math.abs(y.at(from) - y.at(to)) },
    });
  const head = {
    title: `Why ${rising} of ${punished.length} punished actions rise`,
    note: "A column is a punished action: predicted change of its log-probability, nats per unit of learning rate.",
  };
  const legend = PLOT.bottom + 30;
  return experimentPicture(640, legend + 18, head, [
    element("style", {}, pictureRules()),
    ...y.ticks.flatMap((tick) => [
      element("line", { x1: PLOT.left, x2: PLOT.right, y1: y.at(tick), y2: y.at(tick), class: "grid" }),
      label(PLOT.left - 6, y.at(tick) + 4, tickText(tick), { anchor: "end", size: 11, class: "quiet" }),
    ]),
    ...punished.flatMap(({ self, cross, total }, at) => [
      bar(at, 0, self, "good"),
      // what lifts stands on 0, what pushes down hangs from the end of the self part
      cross > 0 ? bar(at, 0, cross, "bad") : bar(at, self, self + cross, "even"),
      element("circle", {
        ...{ cx: PLOT.left + (at + 0.5) * step, cy: y.at(total), r: Math.min(3, 0.35 * step) },
        class: "total",
      }),
    ]),
    element("line", { x1: PLOT.left, x2: PLOT.right, y1: y.at(0), y2: y.at(0), class: "axis" }),
    ...(
      [
        [PLOT.left, "good", "its own punishment"],
        [PLOT.left + 160, "bad", "others lift it"],
        [PLOT.left + 290, "even", "others push it down"],
      ] as const
    ).flatMap(([x, name, text]) => [
      element("rect", { x, y: legend - 9, width: 10, height: 10, class: name }),
      label(x + 16, legend, text, { size: 12 }),
    ]),
    element("circle", { cx: PLOT.left + 462, cy: legend - 4, r: 3, class: "total" }),
    label(PLOT.left + 472, legend, "both together", { size: 12 }),
  ]);
}

/** Punished actions by probability and drift: through the optimiser's update where it was measured, else by a plain step. */
function dangerPicture({ danger, dangerOptimiser, samples }: CouplingDocument): string | undefined {
  const zone = dangerOptimiser ?? danger;
  const step = dangerOptimiser ? "through the optimiser's update" : "by a plain gradient step";
  return chartPicture(dangerChart(zone, samples), {
    title: `Drift of ${zone.points.length} punished actions ${step}`,
    note: `Above the line: the action rises though it is punished. ${zoneSentence(zone.toy)}`,
  });
}

/** The parameters that most of the push of rewarded on punished samples goes through. */
function layerPicture(document: CouplingDocument): string | undefined {
  return chartPicture(layerChart(document), {
    title: "Which parameters rewarded samples push punished ones by",
    note: "Right: nats per unit of learning rate, up in the warm colour, down in the cold one.",
  });
}

function chartPicture(
  chart: Chart | undefined,
  head: { readonly title: string; readonly note: string },
): string | undefined {
  if (!chart) return undefined;
  return experimentPicture(chart.width + 2 * MARGIN, HEAD + chart.height + MARGIN, head, [
    element("style", {}, pictureRules()),
    element("desc", {}, escaped(chart.alternative)),
    element("g", { transform: `translate(${MARGIN} ${HEAD})` }, ...chart.marks),
  ]);
}
