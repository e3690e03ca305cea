/** How far each run of an experiment is, without opening a GPU. */
import { join } from "node:path";
import { pathExists } from "../files/files.js";
import { RUN_FILES, readRunInfo } from "../run/run_info.js";
import { weightsSha256 } from "./fingerprint.js";
import { type ExperimentPlan, type PlannedRun, runFolder } from "./plan.js";
import { checkSame, readRecord } from "./records.js";
import { messageOf } from "./run_cell.js";

export interface RunState {
  readonly run: PlannedRun;
  readonly state: "done" | "failed" | "stopped" | "not begun" | "refused";
  /** Updates done, as of the last checkpoint. */
  readonly step: number;
  /** Of failed and refused ones. */
  readonly reason?: string;
}

/** The start first, then the given cells. */
export async function statesOf(plan: ExperimentPlan, cells: readonly PlannedRun[]): Promise<RunState[]> {
  const start = (await pathExists(plan.start.model)) ? await weightsSha256(plan.start.model) : null;
  return Promise.all([plan.start, ...cells].map((run) => stateOf(plan, run, start)));
}

async function stateOf({ out }: ExperimentPlan, run: PlannedRun, start: string | null): Promise<RunState> {
  const record = await readRecord(out, run);
  const folder = runFolder(run);
  const step = (await pathExists(join(folder, RUN_FILES.info))) ? (await readRunInfo(folder)).step : 0;
  if (record === undefined) return { run, state: step > 0 ? "stopped" : "not begun", step };
  try {
    checkSame(out, run, record, start);
  } catch (error) {
    return { run, state: "refused", step, reason: messageOf(error) };
  }
  if (record.state === "done") return { run, state: "done", step };
  if (record.state === "failed") return { run, state: "failed", step, reason: record.error };
  return { run, state: "stopped", step };
}
