/**
 * Coupling under the policies of an experiment. The policy of the start plays the games of one more update; some of its samples
 * are drawn, and the start and every finished cell read these same samples with the same advantages.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { z } from "zod";
import { ConfigError, DataError } from "../../core/errors.js";
import { perSampleGram } from "../../coupling/gram.js";
import { Launcher } from "../../kernels/index.js";
import { couplingNumbers } from "../../report/coupling_summary.js";
import { pathExists, writeFileAtomic } from "../files/files.js";
import { jsonText, readOptionalJsonFile } from "../files/json_file.js";
import { stepName } from "../run/checkpoints.js";
import { type CouplingBatch, couplingBatch } from "../run/coupling_batch.js";
import { writeCouplingFiles } from "../run/coupling_files.js";
import { measureCoupling } from "../run/coupling_measure.js";
import { RUN_FILES } from "../run/run_info.js";
import { openRunPolicy, readRunAt, releasePolicy } from "../run/run_policy.js";
import { EXPERIMENT_FILES, type ExperimentPlan, type PlannedRun, runFolder } from "./plan.js";
import { readRecord } from "./records.js";
import { adapterName } from "./results.js";
import type { RunDeps } from "./run_cell.js";

const FORMAT = 1;

const recordSchema = z.strictObject({
  format: z.literal(FORMAT),
  /** What was asked for: records of other wishes, or of another start, are measured anew. */
  wishes: z.strictObject({ samples: z.int(), seed: z.int(), start_sha256: z.string() }),
  /** Of the ids of the samples, in order. */
  samples_sha256: z.string(),
  numbers: z.record(z.string(), z.number().nullable()),
});

type CouplingRecord = z.output<typeof recordSchema>;

function fileOf(out: string, { id }: Pick<PlannedRun, "id">): string {
  return join(out, EXPERIMENT_FILES.coupling, `${id}.json`);
}

/** Where a run's analysis lies. */
export function analysisFolder(run: PlannedRun): string {
  return join(runFolder(run), RUN_FILES.coupling, stepName(run.updates));
}

/** @returns what was measured before under the same wishes. @throws DataError for a malformed record */
export async function readCouplingRecord(
  plan: ExperimentPlan,
  run: Pick<PlannedRun, "id">,
  startSha256: string,
): Promise<CouplingRecord | undefined> {
  const file = fileOf(plan.out, run);
  const json = await readOptionalJsonFile(file);
  if (json === undefined || plan.content.coupling === null) return undefined;
  const { success, data, error } = recordSchema.safeParse(json);
  if (!success) {
    const { path, message } = error.issues[0];
    throw new DataError(
      `[${file}] record of a coupling analysis is malformed: got ${message} at ${path.join(".") || "its root"}, expected a record ` +
        `of format ${FORMAT}. Remove the file; it is measured again.`,
    );
  }
  const { samples, seed, start_sha256 } = data.wishes;
  const wished = plan.content.coupling;
  const isSame = samples === wished.samples && seed === wished.seed && start_sha256 === startSha256;
  return isSame ? data : undefined;
}

/**
 * Measures what the experiment asks for and nobody has measured yet: the start, and those of the given cells that are done.
 * @throws ConfigError when the start plays other games than when other cells were measured
 */
export async function measureCells(
  plan: ExperimentPlan,
  cells: readonly PlannedRun[],
  deps: Pick<RunDeps, "runtime" | "session" | "signal" | "logger">,
): Promise<void> {
  const wishes = plan.content.coupling;
  if (wishes === null) return;
  const runs = await measurable(plan, cells);
  const open = runs.filter(({ measured }) => measured === undefined);
  if (open.length === 0) return;
  const launcher = new Launcher(deps.runtime);
  const start = await openRunPolicy(
    await readRunAt(runFolder(plan.start), undefined, plan.start.config),
    launcher,
  );
  const batch = await couplingBatch(start, wishes, deps.logger);
  releasePolicy(start);
  const samples_sha256 = hashOf(batch);
  const other = runs.find(({ measured }) => measured && measured.samples_sha256 !== samples_sha256);
  if (other) {
    throw new ConfigError(
      `[coupling] the start plays other games than before: got samples ${samples_sha256.slice(0, 12)}, expected ` +
        `${other.measured?.samples_sha256.slice(0, 12)} as ${other.run.id} was measured on. Use the adapter of then, or remove ` +
        `${join(plan.out, EXPERIMENT_FILES.coupling)}: all are measured again.`,
    );
  }
  for (const { run, start_sha256 } of open) {
    if (deps.signal.aborted) return;
    deps.logger.info(`coupling: ${run.id}`);
    const record: CouplingRecord = {
      format: FORMAT,
      wishes: { ...wishes, start_sha256 },
      samples_sha256,
      numbers: await measured(run, batch, launcher, deps),
    };
    await writeFileAtomic(fileOf(plan.out, run), jsonText(record));
  }
}

/** Whether nothing is left for `measureCells`. */
export async function allMeasured(plan: ExperimentPlan, cells: readonly PlannedRun[]): Promise<boolean> {
  if (plan.content.coupling === null) return true;
  return (await measurable(plan, cells)).every(({ measured }) => measured !== undefined);
}

/** Finished runs, the start first, each with what was measured of it. */
async function measurable(plan: ExperimentPlan, cells: readonly PlannedRun[]) {
  const found = [];
  for (const run of [plan.start, ...cells]) {
    const record = await readRecord(plan.out, run);
    if (record?.state !== "done" || record.start_sha256 === null) continue;
    // made elsewhere, where it was measured or not: its policy is not here
    if (run !== plan.start && !(await pathExists(runFolder(run)))) continue;
    const { start_sha256 } = record;
    found.push({ run, start_sha256, measured: await readCouplingRecord(plan, run, start_sha256) });
  }
  return found;
}

function hashOf({ samples }: CouplingBatch): string {
  return createHash("sha256")
    .update(samples.map(({ id }) => id).join("\n"))
    .digest("hex");
}

/** Measures one policy and writes its analysis into its run folder. */
async function measured(
  run: PlannedRun,
  batch: CouplingBatch,
  launcher: Launcher,
  { session }: Pick<RunDeps, "session">,
): Promise<CouplingRecord["numbers"]> {
  const policy = await openRunPolicy(await readRunAt(runFolder(run), undefined, run.config), launcher);
  const { gram, layers, logProbs } = await perSampleGram(policy.model, batch.samples, {});
  const grams = { gram, layers: Object.fromEntries(layers) };
  const document = await measureCoupling({
    ...{ policy, ...batch, measured: { ...grams, logProbs } },
    passport: {
      ...{ run: run.id, checkpoint: policy.checkpoint.step, stage: policy.checkpoint.stage },
      samples: `of the start, ${batch.source}`,
      ...{ parameters: policy.model.parameters.count, precision: run.config.model.precision },
      ...{ adapter: adapterName(session), version: session.version },
    },
    verify: false,
    budgetBytes: undefined,
  });
  await writeCouplingFiles(analysisFolder(run), document, grams);
  releasePolicy(policy);
  return couplingNumbers(document);
}
