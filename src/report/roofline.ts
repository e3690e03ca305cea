/** The roofline picture: what each kernel reaches against what memory and arithmetic of the adapter allow. */
import type { BenchReport } from "./bench_report.js";
import { type BenchRow, kernelRates, peakRows } from "./bench_rows.js";
import { type RooflineGeometry, type Roofs, rooflineGeometry } from "./roofline_geometry.js";
import { colour, element, escaped, type LogScale, label, picture, shortNumber } from "./svg.js";

const WIDTH = 960;
const HEIGHT = 560;
const PLOT = { left: 80, right: 720, top: 60, bottom: 500 } as const;

/** A measured row as a point: FLOP per byte, and GFLOP/s. */
export interface RooflinePoint {
  readonly row: BenchRow;
  readonly intensity: number;
  readonly gflops: number;
}

/** Rows of ours that move bytes and compute, by GPU time where it is known. */
export function rooflinePoints(rows: readonly BenchRow[]): RooflinePoint[] {
  return rows.flatMap((row) => {
    if (row.implementation !== "uncouple" || row.op === "peak" || row.error !== undefined) return [];
    const rates = kernelRates(row);
    if (!rates || !(rates.gflops > 0) || !(rates.gbps > 0)) return [];
    return [{ row, intensity: rates.gflops / rates.gbps, gflops: rates.gflops }];
  });
}

export function roofsOf(rows: readonly BenchRow[]): Roofs {
  const peaks = peakRows(rows);
  const copy = peaks.find(({ shape }) => shape.startsWith("copy"));
  const best = new Map<string, number>();
  for (const row of peaks.filter(({ shape }) => !shape.startsWith("copy"))) {
    const name = `${row.shape.split(" ")[0]} ${row.dtype}`;
    best.set(name, Math.max(best.get(name) ?? 0, kernelRates(row)?.gflops ?? 0));
  }
  const ceilings = [...best].map(([name, gflops]) => ({ name, gflops })).filter(({ gflops }) => gflops > 0);
  return {
    gbps: (copy && kernelRates(copy)?.gbps) ?? null,
    ceilings: ceilings.sort((a, b) => b.gflops - a.gflops),
  };
}

/**
 * The roofline of one run: FLOP per byte across, GFLOP/s up, both logarithmic. Lines are the peaks measured in the run;
 * a filled mark is forward, a hollow one backward.
 * @returns a whole SVG document
 */
export function rooflineSvg(report: BenchReport): string {
  return picture(WIDTH, HEIGHT, "Roofline", [rooflineGroup(report)]);
}

/** The same without the document around it, for a page; 960 by 560 pixels. */
export function rooflineGroup({ rows, passports }: BenchReport): string {
  const points = rooflinePoints(rows);
  const roofs = roofsOf(rows);
  const title = `Roofline, ${rows[0]?.adapter ?? "no adapter"}`;
  const presets = [...new Set(rows.flatMap(({ preset }) => preset ?? []))];
  const runs = Object.keys(passports).sort();
  const when = runs.length > 1 ? `${runs.length} runs, ${runs[0]} to ${runs.at(-1)}` : runs[0];
  const subtitle = [presets.length > 0 && `preset ${presets.join(", ")}`, when].filter(Boolean).join("; ");
  const head = [
    label(PLOT.left, 28, title, { size: 18 }),
    label(PLOT.left, 46, subtitle, { fill: "#57606a" }),
  ];
  if (points.length === 0) return [...head, label(PLOT.left, 90, "No row has both FLOP and bytes.")].join("");
  const geometry = rooflineGeometry(points, roofs, PLOT);
  const { x, y } = geometry;
  const ops = [...new Set(points.map(({ row }) => row.op))];
  return [
    ...head,
    ...grid(x, y),
    ...roofLines(geometry, roofs.gbps),
    ...points.map((point) => marker(point, x, y, ops.indexOf(point.row.op))),
    ...legend(ops, points),
  ].join("");
}

function grid(x: LogScale, y: LogScale): string[] {
  const stroke = { stroke: "#d0d7de", "stroke-width": 1 };
  const middle = (PLOT.top + PLOT.bottom) / 2;
  return [
    ...x.ticks.flatMap((tick) => [
      element("line", { x1: x.at(tick), x2: x.at(tick), y1: PLOT.top, y2: PLOT.bottom, ...stroke }),
      label(x.at(tick), PLOT.bottom + 18, shortNumber(tick), { anchor: "middle" }),
    ]),
    ...y.ticks.flatMap((tick) => [
      element("line", { x1: PLOT.left, x2: PLOT.right, y1: y.at(tick), y2: y.at(tick), ...stroke }),
      label(PLOT.left - 8, y.at(tick) + 4, shortNumber(tick), { anchor: "end" }),
    ]),
    label((PLOT.left + PLOT.right) / 2, PLOT.bottom + 42, "FLOP per byte", { anchor: "middle" }),
    label(20, middle, "GFLOP/s", { anchor: "middle", transform: `rotate(-90 20 ${middle})` }),
  ];
}

/** Each ceiling with the slope of the copy peak up to it. */
function roofLines({ ceilings, slope }: RooflineGeometry, gbps: number | null): string[] {
  const line = ({ x1, x2, y1, y2 }: NonNullable<typeof slope>, dashes?: string) =>
    element("line", {
      ...{ x1, x2, y1, y2, stroke: "#1b1f24", "stroke-width": 1.5, "stroke-dasharray": dashes },
    });
  const lines = ceilings.map((ceiling, index) => {
    const text = `${ceiling.name}: ${shortNumber(ceiling.gflops)} GFLOP/s`;
    return (
      line(ceiling, index === 0 ? undefined : "6 4") +
      label(PLOT.right - 4, ceiling.y1 - 5, text, { anchor: "end", size: 11 })
    );
  });
  if (!slope || gbps === null) return lines;
  const text = `copy: ${shortNumber(gbps)} GB/s`;
  return [...lines, line(slope), label(slope.x1 + 24, slope.y1 - 8, text, { size: 11 })];
}

function marker({ row, intensity, gflops }: RooflinePoint, x: LogScale, y: LogScale, op: number): string {
  const text = `${row.op} ${row.direction} ${row.shape}: ${shortNumber(gflops)} GFLOP/s at ${shortNumber(intensity)} FLOP per byte`;
  const isForward = row.direction === "forward";
  const paint = {
    fill: isForward ? colour(op) : "#ffffff",
    "fill-opacity": isForward ? "0.85" : "0.6",
    stroke: colour(op),
    "stroke-width": 2,
  };
  return dot(x.at(intensity), y.at(gflops), op, paint, element("title", {}, escaped(text)));
}

/** A circle for the first eight ops, a square for the next eight, which have the same colours. */
function dot(
  x: number,
  y: number,
  op: number,
  paint: Readonly<Record<string, string | number>>,
  ...children: readonly string[]
): string {
  if (Math.floor(op / 8) % 2 === 0) return element("circle", { cx: x, cy: y, r: 5, ...paint }, ...children);
  return element("rect", { x: x - 4.5, y: y - 4.5, width: 9, height: 9, ...paint }, ...children);
}

function legend(ops: readonly string[], points: readonly RooflinePoint[]): string[] {
  const left = PLOT.right + 30;
  const rows = ops.map((op, index) => {
    const best = points
      .filter(({ row }) => row.op === op)
      .reduce((most, { gflops }) => Math.max(most, gflops), 0);
    const y = PLOT.top + 10 + 20 * index;
    return (
      dot(left, y, index, { fill: colour(index) }) +
      label(left + 12, y + 4, `${op}, best ${shortNumber(best)}`)
    );
  });
  return [
    ...rows,
    label(left - 5, PLOT.top + 20 + 20 * ops.length, "filled: forward, hollow: backward", { size: 11 }),
  ];
}
