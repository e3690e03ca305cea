/** `uncouple bench`: correctness and speed of every kernel and of whole steps, beside other libraries. */
import { Option } from "@commander-js/extra-typings";
import type { Effort } from "../../../bench/measure.js";
import { PEER_NAMES } from "../../../bench/peers.js";
import { benchNames, PROFILED, runSuite } from "../../../bench/suite.js";
import { CheckError, ConfigError } from "../../core/errors.js";
import { checkHalf } from "../../gpu/device_facts.js";
import { selfTest } from "../../gpu/self_test.js";
import { beforeWork } from "../../host/files/before_work.js";
import { readJsonFile } from "../../host/files/json_file.js";
import { Launcher } from "../../kernels/index.js";
import { compareWithBaseline, describeSlower, parsePercentage } from "../../report/bench_baseline.js";
import {
  type BenchReport,
  mergeReports,
  parseBenchReport,
  runReport,
  withRows,
} from "../../report/bench_report.js";
import { type BenchRow, PROGRAMS } from "../../report/bench_rows.js";
import { type CliContext, collect, gpuCommand, type Register } from "../kit/options.js";
import { type GpuSession, withGpu } from "../kit/session.js";
import { noTuneOption, tuningLine, tuningTable } from "../kit/tuning.js";
import { precisionOption } from "../train/train_options.js";
import { registerModel } from "./bench_model.js";
import type { BenchOptions } from "./bench_options.js";
import { checkOutputs, printReport, writeReport } from "./bench_output.js";
import { benchPassport } from "./bench_passport.js";
import { openBenchPeers } from "./bench_peers.js";
import { saveReport } from "./bench_save.js";
import { registerSize } from "./bench_size.js";
import { registerWorlds } from "./bench_worlds.js";

export const register: Register = (program, context) => {
  const command = gpuCommand(program, "bench", "Check every kernel against its reference and measure it.")
    .argument(
      "[op]",
      "only ops whose name contains this, or one of several: matmul,attention; also kernels (all ops), training_step, coupling, gram_curves, rollout, iteration, first_step, scaling",
    )
    .option("--filter <text>", "the same as [op]")
    .addOption(
      new Option("--shape <pattern>", "only shapes that match, as 512x512, nano or N1024").argParser(
        readPattern,
      ),
    )
    .option("--peers", "measure other libraries too (first: npm --prefix bench/peers ci)")
    .addOption(
      new Option("--peer <names...>", "only these of them").choices(PEER_NAMES).implies({ peers: true }),
    )
    .addOption(precisionOption())
    .option(
      "--tune",
      "measure again which kernels suit this adapter, keep the result; without [op], stop there",
    )
    .addOption(noTuneOption())
    .addOption(
      new Option(
        "--profile",
        `where the time of ${PROFILED.join(", ")} goes, kernel by kernel, in place of the other figures`,
      ).conflicts(["peers", "peer"]),
    )
    .option("--quick", "small shapes and few repeats")
    .addOption(new Option("--repeats <count>", "samples of each row").argParser(readCount))
    .option("--json", "print the rows as one JSON array")
    .addOption(new Option("--csv", "print the rows as CSV").conflicts("json"))
    .addOption(new Option("--markdown", "print the rows as a Markdown table").conflicts(["json", "csv"]))
    .addOption(
      new Option(
        "--save [path]",
        "put rows and passports into a JSON file, in place of older ones; default: bench/results/, by adapter",
      ).argParser(readSavePath),
    )
    .option("--svg <path>", "write a page of results as SVG")
    .option("--roofline <path>", "write the roofline picture as SVG")
    .option("--curves <path>", "write the curves of op scaling as SVG")
    .addOption(
      new Option("--into <file>", "put tables between the marks of a Markdown text (repeatable)").argParser(
        collect,
      ),
    )
    .addOption(
      new Option(
        "--from <file>",
        "take the rows of a saved benchmark, measure nothing (repeatable)",
      ).argParser(collect),
    )
    .option("--baseline <file>", "compare with a saved benchmark; exit with 5 when a row is slower")
    .addOption(
      new Option("--fail-above <percent>", "by how much a row may be slower than the baseline")
        .argParser((text) => parsePercentage(text, "--fail-above"))
        .default(0.1, "10%"),
    )
    .action(async (op, options) => {
      await bench({ ...options, filter: op ?? options.filter }, context);
    });
  command.enablePositionalOptions();
  registerModel(command, context);
  registerSize(command, context);
  registerWorlds(command, context);
};

function readCount(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count > 0) return count;
  throw new ConfigError(`[bench] --repeats is wrong: got ${text}, expected a positive integer. Correct it.`);
}

function readPattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new ConfigError(
      `[bench] --shape is wrong: got "${text}", expected a regular expression (${(error as Error).message}). Correct it.`,
      { cause: error },
    );
  }
}

async function bench(options: BenchOptions, context: CliContext): Promise<void> {
  const { terminal } = context;
  // wrong names and files that cannot be read are known before minutes of measuring
  if (options.from === undefined) nameFilter(options, measuredNames(options));
  if (options.tune && options.filter === undefined) return tuneOnly(options, context);
  const baseline =
    options.baseline === undefined
      ? undefined
      : await beforeWork(() => readReport(options.baseline as string));
  await checkOutputs(options);
  let report =
    options.from === undefined
      ? await withGpu({ ...options, tuning: wishOf(options) }, context, (session) =>
          measureAll(session, options, context),
        )
      : chosenRows(await beforeWork(() => readReports(options.from as string[])), options);
  checkMatched(report, options);
  const comparison = baseline && compareWithBaseline(report.rows, baseline.rows, options.failAbove);
  if (comparison) report = { ...report, rows: comparison.rows };
  printReport(report, options, terminal);
  await writeReport(report, options, terminal);
  failOnWrongResults(report.rows);
  if (!comparison) return;
  terminal.info(`${comparison.compared} rows compared with ${options.baseline}`);
  if (comparison.slower.length > 0) {
    const list = comparison.slower.map(describeSlower).join("; ");
    throw new CheckError(
      `[bench] slower than the baseline: got ${list}, expected at most ${Number((100 * options.failAbove).toPrecision(6))} % more. Find the change that did it, or save a new baseline.`,
    );
  }
}

/** An op that follows the option would be taken for its file, and all ops would be measured. @throws ConfigError then */
function readSavePath(path: string): string {
  if (path.endsWith(".json")) return path;
  throw new ConfigError(
    `[bench] --save is wrong: got "${path}", expected a file that ends in .json, or none. Name the op before the options.`,
  );
}

const wishOf = ({ tune }: BenchOptions) => (tune ? "again" : "first_use");

/** Measures the variants of kernels and shows what came of it. */
async function tuneOnly(options: BenchOptions, context: CliContext): Promise<void> {
  const { terminal } = context;
  const { tuning } = await withGpu({ ...options, tuning: "again" }, context, async (session) => session);
  const results = tuning.record?.results ?? [];
  if (options.json) terminal.printJson({ key: tuning.key, results });
  else terminal.print(tuningTable(results));
  terminal.info(tuningLine(tuning));
}

async function readReport(file: string): Promise<BenchReport> {
  return parseBenchReport(await readJsonFile(file), file);
}

/** Several files as one report; a measurement that two of them have is taken from the first. */
async function readReports(files: readonly string[]): Promise<BenchReport> {
  return mergeReports(await Promise.all(files.map(readReport)));
}

function chosenRows(report: BenchReport, options: BenchOptions): BenchReport {
  const wants = rowFilter(options, [...new Set(report.rows.map(({ op }) => op))]);
  return withRows(report, report.rows.filter(wants));
}

/** @throws ConfigError when no shape of the wanted ops matched: a table of peaks alone would look like a result */
function checkMatched({ rows }: BenchReport, { shape }: BenchOptions): void {
  if (shape === undefined || rows.some(({ op }) => op !== "peak")) return;
  throw new ConfigError(
    `[bench] no shape matches: got --shape "${shape.source}", expected a pattern of some shapes, such as 512x512, nano or N1024. ` +
      "Correct it, or leave it out to see all.",
  );
}

/** Peaks always stay: shares and pictures need them. */
function rowFilter(options: BenchOptions, names: readonly string[]) {
  const wantsOp = nameFilter(options, names);
  const { shape } = options;
  return (row: BenchRow) => row.op === "peak" || (wantsOp(row.op) && (!shape || shape.test(row.shape)));
}

const measuredNames = ({ profile }: BenchOptions): readonly string[] => (profile ? PROFILED : benchNames());

/** @throws ConfigError when nothing has such a name */
function nameFilter({ filter = "" }: BenchOptions, names: readonly string[]): (name: string) => boolean {
  const parts = filter.split(",").map((part) => part.trim());
  const isNamed = (name: string, part: string) =>
    part === "kernels" ? !PROGRAMS.includes(name) : name.includes(part);
  const unknown = parts.find((part) => !names.some((name) => isNamed(name, part)));
  if (unknown !== undefined && names === PROFILED) {
    throw new ConfigError(
      `[bench] nothing of this name has a profile: got "${unknown}", expected a part of one of ${names.join(", ")}. Correct the filter, or leave out --profile.`,
    );
  }
  if (unknown !== undefined) {
    throw new ConfigError(
      `[bench] no op of this name: got "${unknown}", expected kernels (all ops) or a part of one of ${names.join(", ")}. Correct the filter.`,
    );
  }
  return (name) => parts.some((part) => isNamed(name, part));
}

async function measureAll(
  session: GpuSession,
  options: BenchOptions,
  context: CliContext,
): Promise<BenchReport> {
  const { terminal } = context;
  const launcher = new Launcher(session.runtime);
  if (options.tune) terminal.info(tuningTable(session.tuning.record?.results ?? []));
  terminal.info(tuningLine(session.tuning));
  const wantsOp = nameFilter(options, measuredNames(options));
  const { clock } = await selfTest(session.runtime.device);
  terminal.info(
    clock
      ? `GPU clock: steps of ${clock.step} ns, smallest difference seen ${clock.smallest} ns`
      : "no GPU clock: times are wall clock only",
  );
  const quick = options.quick === true;
  const effort: Effort = {
    repeats: options.repeats ?? (quick ? 5 : 15),
    sampleMs: quick ? 10 : 50,
    budgetMs: quick ? 2000 : 10_000,
  };
  const passport = await benchPassport(session, options, context, clock);
  const { choice, runtime } = session;
  const { precision = "f32" } = options;
  if (precision === "mixed") checkHalf(runtime.facts);
  const { peers, close } = await openBenchPeers(session, options, context);
  try {
    const rows = await runSuite({
      launcher,
      adapter: adapterName(choice),
      peers,
      quick,
      precision,
      effort,
      profile: options.profile === true,
      firstStep: {
        env: context.env,
        job: {
          adapter: choice.requested,
          preset: options.preset,
          cacheFolder: options.cacheDir,
          matmulPrecision: runtime.facts.matmulPrecision,
          precision,
          tuning: runtime.facts.tuning,
        },
      },
      wantsOp,
      wantsShape: (shape) => !options.shape || options.shape.test(shape),
      onProgress: (what) => terminal.info(`measuring ${what}`),
      // a run that is killed for its length leaves what it had
      onRows: async (soFar) => {
        if (options.save) await saveReport(runReport(passport, soFar), options.save);
      },
    });
    return runReport(passport, rows);
  } finally {
    await close();
  }
}

/** A driver on the CPU says all there is to know; GPUs of different make may have the same driver. */
function adapterName({ isSoftware, device, driver }: GpuSession["choice"]): string {
  return isSoftware || !device ? driver || device : `${device} (${driver})`;
}

function failOnWrongResults(rows: readonly BenchRow[]): void {
  const wrong = rows.find((row) => row.implementation === "uncouple" && row.error?.includes("wrong "));
  if (!wrong) return;
  throw new CheckError(
    `[bench] ${wrong.op} ${wrong.direction} at ${wrong.shape}: ${wrong.error}. Report this with the output of \`uncouple doctor\`.`,
  );
}
