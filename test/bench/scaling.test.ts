/** Memory of attention is linear in T, that of log-probabilities does not depend on V. */
import { expect, test } from "vitest";
import { madeBy, peaksDuring } from "../../bench/memory.js";
import { benchScalingPoint, scalingPoints } from "../../bench/scaling.js";
import { benchMemoryPoint, memoryPoints } from "../../bench/scaling_memory.js";
import { Launcher } from "../../src/kernels/index.js";
import type { BenchRow } from "../../src/report/bench_rows.js";
import { scalingCurves } from "../../src/report/scaling.js";
import { testRuntime } from "../support/runtime.js";

const effort = { repeats: 3, sampleMs: 1, budgetMs: 100 };

test("attention's forward and backward need memory linear in T, the vocabulary head's none for V", async () => {
  const launcher = new Launcher(await testRuntime());
  const rows: BenchRow[] = [];
  for (const point of memoryPoints(true, true)) rows.push(await benchMemoryPoint(launcher, "A", point));
  expect(rows.filter(({ error }) => error)).toEqual([]);
  const slope = (subject: string, measure: string) =>
    scalingCurves(rows).find((curve) => curve.subject === subject && curve.measure === measure)?.slope;
  expect(slope("attention", "workingBytes")).toBeCloseTo(1, 1);
  expect(slope("attention", "bytesPeak")).toBeCloseTo(1, 1);
  expect(slope("linear_log_prob", "workingBytes")).toBeCloseTo(0, 2);
});

test("a training step keeps to the same slopes, and frees what it took", async () => {
  const runtime = await testRuntime();
  const bench = { launcher: new Launcher(runtime), adapter: "A", precision: "f32" as const, effort };
  const before = runtime.buffers.liveBytes;
  const points = scalingPoints(true, true).filter(({ axis }) => axis.startsWith("T"));
  const rows: BenchRow[] = [];
  for (const point of points) rows.push(...(await benchScalingPoint(bench, point)));
  expect(rows.filter(({ error }) => error)).toEqual([]);
  expect(runtime.buffers.liveBytes).toBe(before);
  expect(rows[0]).toMatchObject({ medianMs: expect.any(Number), bytesPeak: expect.any(Number) });
  const slope = (axis: string) =>
    scalingCurves(rows).find((curve) => curve.axis === axis && curve.measure === "attentionBytes")?.slope;
  expect(slope("T")).toBeCloseTo(1, 1);
  expect(slope("T with N fixed")).toBeCloseTo(0, 1);
});

test("every axis varies one size, in ascending order, and no two points share a name", () => {
  for (const [quick, isSoftware] of [
    [true, true],
    [false, true],
    [false, false],
  ]) {
    const points = scalingPoints(quick, isSoftware);
    const axes = [...new Set(points.map(({ axis }) => axis))];
    expect(axes).toEqual(["T", "T with N fixed", "width", "layers", "batch", "vocabulary"]);
    expect(new Set(points.map(({ label }) => label)).size).toBe(points.length);
    for (const axis of axes) {
      const sizes = points.filter((point) => point.axis === axis).map(({ size }) => size);
      expect(sizes).toEqual([...sizes].sort((a, b) => a - b));
    }
    const fixed = points.filter(({ axis }) => axis === "T with N fixed");
    expect(new Set(fixed.map(({ workload: { B, T } }) => B * T)).size).toBe(1);
  }
});

test("peaks count what is held at once, by label, and nothing from before", async () => {
  const { buffers } = await testRuntime();
  const old = buffers.acquire(4096, "attention.y");
  const peaks = await peaksDuring(buffers, { attention: madeBy("attention"), all: () => true }, async () => {
    const first = buffers.acquire(1024, "attention.y");
    buffers.release(old);
    buffers.release(first);
    const second = buffers.acquire(2048, "attention.d_q");
    const other = buffers.acquire(1024, "attention_decode.y");
    for (const buffer of [second, other]) buffers.release(buffer);
  });
  expect(peaks).toEqual({ attention: 2048, all: 3072 });
  expect(buffers.observer).toBeUndefined();
});
