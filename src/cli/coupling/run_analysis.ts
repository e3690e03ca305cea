/** `uncouple coupling --run`: the samples of one update of a run, which of them push which, and a report of it. */
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { loadConfig } from "../../config/load.js";
import type { TrainConfig } from "../../config/schema.js";
import { CheckError, ConfigError } from "../../core/errors.js";
import type { GramOptions } from "../../coupling/gram.js";
import { beforeWork } from "../../host/files/before_work.js";
import { findOwnPackage } from "../../host/files/packages.js";
import { checkWritable } from "../../host/files/writable.js";
import { stepName } from "../../host/run/checkpoints.js";
import { type CouplingBatch, couplingBatch } from "../../host/run/coupling_batch.js";
import { type FullGrams, writeCouplingFiles } from "../../host/run/coupling_files.js";
import { measureCoupling } from "../../host/run/coupling_measure.js";
import { checkPolicyOfRun } from "../../host/run/preflight.js";
import { RUN_FILES } from "../../host/run/run_info.js";
import {
  openRunPolicy,
  type RunAt,
  type RunPolicy,
  readRunAt,
  releasePolicy,
} from "../../host/run/run_policy.js";
import { Launcher } from "../../kernels/index.js";
import type { CouplingDocument } from "../../report/coupling_document.js";
import { couplingSummary, couplingSummaryLines } from "../../report/coupling_summary.js";
import type { CliContext } from "../kit/options.js";
import { type GpuOptions, type GpuSession, withGpu } from "../kit/session.js";
import { runLayer } from "../train/resume.js";
import { checkedGram, throwFailed } from "./calculator.js";
import { startDifferences } from "./same_start.js";

export interface RunAnalysisOptions extends GpuOptions {
  readonly run: string;
  /** Update; undefined = the newest checkpoint. */
  readonly checkpoint?: number;
  /** Most samples. */
  readonly samples: number;
  /** A second run whose policy reads the same samples. */
  readonly compare?: string;
  readonly out?: string;
  readonly seed: number;
  /** Bytes. */
  readonly budget?: number;
  readonly verify?: true;
  readonly diagnose?: true;
  readonly path?: GramOptions["path"];
  /** Rank of projections. */
  readonly approximate?: number;
  readonly json?: true;
}

/**
 * @throws ConfigError for a run without the checkpoint, or two runs that read text differently
 * @throws CheckError when verification fails, or verified runs began from different policies, after the files are written
 */
export async function analyseRun(options: RunAnalysisOptions, context: CliContext): Promise<void> {
  const { run, compare } = options;
  const read = await readRun(run, options, context);
  const second = compare === undefined ? undefined : await readRun(compare, options, context);
  const out = options.out ?? join(run, RUN_FILES.coupling, stepName(read.checkpoint.step));
  await beforeWork(() => checkWritable(out));
  const start = second && checkStart(read, second, context);
  await withGpu(options, context, async (session) => {
    const launcher = new Launcher(session.runtime);
    const first = await openRunPolicy(read, launcher);
    if (second) await checkTexts(second, first, launcher);
    const batch = await couplingBatch(first, options, context.terminal);
    const main = await analysed(first, batch, options, session, context);
    const compared =
      second && (await analysed(await openRunPolicy(second, launcher), batch, options, session, context));
    const files = await writeCouplingFiles(out, main.document, main.grams, compared?.document);
    const documents = compared ? [main.document, compared.document] : [main.document];
    if (options.json) context.terminal.printJson({ files, analyses: documents.map(couplingSummary) });
    else for (const line of documents.flatMap(couplingSummaryLines)) context.terminal.print(line);
    context.terminal.info(`wrote ${files.join(", ")}`);
    for (const analysis of [main, compared]) analysis?.check();
    if (options.verify) start?.check();
  });
}

/** A run at its checkpoint, with all checked that its policy needs. */
export async function readRun(
  run: string,
  { checkpoint }: Pick<RunAnalysisOptions, "checkpoint">,
  { env }: CliContext,
): Promise<RunAt> {
  return beforeWork(async () => {
    const base = await runLayer(run);
    const noFiles = async () => "";
    const { config } = await loadConfig({
      base: [base],
      files: [],
      readText: noFiles,
      env: { ...env, ...OWN },
      overrides: [],
    });
    const read = await readRunAt(run, checkpoint, config);
    await checkPolicyOfRun(config, run);
    return read;
  });
}

/** Variables that are settings of new runs; a run's own are in its folder. */
const OWN = {
  UNCOUPLE_ADAPTER: undefined,
  UNCOUPLE_PRESET: undefined,
  UNCOUPLE_MATMUL: undefined,
  UNCOUPLE_PRECISION: undefined,
};

/** One policy's analysis. */
interface Analysis {
  readonly document: CouplingDocument;
  readonly grams: FullGrams;
  /** @throws CheckError when verification failed */
  readonly check: () => void;
}

async function analysed(
  policy: RunPolicy,
  batch: CouplingBatch,
  options: RunAnalysisOptions,
  session: GpuSession,
  context: CliContext,
): Promise<Analysis> {
  const { name, model } = policy;
  context.terminal.info(`${name}: ${model.parameters.count} parameters`);
  const { gram, failed } = await checkedGram(model, batch.samples, options, context.terminal);
  const grams = { gram: gram.gram, layers: Object.fromEntries(gram.layers) };
  const document = await measureCoupling({
    policy,
    ...batch,
    measured: { ...grams, logProbs: gram.logProbs },
    passport: await passportOf(policy, batch, options, session),
    verify: options.verify ?? false,
    budgetBytes: options.budget,
  });
  releasePolicy(policy);
  return { document, grams, check: () => throwFailed(failed, model) };
}

/** Two runs should have begun with the same policy. @returns what refuses others, where somebody asked for checks */
function checkStart(first: RunAt, second: RunAt, { terminal }: CliContext): Pick<Analysis, "check"> {
  const differing = startDifferences(first, second);
  const problem =
    `[--compare] the runs did not begin from the same policy: got other values of ${differing.join(", ")} in ${second.run}, expected ` +
    `those of ${first.run}. What the report shows side by side is then not due to their training alone; compare runs from one start.`;
  if (differing.length > 0) terminal.warn(problem);
  return {
    check: () => {
      if (differing.length > 0) throw new CheckError(problem);
    },
  };
}

/** The second run must read text as the first does. @throws ConfigError for another tokenizer or vocabulary */
async function checkTexts(read: RunAt, first: RunPolicy, launcher: Launcher): Promise<void> {
  const second = await openRunPolicy(read, launcher);
  const { vocab_size: words } = second.model.config;
  const { vocab_size: expected } = first.model.config;
  const isSame = words === expected && isDeepStrictEqual(second.tokenizer.files, first.tokenizer.files);
  releasePolicy(second);
  if (isSame) return;
  throw new ConfigError(
    `[--compare] the runs read text differently: got ${words === expected ? "another tokenizer" : `a vocabulary of ${words}`} in ` +
      `${read.run}, expected ${words === expected ? "that" : `one of ${expected}`} of ${first.run}. Compare runs that began from the same policy.`,
  );
}

async function passportOf(
  { run, checkpoint, model, config }: RunPolicy,
  { source }: CouplingBatch,
  { samples, seed, approximate }: RunAnalysisOptions,
  { choice }: GpuSession,
): Promise<CouplingDocument["passport"]> {
  return {
    run,
    checkpoint: checkpoint.step,
    stage: checkpoint.stage,
    samples: `${source}, at most ${samples}, seed ${seed}`,
    parameters: model.parameters.count,
    precision: `${config.model.precision}${approximate ? `, gradients projected to rank ${approximate}` : ""}`,
    adapter: choice.driver || choice.device,
    backend: choice.backend,
    version: (await findOwnPackage())?.version ?? null,
    temperature: temperatureNote(config),
  };
}

function temperatureNote({ grpo: { temperature } }: TrainConfig): string {
  return temperature === 1 ? "1" : `measured at 1; the run trains at ${temperature}`;
}
