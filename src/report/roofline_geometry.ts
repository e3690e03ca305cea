/** Where the marks and lines of a roofline stand, for pictures and for the page. Pure, and no reader of files. */
import { type LogScale, logScale } from "./svg.js";

/** What limits every kernel of a run. */
export interface Roofs {
  /** Bytes a second of the copy kernel, 10^9; null where it was not measured. */
  readonly gbps: number | null;
  /** Arithmetic peaks, highest first. */
  readonly ceilings: readonly { readonly name: string; readonly gflops: number }[];
}

/** Pixels of the plot. */
export interface PlotArea {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

interface Segment {
  readonly x1: number;
  readonly x2: number;
  readonly y1: number;
  readonly y2: number;
}

export interface RooflineGeometry {
  readonly x: LogScale;
  readonly y: LogScale;
  /** Each ceiling from the slope on, in their order. */
  readonly ceilings: readonly (Segment & { readonly name: string; readonly gflops: number })[];
  /** y = gbps x up to the highest ceiling, cut to the plot; undefined where none of it is in sight. */
  readonly slope: Segment | undefined;
}

/** @param points of all kernels: FLOP per byte, and GFLOP/s */
export function rooflineGeometry(
  points: readonly { readonly intensity: number; readonly gflops: number }[],
  { gbps, ceilings }: Roofs,
  { left, right, top, bottom }: PlotArea,
): RooflineGeometry {
  // some of the slope is always in sight
  const ridges = ceilings.flatMap(({ gflops }) =>
    [0.3, 1].map((share) => (share * gflops) / (gbps ?? gflops)),
  );
  const x = logScale([...points.map(({ intensity }) => intensity), ...ridges], left, right);
  const y = logScale(
    [...points, ...ceilings].map(({ gflops }) => gflops),
    bottom,
    top,
  );
  const lines = ceilings.map(({ name, gflops }) => {
    const from = gbps === null ? x.low : Math.max(x.low, gflops / gbps);
    return { name, gflops, x1: x.at(from), x2: right, y1: y.at(gflops), y2: y.at(gflops) };
  });
  return { x, y, ceilings: lines, slope: slopeOf(gbps, ceilings[0]?.gflops ?? y.high, x, y) };
}

function slopeOf(gbps: number | null, most: number, x: LogScale, y: LogScale): Segment | undefined {
  if (gbps === null) return undefined;
  const from = Math.max(x.low, y.low / gbps);
  const to = Math.min(x.high, most / gbps);
  if (!(from < to)) return undefined;
  return { x1: x.at(from), x2: x.at(to), y1: y.at(from * gbps), y2: y.at(to * gbps) };
}
