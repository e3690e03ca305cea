import { expect, test } from "vitest";
import type { BenchRow } from "../../src/report/bench_rows.js";
import { logLogSlope, scalingCurves, slopeLines, slopeText } from "../../src/report/scaling.js";
import { scalingSvg } from "../../src/report/scaling_picture.js";

const sizes = [64, 128, 256, 512];

test.each([
  ["constant", 0],
  ["linear", 1],
  ["quadratic", 2],
])("the slope of %s growth", (_, power) => {
  expect(logLogSlope(sizes.map((size) => ({ size, value: 3 * size ** power })))).toBeCloseTo(power, 10);
});

test("the slope is that of least squares, and nothing for one size", () => {
  // logs (0, 0), (1, 2), (2, 2): the line through them with the least squares rises by 1
  const points = [0, 1, 2].map((x, index) => ({ size: Math.exp(x), value: Math.exp([0, 2, 2][index]) }));
  expect(logLogSlope(points)).toBeCloseTo(1, 10);
  expect(logLogSlope([{ size: 4, value: 2 }])).toBeNaN();
  expect(slopeText(-1e-9)).toBe("0.00");
});

const row = (axis: string, size: number, more: Partial<BenchRow>): BenchRow => ({
  op: "scaling",
  direction: "step",
  shape: `${axis} ${size}`,
  implementation: "uncouple",
  dtype: "f32",
  adapter: "A",
  subject: "training_step",
  axis,
  size,
  ...more,
});
const rows = [
  ...sizes.map((size) =>
    row("T", size, { medianMs: size / 8, bytesPeak: 1e6 + 100 * size, logProbBytes: 4096 }),
  ),
  row("T", 1024, { error: "out of memory" }),
  row("layers", 2, { medianMs: 1 }),
  { ...row("T", 64, { medianMs: 9 }), op: "training_step" },
];

test("curves are by subject, axis and figure; failed and single points have none", () => {
  const curves = scalingCurves(rows);
  expect(curves.map(({ axis, measure, points }) => [axis, measure, points.length])).toEqual([
    ["T", "medianMs", 4],
    ["T", "bytesPeak", 4],
    ["T", "logProbBytes", 4],
  ]);
  expect(slopeLines(rows)).toEqual([
    expect.stringMatching(/^training_step over T: time 1\.00, peak memory 0\.0\d, log-prob memory 0\.00$/),
  ]);
});

test("the picture has a line for each curve with its slope, and stands without any", () => {
  const svg = scalingSvg({ passports: {}, rows });
  expect(svg.match(/<polyline/g)).toHaveLength(3);
  expect(svg).toContain("time: slope 1.00");
  for (const text of [svg, scalingSvg({ passports: {}, rows: [] })]) {
    expect(text).toMatch(/^<svg .*<\/svg>$/s);
    expect(text).not.toMatch(/NaN|undefined|Infinity/);
  }
});
