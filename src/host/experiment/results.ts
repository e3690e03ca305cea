/** From the files of a finished run to its line of results. */
import { join, relative } from "node:path";
import type { Evaluation, MetricsRow, RunSession } from "../../core/run_record.js";
import { mean } from "../../core/statistics.js";
import {
  type CurvePoint,
  type ExperimentResult,
  type SplitResult,
  WITH_INSTRUCTIONS,
  type WinCount,
} from "../../report/experiment_rows.js";
import { readJsonLines } from "../files/json_lines.js";
import { RUN_FILES, readRunInfo } from "../run/run_info.js";
import { type ExperimentPlan, type PlannedRun, runFolder } from "./plan.js";

/** What a result says of the run beside its numbers. */
export type ResultFacts = Pick<
  ExperimentResult,
  "cell" | "kind" | "levels" | "baseline" | "overrides" | "start_sha256"
>;

/** Updates whose numbers are averaged at the end of a run. */
const LAST_UPDATES = 10;
/** Groups of metrics that say how a method does, beside success. */
const LAST_METRICS = /^(gcd|correction|coupling)\//;
/** Points of a curve of training success. */
const CURVE_BINS = 40;

/** The result of a run that has ended; everything is read from its folder. */
export async function resultOfRun(
  plan: ExperimentPlan,
  run: PlannedRun,
  facts: ResultFacts,
): Promise<ExperimentResult> {
  const folder = runFolder(run);
  const info = await readRunInfo(folder);
  const metrics = (await readJsonLines(join(folder, RUN_FILES.metrics))) as MetricsRow[];
  const evaluations = (await readJsonLines(join(folder, RUN_FILES.evaluations))) as Evaluation[];
  const sum = (key: string) => metrics.reduce((total, row) => total + numberOf(row[key]), 0);
  return {
    ...facts,
    seed: run.seed,
    config_sha256: run.configSha256,
    ...programOf(info.sessions[info.sessions.length - 1]),
    run: relative(plan.out, folder),
    updates: info.step,
    splits: evaluations.filter(({ step }) => step === info.step).map(splitResult),
    curve: evaluations.map(curvePoint),
    training: trainingCurve(metrics),
    tokens: sum("num_tokens"),
    seconds: sum("perf/step_ms") / 1000,
    last: lastMeans(metrics),
  };
}

/** What computed in a session, in a word. */
export function adapterName({ adapter }: Pick<RunSession, "adapter">): string {
  return String(adapter?.driver || adapter?.device || "unknown");
}

/** What made a result in a session: the program and what computed. */
export function programOf(
  session: Pick<RunSession, "version" | "git" | "adapter">,
): Pick<ExperimentResult, "program" | "adapter"> {
  const { version, git } = session;
  return {
    program: { version, commit: git?.commit ?? null, dirty: git?.dirty ?? false },
    adapter: adapterName(session),
  };
}

function numberOf(value: unknown): number {
  return typeof value === "number" ? value : 0;
}

function numberOrNull(value: unknown): number | null {
  return typeof value === "number" ? value : null;
}

/** Numbers of an evaluation that have a column of their own, or none. */
const OWN_COLUMNS = new Set([
  "step",
  "stage",
  "split",
  "mode",
  "instructions",
  "time",
  "episodes",
  "success",
]);

/** Evaluations without the instructions of prompt-based correction are compared with those of other cells. */
function modeOf({ mode, instructions }: Evaluation): string {
  return instructions === "with" ? `${mode}${WITH_INSTRUCTIONS}` : mode;
}

/** One evaluation as a column of a result. */
export function splitResult(row: Evaluation): SplitResult {
  const { split, episodes, success } = row;
  const columns = {
    mean_length: numberOrNull(row.mean_length),
    invalid_action_rate: numberOrNull(row.invalid_action_rate),
    repeated_action_rate: numberOrNull(row.repeated_action_rate),
    repeated_action_in_state_rate: numberOrNull(row.repeated_action_in_state_rate),
    repeated_action_anywhere_rate: numberOrNull(row.repeated_action_anywhere_rate),
  };
  const further = Object.entries(row).filter(
    (entry): entry is [string, number] =>
      typeof entry[1] === "number" &&
      !OWN_COLUMNS.has(entry[0]) &&
      !Object.hasOwn(columns, entry[0]) &&
      !/^(success|episodes)[_/]/.test(entry[0]),
  );
  return {
    split,
    mode: modeOf(row),
    episodes,
    wins: Math.round(success * episodes),
    success,
    types: winsByType(row),
    ...columns,
    further: Object.fromEntries(further),
  };
}

/** Episodes and wins of each task type, of evaluations that count both. */
function winsByType(row: Evaluation): Record<string, WinCount> {
  const counts: Record<string, WinCount> = {};
  for (const [key, episodes] of Object.entries(row)) {
    const type = /^episodes\/(.+)$/.exec(key)?.[1];
    if (type === undefined || typeof episodes !== "number") continue;
    counts[type] = { episodes, wins: Math.round(numberOf(row[`success/${type}`]) * episodes) };
  }
  return counts;
}

/** One evaluation as a point of a curve. */
export function curvePoint(row: Evaluation): CurvePoint {
  const { step, split, success, episodes } = row;
  return { step, split, mode: modeOf(row), success, episodes };
}

/** Means of bins of equal size, so that long runs keep short lines. */
function trainingCurve(metrics: readonly MetricsRow[]): [number, number][] {
  const points = metrics.flatMap(({ step, success }) =>
    typeof success === "number" ? [[step, success] as const] : [],
  );
  const size = Math.max(1, Math.ceil(points.length / CURVE_BINS));
  return Array.from({ length: Math.ceil(points.length / size) }, (_, bin) => {
    const part = points.slice(bin * size, (bin + 1) * size);
    return [mean(part.map(([step]) => step)), mean(part.map(([, success]) => success))];
  });
}

function lastMeans(metrics: readonly MetricsRow[]): Record<string, number> {
  const last = metrics.slice(-LAST_UPDATES);
  const names = [...new Set(last.flatMap((row) => Object.keys(row)))].filter((name) =>
    LAST_METRICS.test(name),
  );
  const means = names.map((name): [string, number[]] => [
    name,
    last.map((row) => row[name]).filter((value) => typeof value === "number"),
  ]);
  return Object.fromEntries(
    means.filter(([, values]) => values.length > 0).map(([name, values]) => [name, mean(values)]),
  );
}
