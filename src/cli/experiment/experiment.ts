/** `uncouple experiment`: a matrix of settings, run with several seeds from one start. */
import { join } from "node:path";
import { Option } from "@commander-js/extra-typings";
import { EXIT, UncoupleError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import { allMeasured, measureCells } from "../../host/experiment/coupling.js";
import { keepKnownResults, readKnownResults } from "../../host/experiment/known_results.js";
import {
  EXPERIMENT_FILES,
  type ExperimentPlan,
  type PlannedCell,
  type PlannedRun,
  planExperiment,
  runFolder,
} from "../../host/experiment/plan.js";
import { writeReport } from "../../host/experiment/report.js";
import { type CellFailure, prepareStart, type RunDeps, runCells } from "../../host/experiment/run_cell.js";
import { type RunState, statesOf } from "../../host/experiment/state.js";
import { pathExists } from "../../host/files/files.js";
import { checkWorlds } from "../../host/run/preflight.js";
import type { ResumedRun } from "../../host/run/run_folder.js";
import { RUN_FILES, readRunInfo } from "../../host/run/run_info.js";
import type { TrainLoop } from "../../host/run/train_loop.js";
import { trainLoop } from "../../host/run/train_loop.js";
import type { KeptTuning } from "../../host/tuning/tuning_record.js";
import { wholeNumber } from "../kit/numbers.js";
import { type CliContext, collect, plainCommand, type Register } from "../kit/options.js";
import { type GpuOptions, withGpu } from "../kit/session.js";
import { StopListener, StoppedError } from "../kit/stop_signal.js";
import { noTuneOption } from "../kit/tuning.js";
import { Progress } from "../train/progress.js";
import { sessionFacts } from "../train/train.js";
import { flagSettings } from "../train/train_options.js";
import { runChildren } from "./children.js";
import { cellsNamed } from "./selection.js";

/** Options as commander gives them. */
export interface ExperimentOptions {
  readonly config: string;
  /** `section.field=value`. */
  readonly overrides?: readonly string[];
  readonly only?: string[];
  readonly jobs: number;
  readonly dryRun?: true;
  /** Started by another process of this command. */
  readonly child?: true;
  readonly out?: string;
  /** Files of results that were made elsewhere. */
  readonly results?: string[];
  readonly adapter?: string;
  readonly tune?: boolean;
  readonly cacheDir?: string;
}

/** The command, with a training loop of the caller's choice. */
export function experimentWith(loop: TrainLoop): Register {
  return (program, context) => {
    plainCommand(program, "experiment", "Run a matrix of settings with several seeds, and compare.")
      .argument("[overrides...]", "settings as section.field=value over the section base of the file")
      .requiredOption("-c, --config <file>", "experiment file (YAML)")
      .option(
        "--only <pattern>",
        "run only cells of this name, or cell__sSEED; * stands for anything; may be given again",
        collect,
      )
      .option("--jobs <number>", "processes that run cells at the same time", wholeNumber(1), 1)
      .option("--out <folder>", "folder of the experiment (default: <folder of run folders>/<name>)")
      .option(
        "--results <file>",
        "results.jsonl of runs that were made elsewhere: they are not made again; may be given again",
        collect,
      )
      .addOption(new Option("--child").hideHelp())
      .option("--dry-run", "print one line for each run, and start nothing")
      .option("--adapter <name>", "auto, gpu, lavapipe, swiftshader or a part of an adapter's name")
      .addOption(noTuneOption())
      .option("--cache-dir <folder>", "where the software driver is unpacked")
      .action((overrides, options) => experiment({ ...options, overrides }, context, loop));
  };
}

export const register: Register = experimentWith(trainLoop);

async function experiment(options: ExperimentOptions, context: CliContext, loop: TrainLoop): Promise<void> {
  const { terminal, env } = context;
  const flags = flagSettings({ adapter: options.adapter, tune: options.tune });
  const { config: file, out, overrides } = options;
  const plan = await planExperiment({ file, out, overrides, env, flags });
  const cells = cellsNamed(plan.cells, options.only);
  if (!options.child) await checkWorlds([plan.start, ...cells].map(({ config }) => config));
  for (const results of options.results ?? []) {
    const known = await readKnownResults(plan, results);
    if (!options.dryRun) await keepKnownResults(plan, known);
    terminal.info(`results: ${known.length} runs are done in ${results}`);
  }
  if (options.dryRun) {
    for (const line of stateLines(await statesOf(plan, cells))) terminal.print(line);
    return;
  }
  await runExperiment(plan, cells, options, context, loop);
  terminal.print(join(plan.out, EXPERIMENT_FILES.report));
}

/**
 * Runs what is left of the given cells, measures their coupling where the experiment asks for it, and writes the report.
 * @throws StoppedError after a signal
 * @throws UncoupleError when a cell failed, after the others
 */
export async function runExperiment(
  plan: ExperimentPlan,
  cells: readonly PlannedCell[],
  options: Omit<ExperimentOptions, "only">,
  context: CliContext,
  loop: TrainLoop,
): Promise<void> {
  context.terminal.info(`experiment: ${plan.out}`);
  const states = await statesOf(plan, cells);
  const open = states.filter(({ state }) => state !== "done").map(({ run }) => run as PlannedCell);
  const isMeasured = options.child || (await allMeasured(plan, cells));
  const failures =
    open.length === 0 && isMeasured ? [] : await runAll(plan, { open, cells }, options, context, loop);
  await writeReport(plan);
  if (failures.length === 0) return;
  throw new UncoupleError(
    `[experiment] ${failures.length} of ${cells.length} runs failed: got ${failures.map(({ id, message }) => `${id}: ${message}`).join("; ")}, ` +
      "expected none. Mend the cause and start the same command again.",
  );
}

/** One line a run: name, seed, state, updates. */
function stateLines(states: readonly RunState[]): string[] {
  const width = Math.max(...states.map(({ run }) => run.id.length));
  return states.map(({ run, state, step, reason }) => {
    const progress = step > 0 && state !== "done" ? ` at update ${step}` : "";
    const why = reason === undefined ? "" : `: ${reason.split("\n")[0]}`;
    return `${run.id.padEnd(width)}  seed ${run.seed}  ${run.updates} updates  ${state}${progress}${why}`;
  });
}

/**
 * Runs what is left to run.
 * @throws StoppedError after a signal
 */
async function runAll(
  plan: ExperimentPlan,
  { open, cells: all }: { readonly open: readonly PlannedRun[]; readonly cells: readonly PlannedCell[] },
  options: ExperimentOptions,
  context: CliContext,
  loop: TrainLoop,
): Promise<readonly CellFailure[]> {
  const { terminal } = context;
  const listener = new StopListener({
    source: process,
    announce: (message) => terminal.warn(message),
    exit: (code) => process.exit(code),
  });
  if (options.child) stopWithParent();
  try {
    const cells = open.filter((run): run is PlannedCell => run !== plan.start);
    const running = { loop, listener };
    const runOpen = options.jobs === 1 ? runHere : runApart;
    const failures = open.length === 0 ? [] : await runOpen(plan, cells, options, context, running);
    // another process asked for the cell and measures it
    if (!options.child && !listener.signal.aborted && !(await allMeasured(plan, all)))
      await withExperimentGpu(plan, options, context, running, (deps) => measureCells(plan, all, deps));
    if (!listener.signal.aborted) return failures;
  } finally {
    listener.close();
  }
  await writeReport(plan);
  throw new StoppedError(
    `${listener.reason?.message ?? "stopped"}; the same command goes on`,
    listener.reason?.exitCode ?? EXIT.stopped,
  );
}

/** A child of another process of this command stops when that one is gone: the channel between them ends. */
function stopWithParent(): void {
  process.once("disconnect", () => process.emit("SIGTERM", "SIGTERM"));
  process.channel?.unref();
}

interface Running {
  readonly loop: TrainLoop;
  readonly listener: StopListener;
}

/** All runs in this process, on one device: what was compiled stays compiled. */
async function runHere(
  plan: ExperimentPlan,
  cells: readonly PlannedCell[],
  options: ExperimentOptions,
  context: CliContext,
  running: Running,
): Promise<readonly CellFailure[]> {
  const failures: CellFailure[] = [];
  let left: readonly PlannedCell[] | undefined;
  // a failed device is opened anew for the cells after the one that it failed in
  do {
    const todo: readonly PlannedCell[] = left ?? cells;
    const end = await withExperimentGpu(plan, options, context, running, async (deps) => {
      const start = await prepareStart(plan, deps);
      if (start === undefined) return { left: todo, failures: [] };
      return runCells(plan, todo, start, { ...deps, afterCell: () => writeReport(plan) });
    });
    failures.push(...end.failures);
    left = end.left;
  } while (left.length > 0 && !running.listener.signal.aborted);
  return failures;
}

/** The start here, then each cell in a process of its own, some at a time. */
async function runApart(
  plan: ExperimentPlan,
  cells: readonly PlannedCell[],
  options: ExperimentOptions,
  context: CliContext,
  running: Running,
): Promise<readonly CellFailure[]> {
  const start = await withExperimentGpu(plan, options, context, running, (deps) => prepareStart(plan, deps));
  if (start === undefined) return [];
  return runChildren(plan, cells, {
    jobs: options.jobs,
    signal: running.listener.signal,
    logger: context.terminal,
    argumentsOf: ({ id }) => childArguments(plan, options, id),
    afterCell: () => writeReport(plan),
  });
}

function childArguments(
  plan: ExperimentPlan,
  { config, overrides = [], adapter, tune, cacheDir }: ExperimentOptions,
  id: string,
) {
  return [
    ...["experiment", ...overrides, "--child", "--config", config, "--out", plan.out, "--only", id],
    ...(adapter === undefined ? [] : ["--adapter", adapter]),
    ...(cacheDir === undefined ? [] : ["--cache-dir", cacheDir]),
    ...(tune === false ? ["--no-tune"] : []),
  ];
}

async function withExperimentGpu<T>(
  plan: ExperimentPlan,
  options: ExperimentOptions,
  context: CliContext,
  { loop, listener }: Running,
  action: (deps: RunDeps) => Promise<T>,
): Promise<T> {
  const { device } = plan.start.config;
  const gpu: GpuOptions = {
    adapter: device.adapter ?? "auto",
    preset: device.preset,
    matmul: device.matmul,
    cacheDir: options.cacheDir,
    tune: device.tune,
    tuning: "first_use",
    begun: await tuningsOf([plan.start, ...plan.cells]),
  };
  return withGpu(gpu, context, async (session) =>
    withProgress(context, async (progress) =>
      action({
        runtime: session.runtime,
        session: await sessionFacts(session, context),
        signal: listener.signal,
        stopReason: () => listener.reason?.message,
        logger: progress.logger,
        watch: progress.watch,
        loop,
      }),
    ),
  );
}

/** Kernels that the experiment began with: all its runs use the same. */
async function tuningsOf(runs: readonly PlannedRun[]): Promise<KeptTuning[]> {
  const kept: KeptTuning[] = [];
  for (const run of runs) {
    const folder = runFolder(run);
    if (!(await pathExists(join(folder, RUN_FILES.info)))) continue;
    const { sessions } = await readRunInfo(folder);
    kept.push(...sessions.flatMap(({ tuning }) => (tuning ? [tuning] : [])));
  }
  // the last one counts: that of the oldest run
  return kept.reverse();
}

/** Shows the progress of one run after the other. */
async function withProgress<T>(
  { terminal }: CliContext,
  action: (shown: { logger: Logger; watch: NonNullable<RunDeps["watch"]> }) => Promise<T>,
): Promise<T> {
  let progress: Progress | undefined;
  const logger: Logger = {
    info: (message) => (progress?.logger(terminal) ?? terminal).info(message),
    warn: (message) => (progress?.logger(terminal) ?? terminal).warn(message),
  };
  const watch = ({ id, updates }: PlannedRun, { folder, checkpoint }: ResumedRun) => {
    progress?.stop();
    terminal.info(`run: ${id}`);
    progress = new Progress({
      stream: terminal.errorStream,
      isLive: terminal.isLive,
      total: updates,
      done: checkpoint?.step ?? 0,
      clock: () => performance.now(),
      print: (line) => terminal.info(`${id}: ${line}`),
    });
    return progress.watch(folder);
  };
  try {
    return await action({ logger, watch });
  } finally {
    progress?.stop();
  }
}
