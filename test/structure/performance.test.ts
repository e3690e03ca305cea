/** Figures in texts are those of bench/results. */
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { fillDocument } from "../../src/report/bench_document.js";
import { mergeReports, parseBenchReport } from "../../src/report/bench_report.js";

const root = new URL("../../", import.meta.url);
const folder = new URL("bench/results/", root);
const files = readdirSync(folder)
  .filter((name) => name.endsWith(".json"))
  .sort();
const reports = files.map((name) =>
  parseBenchReport(JSON.parse(readFileSync(new URL(name, folder), "utf8")), name),
);

test("each file holds one adapter, and every row the name of a run that has a passport", () => {
  expect(files.length).toBeGreaterThan(0);
  for (const { passports, rows } of reports) {
    expect(new Set(rows.map(({ adapter }) => adapter)).size).toBe(1);
    for (const { run = "" } of rows) expect(passports).toHaveProperty([run, "commit"]);
  }
});

test.each(["docs/performance.md", "README.md"])(
  "tables of %s are drawn from bench/results (uncouple bench --from ... --into ...)",
  (path) => {
    const text = readFileSync(new URL(path, root), "utf8");
    expect(fillDocument(text, mergeReports(reports), path)).toBe(text);
  },
);
