import { expect, test } from "vitest";
import { DataError } from "../../src/core/errors.js";
import { fillDocument } from "../../src/report/bench_document.js";
import { mergeReports, runReport } from "../../src/report/bench_report.js";
import type { BenchRow } from "../../src/report/bench_rows.js";
import { TABLES } from "../../src/report/bench_tables.js";

const head = { op: "matmul", direction: "forward", dtype: "f32", implementation: "uncouple" } as const;
const shape = "512x512x512 nn";
const software = runReport(
  { date: "2001", preset: "fast", command: "uncouple bench matmul", driver: "Soft" },
  [
    { ...head, shape, adapter: "Soft 1.0", medianMs: 10, gflops: 20, fmaShare: 0.25 },
    { ...head, shape, adapter: "Soft 1.0", implementation: "other", medianMs: 25, gflops: 8 },
    { ...head, shape, adapter: "Soft 1.0", implementation: "broken", error: "not installed" },
    { ...head, shape: "8x8x8 nn", adapter: "Soft 1.0", error: "wrong result at [0, 0]" },
  ],
);
const hardware = runReport({ date: "2002", preset: "fast" }, [
  { ...head, shape, adapter: "Card (1.0)", medianMs: 1, gflops: 200 },
  {
    ...head,
    op: "training_step",
    direction: "step",
    shape: "nano",
    adapter: "Card (1.0)",
    medianMs: 3,
  } as BenchRow,
]);
const report = mergeReports([software, hardware]);

const TEXT = `# Figures

<!-- bench products -->
old | figures
<!-- end -->

Words.

<!-- bench passports -->
<!-- end -->
`;

test("tables between marks are drawn anew, twice the same, and the rest stays", () => {
  const once = fillDocument(TEXT, report, "a.md");
  expect(once).not.toContain("old | figures");
  expect(once).toMatch(
    /^# Figures\n\n<!-- bench products -->\n\n\*\*Soft 1\.0\*\*, preset fast\n\n\| shape \|/,
  );
  expect(once).toContain("\n\nWords.\n\n");
  expect(once).toContain("| 2001 | Soft |  | `uncouple bench matmul` |");
  expect(fillDocument(once, report, "a.md")).toBe(once);
});

test("each adapter has a table of its own: our figures, and how many times slower peers are", () => {
  const [soft, card] = TABLES.products(report).split("**Card (1.0)**");
  expect(soft).toContain("| shape | dtype | median ms | GFLOP/s | nearest peak | other | broken |");
  expect(soft).toContain("| 512x512x512 nn | f32 | 10 | 20 | arithmetic 25 % | 2.5x | fails |");
  expect(soft).toContain("| 8x8x8 nn | f32 | wrong result at [0, 0] |");
  expect(card).toContain("| 512x512x512 nn | f32 | 1 | 200 |");
});

test("figures of two runs are not divided by each other", () => {
  const alone = runReport({ date: "2003", preset: "fast" }, [{ ...software.rows[0], medianMs: 5 }]);
  expect(TABLES.products(mergeReports([alone, software]))).toMatch(/\| 5 \| 20 \| arithmetic 25 % \| {2}\|/);
});

test("every table says when there is nothing", () => {
  for (const [name, draw] of Object.entries(TABLES)) {
    if (name !== "passports") expect(draw({ passports: {}, rows: [] })).toBe("Nobody has measured this yet.");
  }
});

test.each([
  ["no marks", "# Figures", /got 0 marks and 0 tables/],
  ["a mark without an end", "<!-- bench products -->\n", /got 1 marks and 0 tables/],
  ["an unknown table", TEXT.replace("products", "wishes"), /got "wishes", expected one of .*products/],
])("%s is refused", (_, text, message) => {
  expect(() => fillDocument(text, report, "a.md")).toThrow(DataError);
  expect(() => fillDocument(text, report, "a.md")).toThrow(message);
});

test("profiles are drawn as shares by cause, and as the kernels that take most", () => {
  const part = { launches: 2, sizes: "N4" };
  const row: BenchRow = {
    ...head,
    op: "profile",
    direction: "step",
    shape: "nano",
    adapter: "Soft 1.0",
    medianMs: 10,
    unprofiledMs: 9,
    dispatches: 4,
    parts: [
      { ...part, cause: "products", kernel: "matmul.nn", ms: 6, share: 0.6, gflops: 20, fmaShare: 0.5 },
      { ...part, cause: "products", kernel: "matmul.tn", ms: 0.2, share: 0.02, gflops: 20 },
      { ...part, cause: "gaps and host", kernel: "", sizes: "", launches: 0, ms: 3.8, share: 0.38 },
    ],
  };
  const profile = runReport({ date: "2003" }, [row]);
  expect(TABLES.profile(profile).split("\n").slice(2)).toEqual([
    "| direction | shape | ms | ms without timestamps | dispatches | products | gaps and host |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    "| step | nano | 10 | 9 | 4 | 62.0 % | 38.0 % |",
  ]);
  expect(TABLES.profile_kernels(profile).split("\n").slice(4)).toEqual([
    "| step | nano | products | matmul.nn | N4 | 2 | 6 | 60.0 % | 20 |  | arithmetic 50 % |",
  ]);
});
