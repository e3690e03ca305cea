/** Interleaved timing: round by round, every implementation takes one sample, so that a slow moment hits all of them. */

import { Bench } from "tinybench";
import { quantile } from "../src/core/statistics.js";

/** Something that can be run several times and waited for. */
export interface Work {
  /** Runs `calls` times; resolves when all of it has been executed. */
  run(calls: number): Promise<void>;
}

export interface Timing {
  readonly medianMs: number;
  readonly p10Ms: number;
  readonly p90Ms: number;
  /** Samples taken, each of `calls` runs. */
  readonly repeats: number;
  readonly calls: number;
}

export interface Effort {
  readonly repeats: number;
  /** Milliseconds that one sample should last, so that waiting for the GPU does not count. */
  readonly sampleMs: number;
}

const MOST_CALLS = 200;

/** Times of one call, in the order of the works. Each work runs twice before, compilation included. */
export async function measure(works: readonly Work[], { repeats, sampleMs }: Effort): Promise<Timing[]> {
  const calls: number[] = [];
  for (const work of works) {
    await work.run(1);
    const elapsed = await clock(() => work.run(1));
    calls.push(Math.max(1, Math.min(MOST_CALLS, Math.round(sampleMs / elapsed))));
  }
  const samples: number[][] = works.map(() => []);
  for (let round = 0; round < repeats; round++) {
    const bench = new Bench({ iterations: 1, time: 0, warmup: false, throws: true });
    works.forEach((work, index) => {
      bench.add(String(index), () => work.run(calls[index]));
    });
    await bench.run();
    bench.tasks.forEach(({ result }, index) => {
      if ("latency" in result) samples[index].push(result.latency.mean / calls[index]);
    });
  }
  return samples.map((times, index) => ({
    medianMs: quantile(times, 0.5),
    p10Ms: quantile(times, 0.1),
    p90Ms: quantile(times, 0.9),
    repeats,
    calls: calls[index],
  }));
}

async function clock(run: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}
