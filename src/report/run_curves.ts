/** Curves of one run as a picture that stands alone: for a paper, or inside a page. */
import {
  experimentPicture,
  HEAD,
  linearScale,
  seriesClass,
  strokeClass,
  tickText,
} from "./experiment_style.js";
import { element, label } from "./svg.js";

export interface RunCurve {
  readonly name: string;
  readonly points: readonly (readonly [step: number, value: number])[];
  /** Low and high of each point's interval. */
  readonly band?: readonly (readonly [low: number, high: number])[];
}

const WIDTH = 640;
const PLOT = { left: 60, right: 620, top: HEAD + 10, bottom: HEAD + 250 } as const;

/**
 * One panel with a line for each curve.
 * @returns a whole SVG document; undefined when no curve has a point
 */
export function runCurvesSvg(title: string, note: string, curves: readonly RunCurve[]): string | undefined {
  const drawn = curves.filter(({ points }) => points.length > 0);
  if (drawn.length === 0) return undefined;
  const x = linearScale(
    drawn.flatMap(({ points }) => points.map(([step]) => step)),
    PLOT.left,
    PLOT.right,
  );
  const y = linearScale(
    drawn.flatMap(({ points, band = [] }) => [...points.map(([, value]) => value), ...band.flat()]),
    PLOT.bottom,
    PLOT.top,
  );
  const grid = y.ticks.flatMap((tick) => [
    element("line", { x1: PLOT.left, x2: PLOT.right, y1: y.at(tick), y2: y.at(tick), class: "grid" }),
    label(PLOT.left - 6, y.at(tick) + 4, tickText(tick), { anchor: "end", size: 11, class: "quiet" }),
  ]);
  const steps = x.ticks.map((tick) =>
    label(x.at(tick), PLOT.bottom + 18, tickText(tick), { anchor: "middle", size: 11, class: "quiet" }),
  );
  const height = PLOT.bottom + 34 + 18 * drawn.length;
  return experimentPicture(WIDTH, height, { title, note }, [
    ...grid,
    ...steps,
    ...drawn.flatMap((curve, index) => curveMarks(curve, index, { x, y })),
  ]);
}

type Scales = Readonly<Record<"x" | "y", ReturnType<typeof linearScale>>>;

function curveMarks({ name, points, band }: RunCurve, index: number, { x, y }: Scales): string[] {
  const places = points.map(([step, value]) => `${x.at(step).toFixed(1)},${y.at(value).toFixed(1)}`);
  const line = element("polyline", {
    points: places.join(" "),
    fill: "none",
    class: strokeClass(index),
    "stroke-width": 2,
  });
  const intervals = (band ?? []).map(([low, high], at) =>
    element("line", {
      ...{ x1: x.at(points[at][0]), x2: x.at(points[at][0]), y1: y.at(low), y2: y.at(high) },
      ...{ class: strokeClass(index), "stroke-width": 2, opacity: "0.4" },
    }),
  );
  const legendY = PLOT.bottom + 34 + 18 * index;
  return [
    ...intervals,
    points.length > 1
      ? line
      : element("circle", {
          cx: x.at(points[0][0]),
          cy: y.at(points[0][1]),
          r: 3,
          class: seriesClass(index),
        }),
    element("rect", { x: PLOT.left, y: legendY - 9, width: 10, height: 10, class: seriesClass(index) }),
    label(PLOT.left + 16, legendY, name, { size: 12 }),
  ];
}
