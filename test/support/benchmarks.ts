/** A saved benchmark as `uncouple bench --save` leaves it after two runs: the product was measured twice. */
import { type BenchReport, replaceRows, runReport } from "../../src/report/bench_report.js";
import type { BenchRow } from "../../src/report/bench_rows.js";

export function savedBenchmark(): BenchReport {
  const common = { direction: "forward", implementation: "uncouple", dtype: "f32", adapter: "Card" } as const;
  const product: BenchRow = { ...common, op: "matmul", shape: "512x512x512 nn" };
  const passport = { preset: "fast", command: "uncouple bench", driver: "Driver 1", loadAverage: 0.5 };
  const first = runReport({ ...passport, date: "2026-01-01T00:00:00.000Z", commit: "a".repeat(40) }, [
    { ...product, medianMs: 4, p10Ms: 3.5, p90Ms: 5, gflops: 50, gbps: 2.5 },
  ]);
  const second = runReport(
    { ...passport, date: "2026-02-01T00:00:00.000Z", commit: "b".repeat(40), dirty: true },
    [
      { ...common, op: "peak", shape: "copy 64 MiB", medianMs: 1, gflops: 0, gbps: 40 },
      { ...common, op: "peak", shape: "fma", medianMs: 1, gflops: 400, gbps: 0 },
      { ...product, medianMs: 2, p10Ms: 1.9, p90Ms: 2.2, gflops: 100, gbps: 5 },
      { ...product, implementation: "other", medianMs: 4, gflops: 50, gbps: 2.5 },
      { ...common, op: "rms_norm", shape: "N1024 <b>C</b>64", medianMs: 0.5, gflops: 2, gbps: 8 },
      {
        ...common,
        op: "rms_norm",
        direction: "backward",
        shape: "N1024 C64",
        medianMs: 1,
        gflops: 2,
        gbps: 6,
      },
      { ...common, op: "training_step", direction: "step", shape: "nano", medianMs: 9, tokensPerSecond: 800 },
    ],
  );
  return replaceRows(first, second);
}
