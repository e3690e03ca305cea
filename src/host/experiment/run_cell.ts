/** Runs the start and the cells of an experiment; each goes on where it was stopped or killed. */
import { join } from "node:path";
import { DeviceError, UncoupleError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import type { Evaluation, RunSink } from "../../core/run_record.js";
import { checkHalf } from "../../gpu/device_facts.js";
import type { Runtime } from "../../gpu/runtime.js";
import type { ExperimentResult } from "../../report/experiment_rows.js";
import { pathExists } from "../files/files.js";
import type { ResumedRun, SessionFacts } from "../run/run_folder.js";
import { RUN_FILES, readRunInfo } from "../run/run_info.js";
import type { TrainLoop } from "../run/train_loop.js";
import { trainRun } from "../run/train_run.js";
import { evaluateModel } from "./evaluate_model.js";
import { weightsSha256 } from "./fingerprint.js";
import { type ExperimentPlan, type PlannedCell, type PlannedRun, runFolder } from "./plan.js";
import { checkSame, readRecord, writeRecord } from "./records.js";
import { curvePoint, programOf, type ResultFacts, resultOfRun, splitResult } from "./results.js";

/** What runs need from their surroundings. */
export interface RunDeps {
  readonly runtime: Runtime;
  readonly session: SessionFacts;
  /** Aborted when the current run should end with a checkpoint, and no other begin. */
  readonly signal: AbortSignal;
  readonly stopReason: () => string | undefined;
  readonly logger: Logger;
  /** As in `trainRun`. */
  readonly watch?: (run: PlannedRun, opened: ResumedRun) => RunSink;
  /** Default: the real one. */
  readonly loop?: TrainLoop;
}

/**
 * Makes the start, or checks the one that was made before.
 * @returns SHA-256 of its weights; undefined when a stop was asked for
 * @throws ConfigError when it is not the one that the experiment began with
 */
export async function prepareStart(plan: ExperimentPlan, deps: RunDeps): Promise<string | undefined> {
  const { start, out } = plan;
  const record = await readRecord(out, start);
  if (record) checkSame(out, start, record, null);
  const isDone = record?.state === "done";
  if (start.trained && !isDone) {
    if (!record) await writeRecord(out, start, begun(start, null));
    if (!(await recorded(plan, start, null, deps.logger, () => train(start, deps)))) return undefined;
  }
  const sha256 = await weightsSha256(start.model);
  if (record) checkSame(out, start, record, sha256);
  if (isDone) return sha256;
  const facts: ResultFacts = {
    cell: "start",
    kind: "start",
    levels: {},
    baseline: null,
    overrides: {},
    start_sha256: sha256,
  };
  const result = start.trained
    ? await resultOfRun(plan, start, facts)
    : await resultOfModel(plan, facts, deps);
  if (result === undefined) return undefined;
  await writeRecord(out, start, { ...begun(start, sha256), state: "done", result });
  return sha256;
}

/** The start of an experiment that trains none: only evaluated. @returns undefined when a stop was asked for */
async function resultOfModel(
  { start }: ExperimentPlan,
  facts: ResultFacts,
  { runtime, session, signal, logger }: RunDeps,
): Promise<ExperimentResult | undefined> {
  const onResult = ({ split, mode, success }: Evaluation) =>
    logger.info(`start, ${split}, ${mode}: success ${(100 * success).toFixed(1)} %`);
  const evaluations = await evaluateModel(start.config, { runtime, signal, onResult });
  if (signal.aborted) return undefined;
  return {
    ...facts,
    seed: start.seed,
    config_sha256: start.configSha256,
    ...programOf(session),
    run: null,
    updates: 0,
    splits: evaluations.map(splitResult),
    curve: evaluations.map(curvePoint),
    training: [],
    tokens: 0,
    seconds: 0,
    last: {},
  };
}

/**
 * Runs one cell with one seed, from the start that all have.
 * @param startSha256 of the weights that the experiment began with
 * @returns false when a stop was asked for
 * @throws ConfigError when the cell was begun with other settings or another start, or the start's files are others now
 * @throws what training throws, after recording the failure
 */
async function runCell(
  plan: ExperimentPlan,
  run: PlannedCell,
  startSha256: string,
  deps: RunDeps,
): Promise<boolean> {
  const { out } = plan;
  const record = await readRecord(out, run);
  if (record) checkSame(out, run, record, startSha256);
  if (record?.state === "done") return true;
  const loaded = await weightsSha256(plan.start.model);
  checkSame(out, run, begun(run, startSha256), loaded);
  await writeRecord(out, run, begun(run, startSha256));
  return recorded(plan, run, startSha256, deps.logger, async () => {
    if (!(await train(run, deps))) return false;
    const { cell, overrides } = run;
    const result = await resultOfRun(plan, run, {
      cell: cell.name,
      kind: "cell",
      levels: cell.levels,
      baseline: cell.baseline ?? null,
      overrides,
      start_sha256: startSha256,
    });
    await writeRecord(out, run, { ...begun(run, startSha256), state: "done", result });
    return true;
  });
}

function begun(run: PlannedRun, start: string | null) {
  return { state: "begun", config_sha256: run.configSha256, start_sha256: start } as const;
}

/** Records a failure of `action` and throws it on. */
async function recorded(
  { out }: ExperimentPlan,
  run: PlannedRun,
  start: string | null,
  logger: Logger,
  action: () => Promise<boolean>,
): Promise<boolean> {
  try {
    return await action();
  } catch (error) {
    const failed = { ...begun(run, start), state: "failed", error: messageOf(error) } as const;
    // the first error is the one to show; a full disk may keep the record from being written as well
    await writeRecord(out, run, failed).catch((failure) =>
      logger.warn(`${run.id}: its failure was not recorded: ${messageOf(failure)}`),
    );
    throw error;
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** @returns false when a stop was asked for */
async function train(run: PlannedRun, deps: RunDeps): Promise<boolean> {
  const { config, resolved, input } = run;
  if (config.model.precision === "mixed") checkHalf(deps.runtime.facts);
  const folder = runFolder(run);
  const known = await knownRun(folder);
  if (known === "finished") return true;
  const { finished } = await trainRun({
    config,
    resolved,
    input,
    run: known === "begun" ? folder : undefined,
    runtime: deps.runtime,
    session: deps.session,
    signal: deps.signal,
    stopReason: deps.stopReason,
    logger: deps.logger,
    loop: deps.loop,
    watch: deps.watch && ((opened) => (deps.watch as NonNullable<RunDeps["watch"]>)(run, opened)),
  });
  return finished;
}

/** What lies in a run's folder; one that a killed process left before its run had begun counts as none. */
async function knownRun(folder: string): Promise<"none" | "begun" | "finished"> {
  if (!(await pathExists(join(folder, RUN_FILES.info)))) return "none";
  const { status } = await readRunInfo(folder);
  return status === "finished" ? "finished" : "begun";
}

/** A cell that failed. */
export interface CellFailure {
  readonly id: string;
  readonly message: string;
}

export interface CellsEnd {
  /** Not tried: a stop was asked for, or the device failed. */
  readonly left: readonly PlannedCell[];
  readonly failures: readonly CellFailure[];
}

/**
 * Runs cells one after the other on one device. A failing cell does not keep the others from running; a failed device does:
 * the caller opens it anew for what is left.
 */
export async function runCells(
  plan: ExperimentPlan,
  cells: readonly PlannedCell[],
  startSha256: string,
  deps: RunDeps & { readonly afterCell?: () => Promise<void> },
): Promise<CellsEnd> {
  const failures: CellFailure[] = [];
  for (const [index, cell] of cells.entries()) {
    if (deps.signal.aborted) return { left: cells.slice(index), failures };
    try {
      if (!(await runCell(plan, cell, startSha256, deps))) return { left: cells.slice(index), failures };
    } catch (error) {
      failures.push({ id: cell.id, message: messageOf(error) });
      deps.logger.warn(`${cell.id} failed: ${messageOf(error)}`);
      if (!(error instanceof UncoupleError) && error instanceof Error && error.stack)
        deps.logger.info(error.stack);
      if (error instanceof DeviceError) return { left: cells.slice(index + 1), failures };
    }
    await deps.afterCell?.();
  }
  return { left: [], failures };
}
