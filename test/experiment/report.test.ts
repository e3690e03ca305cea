/** The report of an experiment: intervals against values from outside, paired differences, tables and pictures. */
import { expect, test } from "vitest";
import { experimentCharts } from "../../src/report/experiment_charts.js";
import type { ExperimentResult } from "../../src/report/experiment_rows.js";
import { pairedDifference, successEstimate, tEstimate } from "../../src/report/experiment_statistics.js";
import { experimentMarkdown } from "../../src/report/experiment_table.js";

/** A result with 100 greedy episodes on two splits. */
function result(
  cell: string,
  seed: number,
  wins: readonly [number, number],
  baseline: string | null = null,
): ExperimentResult {
  const split = (name: string, won: number) => ({
    split: name,
    mode: "greedy",
    episodes: 100,
    wins: won,
    success: won / 100,
    types: { pick: { episodes: 60, wins: won / 2 }, heat: { episodes: 40, wins: won / 2 } },
    mean_length: 5 + seed,
    invalid_action_rate: 0.1,
    repeated_action_rate: 0.2,
    repeated_action_in_state_rate: null,
    repeated_action_anywhere_rate: 0.3,
    further: {},
  });
  return {
    cell,
    kind: cell === "start" ? "start" : "cell",
    levels: {},
    baseline,
    seed,
    overrides: {},
    start_sha256: "ab".repeat(32),
    config_sha256: "cd".repeat(32),
    program: { version: "1", commit: null, dirty: false },
    adapter: "none",
    run: null,
    updates: 10,
    splits: [split("L0", wins[0]), split("L2", wins[1])],
    curve: [],
    training: [
      [1, 0.25],
      [2, 0.5],
    ],
    tokens: 1000 * (seed + 1),
    seconds: 60,
    last: { "gcd/balanced_accuracy": 0.75 },
  };
}

const results = [
  result("start", 0, [40, 20]),
  ...[0, 1, 2].map((seed) => result("plain", seed, [50 + 2 * seed, 0])),
  ...[0, 1, 2].map((seed) => result("gcd", seed, [60 + seed, 30], "plain")),
];

test("intervals: Wilson for one seed, Student's t over several, never inside Wilson's", () => {
  // scipy: stats.t.interval(0.95, 4, 3, stats.sem([1, 2, 3, 4, 5]))
  const t = tEstimate([1, 2, 3, 4, 5]);
  expect(t.value).toBe(3);
  expect(t.low).toBeCloseTo(1.0368, 3);
  expect(t.high).toBeCloseTo(4.9632, 3);
  expect(tEstimate([7])).toEqual({ value: 7, low: null, high: null, seeds: 1 });
  // Wilson 1927, as statsmodels gives it: 0 of 10 and 50 of 100
  expect(successEstimate([{ wins: 0, episodes: 10 }])?.high).toBeCloseTo(0.2775, 4);
  const half = successEstimate([{ wins: 50, episodes: 100 }]);
  expect([half?.low, half?.high]).toEqual([expect.closeTo(0.4038, 4), expect.closeTo(0.5962, 4)]);
  const never = successEstimate([
    { wins: 0, episodes: 10 },
    { wins: 0, episodes: 10 },
  ]);
  expect(never).toEqual({ value: 0, low: 0, high: expect.closeTo(0.2775, 4), seeds: 2 });
  const apart = successEstimate([
    { wins: 10, episodes: 100 },
    { wins: 90, episodes: 100 },
  ]);
  expect(apart).toEqual({ value: 0.5, low: 0, high: 1, seeds: 2 });
  expect(successEstimate([{ wins: 0, episodes: 0 }])).toBeUndefined();
});

test("differences are of runs with the same seed; resampling is always the same", () => {
  const own = results.filter(({ cell }) => cell === "gcd");
  const base = results.filter(({ cell }) => cell === "plain");
  const success = (index: number) => (one: ExperimentResult) => one.splits[index].success;
  const found = pairedDifference(own, base, success(0));
  // 10, 9 and 8 points
  expect(found).toMatchObject({
    value: expect.closeTo(0.09, 12),
    low: expect.closeTo(0.08, 12),
    high: expect.closeTo(0.1, 12),
    seeds: 3,
  });
  expect(pairedDifference(own, base, success(0))).toEqual(found);
  expect(pairedDifference(own, base.toReversed(), success(0))).toEqual(found);
  expect(pairedDifference(own, base, success(1))).toMatchObject({ value: expect.closeTo(0.3, 12) });
  expect(pairedDifference(own.slice(0, 1), base, success(0))).toMatchObject({ low: null, seeds: 1 });
  expect(pairedDifference(own.slice(0, 1), base.slice(1), success(0))).toBeUndefined();
});

test("the tables say what was found and what failed", () => {
  const text = experimentMarkdown(results, {
    name: "two",
    description: "",
    splits: { L0: "seen houses", L2: "" },
    planned: 8,
    failures: [{ id: "gcd__s3", message: "out of\nmemory | all" }],
  });
  expect(text).toMatch(
    /^# two\n\n- 6 of 8 runs are done, 1 failed\n- failed: gcd__s3: out of memory \| all\n- L0: seen houses\n/,
  );
  expect(text).toContain("| start | 1 | 40.0 % (30.9 % to 49.8 %) | 20.0 % (13.3 % to 28.9 %) |");
  expect(text).toContain("| gcd | plain | +9.0 (+8.0 to +10.0, 3 seeds) | +30.0 (+30.0 to +30.0, 3 seeds) |");
  expect(text).toContain("| plain | L0 | pick |");
  expect(text).toContain("| gcd | L2 | 20.0 % |  | 30.0 % | 10.0 % | 6.0 |");
  expect(text).toMatch(/\| gcd \| 10 \| 2000 \(-484.* to 4484.*\) \| 60 \(60 to 60\) \|/);
  expect(text).toContain("| gcd | `gcd/balanced_accuracy` | 0.75 (0.75 to 0.75) |");
});

test("the pictures have a mark for every cell, in both themes", () => {
  const charts = experimentCharts(results);
  expect([...charts.keys()]).toEqual([
    "success_greedy",
    "differences_greedy",
    "types_greedy",
    "habits_greedy",
    "curves_training",
    "cost",
  ]);
  for (const svg of charts.values()) {
    expect(svg).toMatch(/^<svg .*prefers-color-scheme:dark.*<\/svg>$/s);
    expect(svg).not.toMatch(/NaN|undefined|Infinity/);
    for (const cell of ["plain", "gcd"])
      if (!svg.includes("Difference")) expect(svg).toContain(`>${cell}</text>`);
  }
  const circles = (name: string) => charts.get(name)?.match(/<circle [^>]*r="4.2"[^>]*>/g) ?? [];
  expect(circles("success_greedy").length).toBe(6);
  expect(circles("differences_greedy").length).toBe(2);
  // more success lies further right: start 40, plain 52, gcd 61
  const places = circles("success_greedy")
    .slice(0, 3)
    .map((mark) => Number(/cx="([\d.]+)"/.exec(mark)?.[1]));
  expect(places).toEqual([...places].sort((a, b) => a - b));
  expect(new Set(places).size).toBe(3);
});
