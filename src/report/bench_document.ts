/** Tables in a Markdown text that are made from saved benchmarks, so that nobody types a figure. */
import { DataError } from "../core/errors.js";
import type { BenchReport } from "./bench_report.js";
import { TABLES } from "./bench_tables.js";

/** `<!-- bench NAME -->` begins a table, `<!-- end -->` ends it; both stand alone in their lines. */
const BLOCK = /^<!-- bench (\w+) -->\n(?:[\s\S]*?\n)??<!-- end -->$/gm;
const MARK = /^<!-- (?:bench|end)\b.*$/gm;

/** @throws DataError for a text without marks, for unknown tables, and for marks that do not come in pairs */
export function checkMarks(text: string, file: string): void {
  const blocks = [...text.matchAll(BLOCK)];
  const marks = [...text.matchAll(MARK)];
  if (blocks.length === 0 || marks.length !== 2 * blocks.length) {
    throw new DataError(
      `[${file}] marks of tables are wrong: got ${marks.length} marks and ${blocks.length} tables, expected \`<!-- bench NAME -->\` and \`<!-- end -->\` in pairs, each alone in its line. Correct them.`,
    );
  }
  const unknown = blocks.find(([, name]) => !Object.hasOwn(TABLES, name));
  if (unknown) {
    throw new DataError(
      `[${file}] no such table: got "${unknown[1]}", expected one of ${Object.keys(TABLES).join(", ")}. Correct the mark.`,
    );
  }
}

/**
 * The text with every table between marks drawn anew; all else stays.
 * @param file name for messages
 * @throws DataError as `checkMarks`
 */
export function fillDocument(text: string, report: BenchReport, file: string): string {
  checkMarks(text, file);
  return text.replaceAll(
    BLOCK,
    (_, name: string) => `<!-- bench ${name} -->\n\n${TABLES[name](report)}\n\n<!-- end -->`,
  );
}
