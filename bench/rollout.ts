/** Generation: milliseconds of one decode step of a batch, prompts left out, by the difference of two lengths. */
import { DeviceError } from "../src/core/errors.js";
import type { OpApplication } from "../src/gpu/profiler.js";
import type { Runtime } from "../src/gpu/runtime.js";
import type { Launcher } from "../src/kernels/engine/launch.js";
import { type Generation, type GenerationRequest, Generator } from "../src/model/generate.js";
import type { Qwen2Model } from "../src/model/qwen2.js";
import type { BenchRow } from "../src/report/bench_rows.js";
import { type Effort, spread, wallTime } from "./measure.js";
import { openModel, targetLogProbs } from "./model.js";
import { allowedLogProb, type Precision, programDtype } from "./precision.js";
import { benchProfile } from "./profile.js";
import { reasonOf } from "./race.js";
import { type TrainingProblem, trainingProblem, type Workload } from "./workloads.js";

export interface RolloutBench {
  readonly launcher: Launcher;
  readonly adapter: string;
  readonly precision: Precision;
  readonly effort: Effort;
  readonly quick: boolean;
}

/** Sequences decoded side by side. */
export function rolloutBatches(quick: boolean, isSoftware: boolean): readonly number[] {
  if (quick) return [2];
  return isSoftware ? [1, 8, 32] : [1, 8, 64, 256];
}

interface RolloutCase {
  readonly batch: number;
  readonly prompt: number;
  readonly steps: number;
}

/** `nano B8 prompt64 new32`, as rows name it. */
export function rolloutLabel({ name }: Workload, { batch, prompt, steps }: RolloutCase): string {
  return `${name} B${batch} prompt${prompt} new${steps}`;
}

/** The cases of one workload. */
export function rolloutCases(quick: boolean, isSoftware: boolean): RolloutCase[] {
  const [prompt, steps] = quick ? [8, 4] : [64, 32];
  return rolloutBatches(quick, isSoftware).map((batch) => ({ batch, prompt, steps }));
}

/**
 * One row: the batch decodes `steps` tokens for each sequence after a prompt.
 * @throws DeviceError when the device is lost
 */
export async function benchRollout(
  { launcher, adapter, precision, effort, quick }: RolloutBench,
  workload: Workload,
  one: RolloutCase,
): Promise<BenchRow> {
  const { batch, steps } = one;
  const { runtime } = launcher;
  const row = {
    op: "rollout",
    direction: "decode" as const,
    shape: rolloutLabel(workload, one),
    implementation: "uncouple",
    dtype: programDtype(launcher.facts, precision),
    adapter,
  };
  const problem = trainingProblem(workload);
  const model = openModel(launcher, workload, problem, precision, false);
  const generator = new Generator(model);
  const requests = requestsOf(problem, one);
  const generate = (maxNewTokens: number) =>
    generator.generate(requests, { temperature: 1, maxNewTokens, endTokens: [], seed: 5 });
  try {
    const generations = await generate(1 + steps);
    const allowed = allowedLogProb(launcher.facts, precision);
    const error = await mismatch(model, requests, generations, allowed);
    if (error) return { ...row, error };
    const rounds = quick ? 3 : Math.min(effort.repeats, 9);
    const samples = await decodeSamples(generate, steps, rounds);
    const timing = spread(samples);
    runtime.buffers.resetPeak();
    const dispatches =
      (await launches(runtime, () => generate(1 + steps))) - (await launches(runtime, () => generate(1)));
    return {
      ...row,
      ...timing,
      calls: steps,
      tokensPerSecond: (1000 * batch) / timing.medianMs,
      dispatches: dispatches / steps,
      bytesLive: runtime.buffers.liveBytes,
      bytesPeak: runtime.buffers.peakBytes,
    };
  } catch (error) {
    if (error instanceof DeviceError) throw error;
    return { ...row, error: reasonOf(error) };
  } finally {
    generator.release();
    model.release();
    model.parameters.release();
  }
}

/** A row of op `profile`: a decode step by its kernels. */
export async function profileRollout(
  { launcher, adapter, precision, quick }: RolloutBench,
  workload: Workload,
  one: RolloutCase,
): Promise<BenchRow> {
  const { prompt, steps } = one;
  const problem = trainingProblem(workload);
  const model = openModel(launcher, workload, problem, precision, false);
  let begin = async () => {};
  const generator = new Generator(model, { onPrompts: () => begin() });
  const requests = requestsOf(problem, one);
  const head = {
    direction: "decode" as const,
    shape: rolloutLabel(workload, one),
    dtype: programDtype(launcher.facts, precision),
    adapter,
  };
  const work = {
    calls: steps,
    // a token in the middle of the answer sees the prompt and the first half; the declared cost is of a full cache
    attended: ({ sizes: { T } }: OpApplication) => (prompt + (steps + 1) / 2) / T,
    run: async (start: () => Promise<void>) => {
      begin = start;
      await generator.generate(requests, { temperature: 1, maxNewTokens: 1 + steps, endTokens: [], seed: 5 });
    },
  };
  try {
    return await benchProfile(head, launcher.runtime, work, quick ? 3 : 5);
  } finally {
    generator.release();
    model.release();
    model.parameters.release();
  }
}

function requestsOf({ tokens }: TrainingProblem, { batch, prompt }: RolloutCase): GenerationRequest[] {
  return Array.from({ length: batch }, (_, b) => ({
    stream: b,
    prompt: Array.from({ length: prompt }, (_, t) => tokens[(b * 7 + t) % tokens.length]),
  }));
}

/** Milliseconds of one step, round by round: what `steps` tokens take beyond the first, which prefill gives. */
async function decodeSamples(
  generate: (maxNewTokens: number) => Promise<unknown>,
  steps: number,
  rounds: number,
): Promise<number[]> {
  const samples: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const short = await wallTime(async () => void (await generate(1)));
    const long = await wallTime(async () => void (await generate(1 + steps)));
    samples.push(Math.max(0, long - short) / steps);
  }
  return samples;
}

/** Kernels launched by a run. */
async function launches(runtime: Runtime, run: () => Promise<unknown>): Promise<number> {
  const before = runtime.counters.dispatches;
  await run();
  return runtime.counters.dispatches - before;
}

/** Log-probabilities recorded while decoding against those of one full pass over prompt and answer; `allowed` in nats. */
async function mismatch(
  model: Qwen2Model,
  requests: readonly GenerationRequest[],
  generations: readonly Generation[],
  allowed: number,
): Promise<string | undefined> {
  const [request] = requests;
  const [{ tokens, logProbs }] = generations;
  const sequence = [...request.prompt, ...tokens.slice(0, -1)];
  const expected = await targetLogProbs(model, sequence, request.prompt.length - 1, Uint32Array.from(tokens));
  for (let t = 0; t < tokens.length; t++) {
    if (!(Math.abs(logProbs[t] - expected[t]) <= allowed))
      return `wrong log-probability of token ${t}: got ${logProbs[t]}, expected ${expected[t]} as in one full pass`;
  }
  return undefined;
}
