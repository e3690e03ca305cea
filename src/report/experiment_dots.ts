/** Pictures of estimates with intervals: a line for each cell, a panel for each number. */

import type { Estimate } from "./experiment_statistics.js";
import {
  experimentPicture,
  HEAD,
  type LinearScale,
  linearScale,
  seriesClass,
  strokeClass,
  tickText,
} from "./experiment_style.js";
import { element, label } from "./svg.js";

/** One cell in one panel. */
export interface Dot {
  readonly estimate: Estimate;
  /** The value of each seed. */
  readonly seeds: readonly number[];
}

export interface DotPanel {
  readonly title: string;
  /** By cell; cells without a number are left empty. */
  readonly dots: ReadonlyMap<string, Dot>;
  /** Values that the axis must reach, such as 0 and 100. */
  readonly reach: readonly number[];
}

export interface DotChart {
  readonly title: string;
  readonly note: string;
  readonly cells: readonly string[];
  /** Rows of panels. */
  readonly panels: readonly (readonly DotPanel[])[];
  /** Cells with the same number have the same colour. */
  readonly colourOf: (cell: string) => number;
}

const ROW = 20;
const PANEL = { width: 250, gap: 26, head: 26, foot: 30 } as const;
/** Pixels of a letter of the row labels. */
const LETTER = 7.4;

/** @returns a whole SVG document */
export function dotChart(chart: DotChart): string {
  const { title, note, cells, panels } = chart;
  const left = 24 + LETTER * Math.max(4, ...cells.map(({ length }) => length));
  const columns = Math.max(1, ...panels.map(({ length }) => length));
  const bodyHeight = ROW * cells.length;
  const panelHeight = PANEL.head + bodyHeight + PANEL.foot;
  const content = panels.flatMap((row, line) => {
    const top = HEAD + line * panelHeight + PANEL.head;
    const names = cells.map((cell, index) =>
      label(left - 10, top + ROW * index + 14, cell, { anchor: "end", size: 12 }),
    );
    const drawn = row.flatMap((panel, column) =>
      panelMarks(chart, panel, left + column * (PANEL.width + PANEL.gap), top),
    );
    return [...names, ...drawn];
  });
  const width = left + columns * (PANEL.width + PANEL.gap);
  return experimentPicture(
    Math.max(width, 560),
    HEAD + panels.length * panelHeight,
    { title, note },
    content,
  );
}

function panelMarks({ cells, colourOf }: DotChart, panel: DotPanel, x: number, top: number): string[] {
  const bottom = top + ROW * cells.length;
  const values = [...panel.dots.values()].flatMap(({ estimate: { value, low, high }, seeds }) =>
    [value, low, high, ...seeds].filter((one) => one !== null),
  );
  const all = [...values, ...panel.reach];
  if (all.length === 0) return [];
  const scale = linearScale(all, x, x + PANEL.width);
  const marks = cells.flatMap((cell, index) => {
    const dot = panel.dots.get(cell);
    return dot === undefined ? [] : dotMarks(dot, scale, top + ROW * index + ROW / 2, colourOf(cell));
  });
  return [
    label(x, top - 9, panel.title, { size: 12, "font-weight": "bold" }),
    ...scale.ticks.flatMap((tick) => [
      element("line", { x1: scale.at(tick), x2: scale.at(tick), y1: top, y2: bottom, class: "grid" }),
      label(scale.at(tick), bottom + 14, tickText(tick), { anchor: "middle", size: 10, class: "quiet" }),
    ]),
    ...(scale.ticks[0] < 0
      ? [element("line", { x1: scale.at(0), x2: scale.at(0), y1: top, y2: bottom, class: "axis" })]
      : []),
    ...marks,
  ];
}

function dotMarks({ estimate, seeds }: Dot, scale: LinearScale, y: number, colour: number): string[] {
  const { value, low, high } = estimate;
  const stroke = strokeClass(colour);
  const interval =
    low === null || high === null
      ? []
      : [
          element("line", {
            x1: scale.at(low),
            x2: scale.at(high),
            y1: y,
            y2: y,
            class: stroke,
            "stroke-width": 2,
          }),
          ...[low, high].map((end) =>
            element("line", {
              x1: scale.at(end),
              x2: scale.at(end),
              y1: y - 4,
              y2: y + 4,
              class: stroke,
              "stroke-width": 2,
            }),
          ),
        ];
  const single = seeds.length > 1 ? seeds : [];
  return [
    ...interval,
    ...single.map((one) =>
      element("circle", {
        cx: scale.at(one),
        cy: y - 5,
        r: 1.8,
        class: seriesClass(colour),
        "fill-opacity": 0.65,
      }),
    ),
    element("circle", { cx: scale.at(value), cy: y, r: 4.2, class: seriesClass(colour) }),
  ];
}
