/** Picture of scaling curves: a panel for each size that is varied, every figure relative to its first point. */
import { type BenchReport, byAdapter } from "./bench_report.js";
import { type Curve, curvesByName, MEASURES, slopeText } from "./scaling.js";
import { colour, element, type LogScale, label, octaveScale, picture, shortNumber } from "./svg.js";

const PANEL = { width: 320, height: 290, left: 50, right: 300, top: 60, bottom: 200 } as const;
const COLUMNS = 3;
const HEAD = 50;

/**
 * Panels of all subjects and axes, sizes across and multiples of the first point's figure up, both logarithmic; the slope
 * of each curve stands below.
 * @param report rows of one adapter
 * @returns a whole SVG document
 */
export function scalingSvg({ rows }: BenchReport): string {
  const [adapter = "no adapter"] = [...byAdapter(rows).keys()];
  const panels = curvesByName(rows);
  const title = `Scaling on ${adapter}`;
  const drawn = [...panels].map(([name, curves], index) => {
    const x = (index % COLUMNS) * PANEL.width;
    const y = HEAD + Math.floor(index / COLUMNS) * PANEL.height;
    return element("g", { transform: `translate(${x} ${y})` }, ...panel(name, curves));
  });
  const height = HEAD + Math.max(1, Math.ceil(panels.size / COLUMNS)) * PANEL.height;
  const note = panels.size === 0 ? [label(PANEL.left, 60, "No scaling rows.")] : [];
  return picture(COLUMNS * PANEL.width, height, title, [
    label(PANEL.left, 30, title, { size: 18 }),
    ...note,
    ...drawn,
  ]);
}

function panel(name: string, curves: readonly Curve[]): string[] {
  const relative = curves.map(({ points }) =>
    points.map(({ size, value }) => ({ size, value: value / points[0].value })),
  );
  const all = relative.flat();
  const x = octaveScale(
    all.map(({ size }) => size),
    PANEL.left,
    PANEL.right,
  );
  const y = octaveScale(
    all.map(({ value }) => value),
    PANEL.bottom,
    PANEL.top,
  );
  const lines = curves.flatMap(({ measure, slope }, index) => [
    ...curveLine(relative[index], x, y, colourOf(measure)),
    element("rect", { x: PANEL.left, y: 228 + 15 * index, width: 10, height: 10, fill: colourOf(measure) }),
    label(PANEL.left + 16, 237 + 15 * index, `${MEASURES[measure]}: slope ${slopeText(slope)}`, { size: 11 }),
  ]);
  return [label(PANEL.left, 44, name, { "font-weight": "bold" }), ...grid(x, y, all), ...lines];
}

function colourOf(measure: Curve["measure"]): string {
  return colour(Object.keys(MEASURES).indexOf(measure));
}

function grid(x: LogScale, y: LogScale, points: readonly { readonly size: number }[]): string[] {
  const stroke = { stroke: "#d0d7de", "stroke-width": 1 };
  const sizes = [...new Set(points.map(({ size }) => size))];
  return [
    ...sizes.flatMap((size) => [
      element("line", { x1: x.at(size), x2: x.at(size), y1: PANEL.top, y2: PANEL.bottom, ...stroke }),
      label(x.at(size), PANEL.bottom + 15, String(size), { anchor: "middle", size: 10 }),
    ]),
    ...y.ticks.flatMap((tick) => [
      element("line", { x1: PANEL.left, x2: PANEL.right, y1: y.at(tick), y2: y.at(tick), ...stroke }),
      label(PANEL.left - 6, y.at(tick) + 4, `${shortNumber(tick)}x`, { anchor: "end", size: 10 }),
    ]),
  ];
}

function curveLine(
  points: readonly { readonly size: number; readonly value: number }[],
  x: LogScale,
  y: LogScale,
  stroke: string,
): string[] {
  const places = points.map(({ size, value }) => `${x.at(size).toFixed(1)},${y.at(value).toFixed(1)}`);
  return [
    element("polyline", { points: places.join(" "), fill: "none", stroke, "stroke-width": 2 }),
    ...points.map(({ size, value }) =>
      element("circle", { cx: x.at(size), cy: y.at(value), r: 3, fill: stroke }),
    ),
  ];
}
