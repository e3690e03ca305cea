import { expect, test } from "vitest";
import { DataError } from "../../src/core/errors.js";
import {
  mergeReports,
  parseBenchReport,
  runReport,
  standaloneRows,
  withRows,
} from "../../src/report/bench_report.js";
import type { BenchRow } from "../../src/report/bench_rows.js";

const head = { direction: "forward", implementation: "uncouple", dtype: "f32", adapter: "A 1.0" } as const;
const peak: BenchRow = {
  ...head,
  op: "peak",
  shape: "copy 64 MiB",
  medianMs: 2,
  gpuMs: 1,
  gflops: 0,
  gbps: 50,
};
const add = (medianMs: number): BenchRow => ({ ...head, op: "add", shape: "N1", medianMs });

const before = runReport({ date: "2001", preset: "fast", commit: "a" }, [peak, add(3)]);
const after = runReport({ date: "2002", preset: "fast", commit: "b", tuning: { source: "shipped" } }, [
  add(2),
]);

test("rows of a run know its name and preset, its passport the peaks that were measured", () => {
  expect(before.rows[1]).toMatchObject({ run: "2001", preset: "fast", medianMs: 3 });
  // by the GPU's clock
  expect(before.passports["2001"]).toMatchObject({ commit: "a", peaks: { "copy f32": { gbps: 100 } } });
});

test("a new measurement takes the place of the old one, each with the passport of its run", () => {
  const merged = mergeReports([after, before]);
  expect(merged.rows.map(({ op, run, medianMs }) => [op, run, medianMs])).toEqual([
    ["add", "2002", 2],
    ["peak", "2001", 2],
  ]);
  expect(Object.keys(merged.passports).sort()).toEqual(["2001", "2002"]);
  expect(Object.keys(withRows(merged, merged.rows.slice(0, 1)).passports)).toEqual(["2002"]);
});

test("presets and precisions are measurements of their own", () => {
  const checked = runReport({ date: "2003", preset: "checked" }, [add(5)]);
  const half = runReport({ date: "2004", preset: "fast" }, [{ ...add(1), dtype: "f16" }]);
  expect(mergeReports([after, checked, half]).rows).toHaveLength(3);
});

test("a report is read from what --save and what --json wrote", () => {
  const merged = mergeReports([after, before]);
  expect(parseBenchReport(JSON.parse(JSON.stringify(merged)), "a.json")).toEqual(merged);
  const printed = JSON.parse(JSON.stringify(standaloneRows(merged)));
  expect(printed[0]).toMatchObject({ passport: { commit: "b" }, peaks: {}, tuning: { source: "shipped" } });
  expect(parseBenchReport(printed, "a.json")).toEqual(merged);
  expect(parseBenchReport([add(1)], "a.json")).toEqual({ passports: {}, rows: [add(1)] });
});

test.each([
  ["no benchmark", { losses: [] }, /\[x\.json\].*at rows/],
  ["a row without an op", [{ ...add(1), op: undefined }], /\[x\.json\].*at 0\.op/],
  ["text in place of a number", { rows: [{ ...add(1), medianMs: "fast" }] }, /rows\.0\.medianMs/],
])("%s is refused with the place", (_, json, message) => {
  expect(() => parseBenchReport(json, "x.json")).toThrow(DataError);
  expect(() => parseBenchReport(json, "x.json")).toThrow(message);
});
