/** Learning curves of an experiment: a panel for each baseline and the cells that are compared with it. */
import { groupBy } from "../core/group_by.js";
import { mean } from "../core/statistics.js";
import type { ExperimentResult } from "./experiment_rows.js";
import { byCell } from "./experiment_statistics.js";
import {
  experimentPicture,
  HEAD,
  linearScale,
  seriesClass,
  strokeClass,
  tickText,
} from "./experiment_style.js";
import { element, label } from "./svg.js";

type Points = readonly (readonly [step: number, value: number])[];

interface Line {
  readonly cell: string;
  readonly points: Points;
}

const PANEL = { width: 330, height: 200, left: 44, gap: 24, columns: 3 } as const;

/**
 * Success on one split (training rollouts for null) over updates, mean over seeds.
 * @returns a whole SVG document; undefined when no cell has a curve of two points
 */
export function curvesSvg(
  results: readonly ExperimentResult[],
  of: { readonly split: string; readonly mode: string } | null,
): string | undefined {
  const start = results.find(({ kind }) => kind === "start");
  const cells = byCell(results.filter(({ kind }) => kind === "cell"));
  const groups = groupBy([...cells], ([cell, [first]]) => first.baseline ?? cell);
  const panels = [...groups].flatMap(([name, members]) => {
    const lines = members
      .map(
        ([cell, own]): Line => ({ cell, points: meanCurve(own.map((result) => curveOf(result, of, start))) }),
      )
      .filter(({ points }) => points.length > 1);
    return lines.length === 0 ? [] : [{ name, lines }];
  });
  if (panels.length === 0) return undefined;
  const most = Math.max(...panels.map(({ lines }) => lines.length));
  const height = PANEL.height + 44 + 16 * most;
  const what = of === null ? "training rollouts" : `${of.split}, ${of.mode}`;
  const note = "share of episodes that reached their goal, by updates; mean over seeds";
  const content = panels.map(({ name, lines }, index) => {
    const x = (index % PANEL.columns) * (PANEL.width + PANEL.gap);
    const y = HEAD + Math.floor(index / PANEL.columns) * height;
    return element("g", { transform: `translate(${x} ${y})` }, ...panelMarks(name, lines));
  });
  const columns = Math.min(PANEL.columns, panels.length);
  return experimentPicture(
    Math.max(560, columns * (PANEL.width + PANEL.gap)),
    HEAD + Math.ceil(panels.length / PANEL.columns) * height,
    { title: `Learning curves: ${what}`, note },
    content,
  );
}

/** Evaluations of one split from the start on, or the success of training rollouts. */
function curveOf(
  result: ExperimentResult,
  of: { readonly split: string; readonly mode: string } | null,
  start: ExperimentResult | undefined,
): Points {
  if (of === null) return result.training;
  const begin = start?.splits.find(({ split, mode }) => split === of.split && mode === of.mode);
  const later = result.curve.filter(({ split, mode }) => split === of.split && mode === of.mode);
  const points = later.map(({ step, success }) => [step, success] as const);
  return begin === undefined || points[0]?.[0] === 0 ? points : [[0, begin.success], ...points];
}

/** Means over seeds at the steps that all of them have. */
function meanCurve(curves: readonly Points[]): Points {
  const [first = [], ...others] = curves;
  return first.flatMap(([step, value]) => {
    const rest = others.map((curve) => curve.find(([at]) => at === step)?.[1]);
    const known = rest.filter((one) => one !== undefined);
    return known.length === rest.length ? [[step, mean([value, ...known])] as const] : [];
  });
}

function panelMarks(name: string, lines: readonly Line[]): string[] {
  const all = lines.flatMap(({ points }) => points);
  const right = PANEL.left + PANEL.width - 40;
  const x = linearScale([0, ...all.map(([step]) => step)], PANEL.left, right);
  const y = linearScale([0, 100, ...all.map(([, value]) => 100 * value)], PANEL.height, 24);
  return [
    label(PANEL.left, 14, name, { size: 12, "font-weight": "bold" }),
    ...y.ticks.flatMap((tick) => [
      element("line", { x1: PANEL.left, x2: right, y1: y.at(tick), y2: y.at(tick), class: "grid" }),
      label(PANEL.left - 6, y.at(tick) + 4, `${tickText(tick)}%`, {
        anchor: "end",
        size: 10,
        class: "quiet",
      }),
    ]),
    ...x.ticks.map((tick) =>
      label(x.at(tick), PANEL.height + 15, tickText(tick), { anchor: "middle", size: 10, class: "quiet" }),
    ),
    ...lines.flatMap(({ cell, points }, index) => [
      element("polyline", {
        points: points
          .map(([step, value]) => `${x.at(step).toFixed(1)},${y.at(100 * value).toFixed(1)}`)
          .join(" "),
        fill: "none",
        class: strokeClass(index),
        "stroke-width": 2,
      }),
      element("rect", {
        x: PANEL.left,
        y: PANEL.height + 26 + 16 * index,
        width: 10,
        height: 10,
        class: seriesClass(index),
      }),
      label(PANEL.left + 16, PANEL.height + 35 + 16 * index, cell, { size: 11 }),
    ]),
  ];
}
