/** Interleaved timing: round by round, every implementation takes one sample, so that a slow moment hits all of them. */

import { Bench } from "tinybench";
import { quantile } from "../src/core/statistics.js";
import type { Runtime } from "../src/gpu/runtime.js";
import type { BenchRow } from "../src/report/bench_rows.js";

/** Something that can be run several times and waited for. */
export interface Work {
  /** Runs `calls` times; resolves when all of it has been executed. */
  run(calls: number): Promise<void>;
  /** GPU milliseconds of single calls by the GPU's own clock; undefined where there is none. */
  gpuTimes?(calls: number): Promise<readonly number[] | undefined>;
}

/** The fields of a row that a timing fills. */
export type Timing = Pick<Required<BenchRow>, "medianMs" | "p10Ms" | "p90Ms" | "repeats" | "calls"> &
  Pick<BenchRow, "gpuMs" | "gpuP10Ms" | "gpuP90Ms">;

export interface Effort {
  readonly repeats: number;
  /** Milliseconds that one sample should last, so that waiting for the GPU does not count. */
  readonly sampleMs: number;
  /** Milliseconds after which a slow work takes no further samples, once it has three. */
  readonly budgetMs: number;
}

const MOST_CALLS = 200;
const FEWEST_SAMPLES = 3;
const GPU_SAMPLES = 15;

/** Times of one call, in the order of the works. Each work runs twice before, compilation included. */
export async function measure(works: readonly Work[], effort: Effort): Promise<Timing[]> {
  return (await measureRounds(works, effort)).map(({ timing }) => timing);
}

/** A timing, and what it is made of: milliseconds of one call in each round, slow works taking part in the first ones alone. */
export interface Rounds {
  readonly timing: Timing;
  readonly samples: readonly number[];
}

/** As `measure`, with the samples of every round. */
export async function measureRounds(works: readonly Work[], effort: Effort): Promise<Rounds[]> {
  const plans: { readonly calls: number; readonly repeats: number }[] = [];
  for (const work of works) {
    await work.run(1);
    const elapsed = await wallTime(() => work.run(1));
    const calls = Math.max(1, Math.min(MOST_CALLS, Math.round(effort.sampleMs / elapsed)));
    const affordable = Math.floor(effort.budgetMs / (calls * elapsed));
    const repeats = Math.min(effort.repeats, Math.max(FEWEST_SAMPLES, affordable));
    plans.push({ calls, repeats });
  }
  const samples: number[][] = works.map(() => []);
  for (let round = 0; round < effort.repeats; round++) {
    for (const [index, work] of works.entries()) {
      const { calls, repeats } = plans[index];
      if (round < repeats) samples[index].push((await wallTime(() => work.run(calls))) / calls);
    }
  }
  const rounds: Rounds[] = [];
  for (const [index, work] of works.entries()) {
    const { calls, repeats } = plans[index];
    const gpu = await work.gpuTimes?.(Math.min(calls * repeats, GPU_SAMPLES));
    const timing = { ...spread(samples[index]), calls, ...(gpu && gpuSpread(gpu)) };
    rounds.push({ timing, samples: samples[index] });
  }
  return rounds;
}

/** Times over those of another work in the same rounds, so that slow moments of the machine hit both: the median. */
export function ratioOf({ samples }: Rounds, base: Rounds): number {
  const count = Math.min(samples.length, base.samples.length);
  const ratios = Array.from({ length: count }, (_, round) => samples[round] / base.samples[round]);
  return quantile(ratios, 0.5);
}

/** Median and the tenth and ninetieth percentile. */
export function spread(samples: readonly number[]) {
  return {
    medianMs: quantile(samples, 0.5),
    p10Ms: quantile(samples, 0.1),
    p90Ms: quantile(samples, 0.9),
    repeats: samples.length,
  };
}

function gpuSpread(samples: readonly number[]) {
  const { medianMs: gpuMs, p10Ms: gpuP10Ms, p90Ms: gpuP90Ms } = spread(samples);
  return { gpuMs, gpuP10Ms, gpuP90Ms };
}

/** Milliseconds of one run, by tinybench's clock. */
export async function wallTime(run: () => Promise<void>): Promise<number> {
  const bench = new Bench({ iterations: 1, time: 0, warmup: false, throws: true });
  // unless told, tinybench finds out by a call of its own that a function returns a promise, and does not wait for it
  bench.add("sample", run, { async: true });
  await bench.run();
  const [{ result }] = bench.tasks;
  return "latency" in result ? result.latency.mean : Number.NaN;
}

/**
 * GPU time of each call of a work whose calls all launch the same kernels: sums over its kernels, gaps between them left
 * out. Undefined without timestamps, or when calls differ.
 */
export async function gpuTimes(
  runtime: Runtime,
  work: Work,
  calls: number,
): Promise<readonly number[] | undefined> {
  const { profiler } = runtime;
  if (!profiler.available) return undefined;
  await runtime.finish();
  const count = Math.max(FEWEST_SAMPLES, calls);
  profiler.start();
  await work.run(count);
  const kernels = await profiler.stop();
  const each = kernels.length / count;
  if (!Number.isInteger(each) || each === 0) return undefined;
  return Array.from({ length: count }, (_, call) =>
    kernels
      .slice(call * each, (call + 1) * each)
      .reduce((sum, { nanoseconds }) => sum + nanoseconds / 1e6, 0),
  );
}
