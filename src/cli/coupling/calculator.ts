/** The Gram of given samples under a given model, as numbers. */

import { performance } from "node:perf_hooks";
import type { MatrixStorage } from "../../autograd/parameter_slots.js";
import { Tape } from "../../autograd/tape.js";
import { Tensor } from "../../autograd/tensor.js";
import { storageOf } from "../../config/sections.js";
import { CheckError, ConfigError } from "../../core/errors.js";
import { cosine } from "../../coupling/analysis/influence.js";
import type { CouplingForecast } from "../../coupling/forecast.js";
import { type GramOptions, perSampleGram, type SampleGram } from "../../coupling/gram.js";
import { type CouplingSample, checkSamples, contentId, contentOf } from "../../coupling/samples.js";
import {
  diagnoseAlone,
  GRAM_TOLERANCE,
  type GramDifference,
  LEAST_COSINE,
  verifyGram,
} from "../../coupling/verify.js";
import { beforeWork } from "../../host/files/before_work.js";
import { loadPolicy, openPolicyFiles, type PolicyFiles } from "../../host/model/policy_folder.js";
import { Launcher, matmul } from "../../kernels/index.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import type { CliContext } from "../kit/options.js";
import { type GpuOptions, withGpu } from "../kit/session.js";
import type { Terminal } from "../kit/terminal.js";
import { type FileSample, readSamples } from "./sample_file.js";

export interface CalculatorOptions extends GpuOptions {
  readonly model: string;
  /** Folder of an adapter, whose factors the Gram is over then. */
  readonly lora?: string;
  readonly samples: string;
  /** Bytes. */
  readonly budget?: number;
  readonly verify?: true;
  readonly diagnose?: true;
  readonly path?: GramOptions["path"];
  /** Rank of projections. */
  readonly approximate?: number;
  readonly precision?: "f32" | "mixed";
  /** Of the model's matrices, in place of `precision`. */
  readonly storage?: MatrixStorage;
  readonly json?: true;
}

/** Samples that `--verify` and `--diagnose` look at: a pass each. */
const MOST_VERIFIED = 8;
const MOST_DIAGNOSED = 4;
const PROBE_SIZE = 384;
/** Share of the speed of one large product that whole passes reach, about. */
const EFFICIENCY = 0.5;

/** Reads model and samples, and prints their Gram. @throws CheckError when a check that was asked for fails */
export async function calculate(options: CalculatorOptions, context: CliContext): Promise<void> {
  const { terminal } = context;
  if (options.storage === "bf16" && options.lora === undefined) {
    throw new ConfigError(
      "[--storage] gradients of weights stored as bf16 are not computed: got bf16, expected f32 or f16. Change it, or add --last-layer, which takes no gradients.",
    );
  }
  const { samples, files } = await openSamples(options);
  for (const note of files.folder.notes) terminal.warn(note);
  await withGpu(options, context, async ({ runtime }) => {
    const storage = options.storage ?? storageOf(options.precision);
    const launcher = new Launcher(runtime);
    const { model } = await loadPolicy(launcher, files, { requiresGrad: true, storage });
    const { gram, failed } = await checkedGram(model, samples, options, terminal);
    if (options.json) terminal.print(JSON.stringify(plainObject(samples, gram)));
    else printTable(samples, gram, terminal);
    throwFailed(failed, model);
  });
}

/** Samples of a file, and the files of the model that they are for; that they fit is checked before a GPU is asked. */
export async function openSamples({
  model,
  lora,
  samples: file,
}: Pick<CalculatorOptions, "model" | "lora" | "samples">): Promise<{
  readonly samples: readonly FileSample[];
  readonly files: PolicyFiles;
}> {
  return beforeWork(async () => {
    const samples = await readSamples(file);
    const files = await openPolicyFiles(model, lora);
    checkSamples(samples, files.folder.config);
    return { samples, files };
  });
}

export interface CheckedGram {
  readonly gram: SampleGram;
  /** What verification found to be off. */
  readonly failed: readonly string[];
}

/** A Gram after its forecast, with the checks that were asked for. */
export async function checkedGram(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  options: Pick<CalculatorOptions, "budget" | "verify" | "diagnose" | "path" | "approximate">,
  terminal: Terminal,
): Promise<CheckedGram> {
  const flopsPerSecond = await productSpeed(model.launcher);
  const { budget: budgetBytes, path, approximate: rank } = options;
  const gram = await perSampleGram(model, samples, {
    budgetBytes,
    path,
    ...(rank !== undefined && { projection: { rank } }),
    onForecast: (forecast) => terminal.info(describe(forecast, samples, flopsPerSecond)),
  });
  if (options.diagnose) await diagnose(model, samples, budgetBytes, terminal);
  const failed = options.verify ? await verify(model, samples, gram, terminal) : [];
  // how far off an approximation is, is no failure
  return { gram, failed: rank === undefined ? failed : [] };
}

/** @throws CheckError when something is off */
export function throwFailed(failed: readonly string[], { activations }: Qwen2Model): void {
  if (failed.length === 0) return;
  throw new CheckError(
    `[coupling] verification failed: got ${failed.join(", ")}, expected relative errors of at most ${GRAM_TOLERANCE[activations]}. Run \`uncouple doctor\`; try --adapter swiftshader or lavapipe, or --matmul f32.`,
  );
}

/** FLOP a second of one large product, compilation not counted. */
async function productSpeed(launcher: Launcher): Promise<number> {
  const size = [1, PROBE_SIZE, PROBE_SIZE];
  const factor = Tensor.zeros(launcher.runtime, size, "probe");
  const run = async () => {
    const tape = new Tape(launcher, { record: false });
    tape.apply(matmul, { a: factor, b: factor });
    tape.release();
    await launcher.runtime.finish();
  };
  await run();
  const start = performance.now();
  await run();
  const seconds = (performance.now() - start) / 1000;
  factor.release();
  return (2 * PROBE_SIZE ** 3) / seconds;
}

const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;

function describe(
  { bytes, flops, passes }: CouplingForecast,
  samples: readonly CouplingSample[],
  flopsPerSecond: number,
): string {
  const tokens = samples.reduce((sum, one) => sum + one.tokens.length, 0);
  const seconds = flops / (EFFICIENCY * flopsPerSecond);
  return `forecast: ${samples.length} samples, ${tokens} tokens, ${passes.length} ${passes.length === 1 ? "pass" : "passes"}; at most ${mebibytes(bytes)} of GPU memory beside the model; about ${seconds.toPrecision(2)} s, compiling kernels not counted`;
}

/** Up to `most` numbers of samples, first and last among them. */
function spreadNumbers(count: number, most: number): number[] {
  const chosen = Math.min(count, most);
  return Array.from({ length: chosen }, (_, at) => Math.round((at * (count - 1)) / Math.max(1, chosen - 1)));
}

/** Names and errors above the bound; an error that is no number is above any. */
export function failuresOf(differences: readonly GramDifference[], bound: number): string[] {
  return differences
    .filter(({ error }) => !(error <= bound))
    .map(({ name, error }) => `${name} ${error.toExponential(1)}`);
}

/** @returns what is off */
async function verify(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  gram: SampleGram,
  terminal: Terminal,
): Promise<string[]> {
  const numbers = spreadNumbers(samples.length, MOST_VERIFIED);
  terminal.info(`verify: samples ${numbers.join(", ")}, one backward pass each; worst relative error`);
  const differences = await verifyGram(model, samples, gram, numbers);
  for (const { name, error } of differences) terminal.info(`  ${error.toExponential(1)}  ${name}`);
  return failuresOf(differences, GRAM_TOLERANCE[model.activations]);
}

async function diagnose(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  budgetBytes: number | undefined,
  terminal: Terminal,
): Promise<void> {
  const numbers = spreadNumbers(samples.length, MOST_DIAGNOSED);
  terminal.info("diagnose: gradient of a sample alone against the same in the batch");
  for (const { sample, inBatch, alone, cosine } of await diagnoseAlone(model, samples, numbers, {
    budgetBytes,
  })) {
    const line = `  sample ${sample}: squared norm ${inBatch.toPrecision(7)} in the batch, ${alone.toPrecision(7)} alone, cosine ${cosine.toFixed(8)}`;
    if (cosine >= LEAST_COSINE) terminal.info(line);
    else terminal.warn(`${line}: expected at least ${LEAST_COSINE}`);
  }
}

const rowsOf = (matrix: Float64Array, S: number): number[][] =>
  Array.from({ length: S }, (_, i) => [...matrix.subarray(i * S, (i + 1) * S)]);

/** The same content has the same id, here and in the files of a run. */
const idOf = (sample: CouplingSample): string => contentId(contentOf(sample));

function plainObject(samples: readonly CouplingSample[], { gram, layers, samples: S }: SampleGram) {
  const named = [...layers].map(([name, matrix]) => [name, rowsOf(matrix, S)]);
  return { ids: samples.map(idOf), gram: rowsOf(gram, S), layers: Object.fromEntries(named) };
}

/** One line a sample: log-probability, norm of its gradient, and the sample that it pushes most and least by cosine. */
function printTable(
  samples: readonly CouplingSample[],
  { gram, samples: S, logProbs }: SampleGram,
  terminal: Terminal,
): void {
  for (const [s, sample] of samples.entries()) {
    const cosines = Array.from({ length: S }, (_, j) => ({ j, cosine: cosine(gram, S, s, j) })).filter(
      ({ j }) => j !== s,
    );
    cosines.sort((a, b) => b.cosine - a.cosine);
    const ends = [cosines[0], cosines.at(-1)].flatMap((one) =>
      one ? [`${one.j} (${one.cosine.toFixed(3)})`] : [],
    );
    const partners = ends.length > 0 ? `, cosine largest with ${ends[0]}, least with ${ends[1]}` : "";
    terminal.print(
      `sample ${s} (${idOf(sample)}): weighted log-probability ${logProbs[s].toFixed(4)}, gradient norm ${Math.sqrt(gram[s * S + s]).toPrecision(5)}${partners}`,
    );
  }
}
