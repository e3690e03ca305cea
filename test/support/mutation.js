/**
 * Plugins of Stryker for `npm run mutate`: a random sample of the mutants, a table of shares as docs/mutation.md has it, and a
 * runner that notices test files which cannot be loaded.
 *
 * MUTATION_SHARE  0 to 1, each mutant's chance of being judged; without it all are
 * MUTATION_SEED   another sample; default 1
 *
 * A mutant is drawn by a hash of the seed, of its place and of what it changes: alone, whichever other files are mutated. Stryker
 * has no word for "not drawn": its own report counts these mutants among the compile errors, which its scores leave out. It does
 * not ask about mutants that no test covers, so only this table counts those by the sample.
 */
import { createHash } from "node:crypto";
import { relative, sep } from "node:path";
import { strykerPlugins as vitestPlugins } from "@stryker-mutator/vitest-runner";

/** @throws Error for a share that is none */
function shareFrom(environment) {
  const text = environment.MUTATION_SHARE ?? "1";
  const share = Number(text);
  if (!(share > 0 && share <= 1)) {
    throw new Error(
      `[MUTATION_SHARE] no share: got ${JSON.stringify(text)}, expected a number above 0 and up to 1. Write 0.1 for a tenth.`,
    );
  }
  return share;
}

/**
 * Whether a mutant is in the sample.
 * @param mutant file (relative, with "/"), first line (from 1) and column, mutator and replacement
 */
export function drawn({ file, line, column, mutator, replacement }, environment) {
  const seed = environment.MUTATION_SEED ?? "1";
  const hash = createHash("sha256").update(JSON.stringify([seed, file, line, column, mutator, replacement]));
  return hash.digest().readUInt32LE(0) < shareFrom(environment) * 2 ** 32;
}

/** Inside Stryker lines count from 0. */
const sample = {
  init: async () => void shareFrom(process.env),
  check: async (mutants) =>
    Object.fromEntries(
      mutants.map(({ id, fileName, location, mutatorName, replacement }) => {
        const file = relative(process.cwd(), fileName).split(sep).join("/");
        const { line, column } = location.start;
        return drawn({ file, line: line + 1, column, mutator: mutatorName, replacement }, process.env)
          ? [id, { status: "passed" }]
          : [id, { status: "compileError", reason: "not drawn" }];
      }),
    ),
};

/**
 * Markdown rows of a report in the schema of mutation-testing-elements: of each file and of all together its mutants, how many of
 * them were judged, and how many were killed (a test failed, or did not end).
 * @param interval of a share: `wilsonInterval` of `src/core/statistics.ts`
 * @throws Error when a report was made with another sample
 */
export function shareTable(report, interval, environment) {
  const rows = [];
  const total = { mutants: 0, judged: 0, killed: 0 };
  for (const [file, { mutants }] of Object.entries(report.files)) {
    const counts = { mutants: 0, judged: 0, killed: 0 };
    for (const { location, mutatorName, replacement, status, statusReason } of mutants) {
      if (status === "Ignored") continue;
      counts.mutants++;
      // in reports columns count from 1, too
      const { line, column } = location.start;
      const asked = drawn({ file, line, column: column - 1, mutator: mutatorName, replacement }, environment);
      const left = status === "CompileError" && statusReason === "not drawn";
      if (status !== "NoCoverage" && asked === left) {
        throw new Error(
          `[${file}:${line}] not the sample of this report: got a mutant ${left ? "left out" : "judged"}, expected it ` +
            `${left ? "judged" : "left out"}. Use MUTATION_SHARE and MUTATION_SEED of its run.`,
        );
      }
      if (!asked) continue;
      counts.judged++;
      if (status === "Killed" || status === "Timeout" || status === "RuntimeError") counts.killed++;
    }
    rows.push([`\`${file}\``, counts]);
    for (const name of Object.keys(total)) total[name] += counts[name];
  }
  rows.push(["together", total]);
  const percent = (share) => `${(100 * share).toFixed(0)} %`;
  return [
    "| file | mutants | judged | killed | share | 95 % |",
    "|---|---:|---:|---:|---:|---|",
    ...rows.map(([name, { mutants, judged, killed }]) => {
      const { share, low, high } = interval(killed, judged);
      const limits = judged < mutants ? `${percent(low)} to ${percent(high)}` : "";
      return `| ${name} | ${mutants} | ${judged} | ${killed} | ${judged > 0 ? percent(share) : ""} | ${limits} |`;
    }),
  ].join("\n");
}

const shares = {
  onMutationTestReportReady(report) {
    this.report = report;
  },
  /** Built by `npm ci`; read late, so that nothing but the table needs it. */
  async wrapUp() {
    if (this.report === undefined) return;
    const { wilsonInterval } = await import("../../dist/src/core/statistics.js");
    console.log(`\n${shareTable(this.report, wilsonInterval, process.env)}\n`);
  },
};

/**
 * Stryker's runner for Vitest looks at tests alone. A file whose top level throws has none, so that mutants which only that code
 * notices would survive: here such a file counts as one failed test.
 */
function vitestWithFiles(injector) {
  const runner = vitestPlugins[0].factory(injector);
  const run = runner.run.bind(runner);
  runner.run = async (options) => {
    const result = await run(options);
    if (result.status === "complete") result.tests.push(...unloaded(runner.ctx.state.getFiles()));
    return result;
  };
  return runner;
}
vitestWithFiles.inject = ["$injector"];

/** One failed test for each file that failed without one. @param files Vitest's record of what it ran */
export function unloaded(files) {
  return files
    .filter(({ tasks, result }) => result?.state === "fail" && tasks.length === 0)
    .map(({ name, result }) => ({
      id: `${name}#`,
      name,
      timeSpentMs: 0,
      // TestStatus.Failed
      status: 1,
      failureMessage: result.errors?.[0]?.message ?? "the file cannot be loaded",
    }));
}

export const strykerPlugins = [
  { kind: "Checker", name: "sample", value: sample },
  { kind: "Reporter", name: "shares", value: shares },
  { kind: "TestRunner", name: "vitest_files", factory: vitestWithFiles },
];
