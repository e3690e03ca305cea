import { expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.js";
import { compareWithBaseline, describeSlower, parsePercentage } from "../../src/report/bench_baseline.js";
import type { BenchRow } from "../../src/report/bench_rows.js";

const row = (op: string, medianMs: number | undefined, more: Partial<BenchRow> = {}): BenchRow => ({
  op,
  direction: "forward",
  shape: "N8",
  implementation: "uncouple",
  dtype: "f32",
  adapter: "A 1.0",
  medianMs,
  ...more,
});

test("rows slower than allowed are found, others are only annotated", () => {
  const baseline = [row("add", 1), row("linear", 2), row("rope", 1), row("gone", 5)];
  const now = [row("add", 1.05), row("linear", 2.5), row("rope", 0.5), row("new", 7)];
  const { rows, compared, slower } = compareWithBaseline(now, baseline, 0.1);
  expect(compared).toBe(3);
  expect(slower.map(({ op }) => op)).toEqual(["linear"]);
  expect(rows.map(({ slowdown }) => slowdown?.toFixed(2))).toEqual(["0.05", "0.25", "-0.50", undefined]);
  expect(rows[1].baselineMs).toBe(2);
  expect(describeSlower(slower[0])).toBe("linear forward at N8: 2.500 ms after 2.000 ms, 25.0 % slower");
});

test("the limit itself is still allowed", () => {
  expect(compareWithBaseline([row("add", 1.5)], [row("add", 1)], 0.5).slower).toEqual([]);
  expect(compareWithBaseline([row("add", 1.5)], [row("add", 1)], 0.49).slower).toHaveLength(1);
});

test("a row that fails now has become slower; peers and peaks are nobody's regression", () => {
  const names = { implementation: "peer" };
  const baseline = [row("add", 1), row("add", 1, names), row("peak", 1)];
  const now = [row("add", undefined, { error: "wrong result" }), row("add", 9, names), row("peak", 9)];
  const { slower } = compareWithBaseline(now, baseline, 0.1);
  expect(slower).toHaveLength(1);
  expect(describeSlower(slower[0])).toBe("add forward at N8: wrong result");
});

test.each([
  ["another adapter", [row("add", 1, { adapter: "B 2.0" })]],
  ["other shapes", [row("add", 1, { shape: "N9" })]],
  ["nothing", []],
])("a baseline of %s is refused", (_, baseline) => {
  expect(() => compareWithBaseline([row("add", 1)], baseline, 0.1)).toThrow(ConfigError);
  expect(() => compareWithBaseline([row("add", 1)], baseline, 0.1)).toThrow(/no row in common.*A 1\.0/);
});

test("percentages", () => {
  expect(parsePercentage("10%", "--x")).toBe(0.1);
  expect(parsePercentage(" 2.5 ", "--x")).toBe(0.025);
  for (const text of ["", "ten", "-1%", "10%%", "1e3"]) {
    expect(() => parsePercentage(text, "--x")).toThrow(ConfigError);
  }
});
