/** Says at the end of a test run what was skipped and for the want of what. Where UNCOUPLE_TESTS_MUST_RUN is 1, as in CI,
 *  a skipped test is a failure. */
import type { Reporter, TestCase, TestModule } from "vitest/node";

export default class NotRunReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const skipped = modules.flatMap((module) => [...module.children.allTests("skipped")]);
    const byNote = new Map<string, TestCase[]>();
    for (const test of skipped) {
      // tests left out by their name or by the operating system have no note
      const result = test.result();
      const note = ("note" in result && result.note) || "another machine, or were not asked for.";
      byNote.set(note, [...(byNote.get(note) ?? []), test]);
    }
    for (const [note, { length }] of byNote) {
      const subject =
        length === 1 ? "1 test or group of tests needs" : `${length} tests or groups of tests need`;
      process.stderr.write(`\nNOT RUN: ${subject} ${note}\n`);
    }
    if (process.env.UNCOUPLE_TESTS_MUST_RUN !== "1" || skipped.length === 0) return;
    for (const test of skipped)
      process.stderr.write(`  skipped: ${test.module.moduleId}: ${test.fullName}\n`);
    process.stderr.write("FAILED: UNCOUPLE_TESTS_MUST_RUN is 1, so every test has to run.\n");
    process.exitCode = 1;
  }
}
