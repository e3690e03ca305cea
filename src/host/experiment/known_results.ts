/** Results of an experiment's runs that were made elsewhere: in another folder, on another machine, at another time. */
import { z } from "zod";
import { ConfigError, DataError } from "../../core/errors.js";
import type { ExperimentResult } from "../../report/experiment_rows.js";
import { readJsonLines } from "../files/json_lines.js";
import type { ExperimentPlan, PlannedRun } from "./plan.js";
import { readRecord, short, writeRecord } from "./records.js";

const count = z.int().min(0);
const counted = z.looseObject({ episodes: count, wins: count });

/** What reports read of a row; see `ExperimentResult`. */
const rowSchema = z.looseObject({
  cell: z.string(),
  kind: z.enum(["start", "cell"]),
  levels: z.record(z.string(), z.string()),
  baseline: z.string().nullable(),
  seed: z.int(),
  start_sha256: z.string(),
  config_sha256: z.string(),
  run: z.string().nullable(),
  updates: count,
  splits: z.array(
    counted.extend({
      split: z.string(),
      mode: z.string(),
      success: z.number(),
      types: z.record(z.string(), counted),
    }),
  ),
  curve: z.array(z.looseObject({ step: count, split: z.string(), mode: z.string(), success: z.number() })),
  training: z.array(z.tuple([z.number(), z.number()])),
  tokens: z.number(),
  seconds: z.number(),
  last: z.record(z.string(), z.number()),
});

/** A finished run that was made elsewhere, and which of the experiment's it is. */
interface KnownResult {
  readonly run: PlannedRun;
  readonly result: ExperimentResult;
}

/**
 * Reads a `results.jsonl` of the same experiment.
 * @returns results of runs of which this folder knows nothing; the start is made here in any case, for its weights
 * @throws DataError for a file that is no such file
 * @throws ConfigError for rows of other cells, of other settings or from another start
 */
export async function readKnownResults(plan: ExperimentPlan, file: string): Promise<KnownResult[]> {
  const known: KnownResult[] = [];
  const starts = new Map<string, string>();
  const own = await readRecord(plan.out, plan.start);
  if (own?.start_sha256) starts.set(own.start_sha256, "the start here");
  for (const [index, json] of (await readJsonLines(file)).entries()) {
    const { success, data, error } = rowSchema.safeParse(json);
    if (!success) {
      const { path, message } = error.issues[0];
      throw new DataError(
        `[${file}] line ${index + 1} is no result of an experiment: got ${message} at ${path.join(".") || "its root"}, expected a line of ` +
          "results.jsonl as `uncouple experiment` writes it. Give such a file.",
      );
    }
    const run = runOf(plan, data);
    const place = `${file}, line ${index + 1}`;
    if (run === undefined) {
      throw new ConfigError(
        `[${place}] result of another experiment: got cell ${data.cell} with seed ${data.seed}, expected one that ${plan.name} plans. ` +
          "Give its own results, or add the cell.",
      );
    }
    if (data.config_sha256 !== run.configSha256) {
      throw new ConfigError(
        `[${place}] result of other settings: got ${short(data.config_sha256)} for ${run.id}, expected ${short(run.configSha256)} as here. ` +
          "Put the settings back, or leave the row out.",
      );
    }
    starts.set(data.start_sha256, starts.get(data.start_sha256) ?? place);
    if (starts.size > 1) {
      const [first, second] = [...starts];
      throw new ConfigError(
        `[${place}] results from different starts: got weights ${short(second[0])} there and ${short(first[0])} in ${first[1]}, expected the ` +
          "same under all runs. Use the program and the adapter of then for the start, or leave the rows out.",
      );
    }
    if (run !== plan.start && (await readRecord(plan.out, run)) === undefined)
      known.push({ run, result: data as unknown as ExperimentResult });
  }
  return known;
}

/** Takes results as done: they are not made again, and are part of the report. */
export async function keepKnownResults(
  { out }: ExperimentPlan,
  results: readonly KnownResult[],
): Promise<void> {
  for (const { run, result } of results) {
    const { config_sha256, start_sha256 } = result;
    await writeRecord(out, run, { state: "done", config_sha256, start_sha256, result });
  }
}

function runOf({ start, cells }: ExperimentPlan, { kind, cell, seed }: z.output<typeof rowSchema>) {
  if (kind === "start") return start.seed === seed ? start : undefined;
  return cells.find((planned) => planned.id === `${cell}__s${seed}`);
}
