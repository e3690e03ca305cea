/** Cells in processes of their own: each runs this program for one cell. */
import { type ChildProcess, spawn } from "node:child_process";
import { EXIT } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import type { ExperimentPlan, PlannedCell } from "../../host/experiment/plan.js";
import { readRecord } from "../../host/experiment/records.js";
import type { CellFailure } from "../../host/experiment/run_cell.js";

export interface ChildrenOptions {
  /** Processes at the same time. */
  readonly jobs: number;
  /** Aborted when the cells that run should end with a checkpoint, and no other begin. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /** Arguments of this program that run one cell. */
  readonly argumentsOf: (cell: PlannedCell) => readonly string[];
  readonly afterCell: () => Promise<void>;
}

/** Runs all cells, or those begun before a stop was asked for. */
export async function runChildren(
  plan: ExperimentPlan,
  cells: readonly PlannedCell[],
  options: ChildrenOptions,
): Promise<CellFailure[]> {
  const waiting = [...cells];
  const failures: CellFailure[] = [];
  const work = async () => {
    for (let cell = waiting.shift(); cell !== undefined && !options.signal.aborted; cell = waiting.shift()) {
      options.logger.info(`run: ${cell.id}`);
      const end = await runChild(options.argumentsOf(cell), options.signal);
      // also one that was ended before it could listen
      if (options.signal.aborted && end.code !== EXIT.ok) continue;
      const failure = end.code === EXIT.ok ? undefined : await failureOf(plan, cell, end);
      if (failure) {
        failures.push(failure);
        options.logger.warn(`${cell.id} failed: ${failure.message}`);
      } else options.logger.info(`${cell.id} is done`);
      await options.afterCell();
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, work));
  return failures;
}

interface ChildEnd {
  readonly code: number | null;
  /** What it wrote to stderr last. */
  readonly tail: string;
}

const TAIL = 2000;

/**
 * One process. It gets no signals of the terminal, which would reach it twice: what it hears is SIGTERM from here, and that this
 * process is gone, by the end of the channel between the two.
 */
function runChild(args: readonly string[], signal: AbortSignal): Promise<ChildEnd> {
  return new Promise((done, failed) => {
    const child: ChildProcess = spawn(process.execPath, [...process.execArgv, process.argv[1], ...args], {
      detached: true,
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    let tail = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      tail = (tail + text).slice(-TAIL);
    });
    const stop = () => child.kill("SIGTERM");
    signal.addEventListener("abort", stop);
    child.once("error", failed);
    child.once("close", (code) => {
      signal.removeEventListener("abort", stop);
      done({ code, tail });
    });
  });
}

/** Why a child failed: what it recorded, or the last line that it wrote. */
async function failureOf(
  plan: ExperimentPlan,
  cell: PlannedCell,
  { code, tail }: ChildEnd,
): Promise<CellFailure> {
  const record = await readRecord(plan.out, cell);
  const recorded = record?.state === "failed" ? record.error : undefined;
  return {
    id: cell.id,
    message: recorded ?? `process ended with ${code}: ${tail.trim().split("\n").at(-1)}`,
  };
}
