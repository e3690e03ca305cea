import { expect, test } from "vitest";
import { benchPageSvg } from "../../src/report/bench_page.js";
import type { BenchReport } from "../../src/report/bench_report.js";
import type { BenchRow } from "../../src/report/bench_rows.js";
import { rooflinePoints, rooflineSvg } from "../../src/report/roofline.js";
import { escaped, logScale } from "../../src/report/svg.js";

const head = { direction: "forward", implementation: "uncouple", dtype: "f32", adapter: "A <1.0>" } as const;
const rows: BenchRow[] = [
  { ...head, op: "peak", shape: "copy 64 MiB", medianMs: 1, gflops: 0, gbps: 100 },
  { ...head, op: "peak", shape: "fma 4 chains", medianMs: 1, gflops: 1000, gbps: 0.1 },
  { ...head, op: "peak", shape: "fma 2 chains", medianMs: 1, gflops: 400, gbps: 0.1 },
  { ...head, op: "linear", shape: "N8", medianMs: 4, gpuMs: 2, gflops: 200, gbps: 10 },
  { ...head, op: "linear", shape: "N8", direction: "backward", medianMs: 4, gflops: 150, gbps: 10 },
  { ...head, op: "linear", shape: "N8", implementation: "peer", medianMs: 9, p90Ms: 10, gflops: 80, gbps: 4 },
  { ...head, op: "linear", shape: "N8", implementation: "absent", error: "not installed & gone" },
  { ...head, op: "embedding", shape: "N8", medianMs: 1, gflops: 0, gbps: 30 },
  { ...head, op: "training_step", shape: "nano", direction: "step", medianMs: 30, tokensPerSecond: 34_133 },
];
const report: BenchReport = { passports: { today: { command: "uncouple bench" } }, rows };

/** Every opened element is closed, in order. */
function isWellFormed(svg: string): boolean {
  const open: string[] = [];
  for (const [, closing, name, self] of svg.matchAll(/<(\/?)([a-z]+)(?:[^<>"]|"[^"]*")*?(\/?)>/g)) {
    if (closing) {
      if (open.pop() !== name) return false;
    } else if (!self) open.push(name);
  }
  return open.length === 0;
}

test("points are rows of ours that compute and move bytes, by GPU time where there is one", () => {
  const points = rooflinePoints(rows);
  expect(points.map(({ row, gflops, intensity }) => [row.direction, gflops, intensity])).toEqual([
    ["forward", 400, 20],
    ["backward", 150, 15],
  ]);
});

test("the picture has a mark for each point, the best ceiling of each kind and the slope", () => {
  const svg = rooflineSvg(report);
  expect(svg.startsWith('<svg xmlns="http://www.w3.org/2000/svg"')).toBe(true);
  expect(isWellFormed(svg)).toBe(true);
  expect(svg).toContain("<title>linear forward N8: 400 GFLOP/s at 20 FLOP per byte</title>");
  expect(svg).toContain("fma f32: 1,000 GFLOP/s");
  expect(svg).not.toContain("400 GFLOP/s</text>");
  expect(svg).toContain("copy: 100 GB/s");
  expect(svg).toContain("A &lt;1.0&gt;");
  expect(svg).not.toMatch(/NaN|undefined|Infinity/);
});

test("a kernel at the roof lies on it", () => {
  const at: BenchRow = { ...head, op: "swiglu", shape: "N8", medianMs: 1, gflops: 50, gbps: 100 };
  const svg = rooflineSvg({ ...report, rows: [...rows, at] });
  const number = (text: string, name: string) =>
    Number(new RegExp(`\\b${name}="([\\d.-]+)"`).exec(text)?.[1]);
  const circle = /<circle[^>]*><title>swiglu/.exec(svg)?.[0] ?? "";
  const slopes = [...svg.matchAll(/<line[^>]*>/g)].map(([text]) => text);
  const slope = slopes.find(
    (text) => number(text, "x1") !== number(text, "x2") && number(text, "y1") !== number(text, "y2"),
  );
  const [x1, x2, y1, y2] = ["x1", "x2", "y1", "y2"].map((name) => number(slope ?? "", name));
  const share = (number(circle, "cx") - x1) / (x2 - x1);
  expect(share).toBeGreaterThan(0);
  expect(Math.abs(y1 + share * (y2 - y1) - number(circle, "cy"))).toBeLessThan(1);
});

test("runs without peaks or without points still give a picture", () => {
  for (const some of [rows.slice(3), rows.slice(0, 3), []]) {
    for (const svg of [
      rooflineSvg({ passports: {}, rows: some }),
      benchPageSvg({ passports: {}, rows: some }),
    ]) {
      expect(isWellFormed(svg)).toBe(true);
      expect(svg).not.toMatch(/NaN|undefined|Infinity/);
    }
  }
});

test("the page shows libraries beside each other, reasons for missing numbers and end-to-end figures", () => {
  const svg = benchPageSvg(report);
  expect(isWellFormed(svg)).toBe(true);
  for (const text of [
    "linear forward, N8, f32",
    "peer",
    "9 ms",
    "not installed &amp; gone",
    "34,100 tokens/s",
  ]) {
    expect(svg).toContain(text);
  }
  // backward has one contestant and is no comparison
  expect(svg).not.toContain("linear backward, N8, f32");
});

test("text cannot break out of markup, and axes cover their values in whole powers of ten", () => {
  expect(escaped('<a b="c">&\u0000')).toBe("&lt;a b=&quot;c&quot;&gt;&amp; ");
  const scale = logScale([0.3, 70], 0, 300);
  expect([scale.low, scale.high]).toEqual([0.1, 100]);
  expect(scale.at(1)).toBeCloseTo(100);
  expect(scale.ticks.map((tick) => Number(tick.toPrecision(3)))).toEqual([0.1, 1, 10, 100]);
  expect(logScale([1], 0, 1).high).toBe(10);
});
