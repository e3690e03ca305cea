/** Per-sample gradients beside the plain forward and backward pass of the same batch: Gram, directions, and S separate passes. */
import { Random } from "../src/core/random.js";
import { directions } from "../src/coupling/directions.js";
import { perSampleGram } from "../src/coupling/gram.js";
import type { CouplingSample } from "../src/coupling/samples.js";
import { addBatchGradient } from "../src/coupling/separate.js";
import { verifyGram } from "../src/coupling/verify.js";
import type { Launcher } from "../src/kernels/engine/launch.js";
import { presetConfig } from "../src/model/config.js";
import type { Qwen2Model } from "../src/model/qwen2.js";
import type { BenchRow } from "../src/report/bench_rows.js";
import { type Effort, measure, type Work } from "./measure.js";
import { openModel } from "./model.js";
import { type Precision, programDtype } from "./precision.js";
import { trainingProblem, type Workload } from "./workloads.js";

export interface CouplingBench {
  readonly launcher: Launcher;
  readonly adapter: string;
  readonly precision: Precision;
  readonly effort: Effort;
}

const ALLOWED = { f32: 1e-4, mixed: 3e-2 } as const;

/** Nano with 32 samples (B of the workload) of 128 tokens that are read, all but the first scored; a quick run has 8 of 16. */
export function couplingWorkloads(quick: boolean): Workload[] {
  if (quick) return [{ name: "tiny", config: presetConfig("nano", 64), B: 8, T: 16 }];
  return [{ name: "nano", config: presetConfig("nano", 512), B: 32, T: 128 }];
}

/** `nano S32 T128`, as rows name it. */
export const couplingLabel = ({ name, B, T }: Workload): string => `${name} S${B} T${T}`;

function drawSamples({ config, B, T, name }: Workload): CouplingSample[] {
  const random = Random.of(13, "coupling", name);
  return Array.from({ length: B }, () => ({
    tokens: Array.from({ length: T + 1 }, () => random.integer(config.vocab_size)),
    responseStart: 1,
  }));
}

/** What is timed: the plain pass, and by direction what is held against it. */
function worksOf(model: Qwen2Model, samples: readonly CouplingSample[]): Record<string, () => Promise<void>> {
  const { parameters, launcher } = model;
  const coefficients = samples.map(() => 1);
  const gradient = (stored: string) => parameters.get(stored).grad;
  return {
    plain: async () => {
      parameters.clearGradients();
      addBatchGradient(model, samples);
      await launcher.runtime.finish();
    },
    gram: async () => {
      parameters.clearGradients();
      await perSampleGram(model, samples, { coefficients });
    },
    directions: async () => {
      parameters.clearGradients();
      await directions(model, samples, [gradient], { coefficients });
    },
    separate: async () => {
      for (const sample of samples) {
        parameters.clearGradients();
        addBatchGradient(model, [sample]);
        await launcher.runtime.flush();
      }
      await launcher.runtime.finish();
    },
  };
}

/** Most bytes of GPU buffers in use during one call, all that was there before included. */
async function peakOf(model: Qwen2Model, run: () => Promise<void>): Promise<number> {
  const { buffers } = model.launcher.runtime;
  buffers.resetPeak();
  await run();
  return buffers.peakBytes;
}

/** Rows of one workload: `ratio` and `peakRatio` are time and memory over those of the plain pass, interleaved with it. */
export async function benchCoupling(bench: CouplingBench, workload: Workload): Promise<BenchRow[]> {
  const { launcher, adapter, precision, effort } = bench;
  const model = openModel(launcher, workload, trainingProblem(workload), precision, true);
  const samples = drawSamples(workload);
  const head = {
    op: "coupling",
    shape: couplingLabel(workload),
    implementation: "uncouple",
    dtype: programDtype(launcher.facts, precision),
    adapter,
  };
  try {
    const error = await mismatch(model, samples, ALLOWED[precision]);
    if (error) return [{ ...head, direction: "gram", error }];
    const works = Object.entries(worksOf(model, samples));
    const timings = await measure(
      works.map(([, run]): Work => ({ run: (calls) => repeat(calls, run) })),
      effort,
    );
    const peaks: number[] = [];
    for (const [, run] of works) peaks.push(await peakOf(model, run));
    const [plain, ...others] = timings;
    return others.map((timing, at) => ({
      ...head,
      direction: works[at + 1]?.[0] as "gram" | "directions" | "separate",
      ...timing,
      ratio: timing.medianMs / (plain?.medianMs ?? Number.NaN),
      bytesPeak: peaks[at + 1],
      peakRatio: (peaks[at + 1] ?? Number.NaN) / (peaks[0] ?? Number.NaN),
    }));
  } finally {
    model.release();
    model.parameters.release();
  }
}

async function repeat(calls: number, run: () => Promise<void>): Promise<void> {
  for (let call = 0; call < calls; call++) await run();
}

/** Holds the Gram of the first and last samples against a backward pass each. */
async function mismatch(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  allowed: number,
): Promise<string | undefined> {
  const gram = await perSampleGram(model, samples);
  const differences = await verifyGram(model, samples, gram, [0, samples.length - 1]);
  const wrong = differences.find(({ error }) => !(error <= allowed));
  return (
    wrong &&
    `wrong Gram of ${wrong.name}: got a relative error of ${wrong.error}, expected at most ${allowed}`
  );
}
