/** One measurement with its contestants: each is opened and checked, those that are right are timed side by side. */

import { DeviceError } from "../src/core/errors.js";
import type { Cost } from "../src/kernels/engine/op.js";
import type { BenchRow } from "../src/report/bench_rows.js";
import { type Effort, measure, type Timing, type Work } from "./measure.js";

/** An implementation ready to be timed. */
export interface Contestant {
  readonly work: Work;
  /** What is wrong with its results, as a sentence; undefined when they are right. */
  check(): Promise<string | undefined>;
  /** More fields for its row, taken after the timing. */
  readonly figures?: (timing: Timing) => Promise<Partial<BenchRow>>;
  release(): void | Promise<void>;
}

/** An implementation by name; one that cannot be opened becomes a row that says why. */
export interface Entry {
  readonly implementation: string;
  readonly version?: string;
  open(): Promise<Contestant>;
}

/** The fields that all rows of one measurement share. */
export type RowHead = Pick<BenchRow, "op" | "direction" | "shape" | "dtype" | "adapter">;

/** Milliseconds after which opening or checking counts as failed. A call that has hung cannot be ended, only left. */
const PATIENCE_MS = 300_000;

interface Running {
  readonly index: number;
  readonly contestant: Contestant;
}

/**
 * Rows in the order of the entries.
 * @throws DeviceError when the device of ours is lost
 */
export async function race(
  head: RowHead,
  entries: readonly Entry[],
  cost: Cost | undefined,
  effort: Effort,
): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  const running: Running[] = [];
  for (const [index, { implementation, version, open }] of entries.entries()) {
    const row = { ...head, implementation, ...(version && { version }) };
    try {
      const contestant = await patiently(open());
      const error = await patiently(contestant.check());
      if (error === undefined) running.push({ index, contestant });
      else await contestant.release();
      rows.push(error === undefined ? row : { ...row, error });
    } catch (error) {
      if (error instanceof DeviceError) throw error;
      rows.push({ ...row, error: reasonOf(error) });
    }
  }
  let alive = running;
  for (;;) {
    let failed: Running | undefined;
    const works = alive.map((one) => watched(one.contestant.work, () => (failed ??= one)));
    try {
      const timings = await measure(works, effort);
      for (const [i, { index, contestant }] of alive.entries()) {
        const more = await contestant.figures?.(timings[i]);
        rows[index] = { ...rows[index], ...timings[i], ...rates(timings[i], cost), ...more };
      }
      break;
    } catch (error) {
      const culprit: Running | undefined = failed;
      // a lost device of ours ends everything
      if (!culprit || error instanceof DeviceError) throw error;
      rows[culprit.index] = { ...rows[culprit.index], error: reasonOf(error) };
      alive = alive.filter((one) => one !== culprit);
    }
  }
  for (const { contestant } of running) await contestant.release();
  return rows;
}

/** 10^9 operations and 10^9 bytes a second by the median of the wall clock. */
export function rates(
  { medianMs }: { readonly medianMs: number },
  cost: Cost | undefined,
): Partial<BenchRow> {
  if (!cost) return {};
  return { gflops: cost.flops / medianMs / 1e6, gbps: cost.bytes / medianMs / 1e6 };
}

function watched(work: Work, onFailure: () => void): Work {
  const watch = async <T>(result: Promise<T>): Promise<T> => {
    try {
      return await result;
    } catch (error) {
      onFailure();
      throw error;
    }
  };
  const { gpuTimes } = work;
  return {
    run: (calls) => watch(work.run(calls)),
    ...(gpuTimes && { gpuTimes: (calls: number) => watch(gpuTimes.call(work, calls)) }),
  };
}

/** First line of what an error says. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message.split("\n")[0] || error.name : String(error);
}

async function patiently<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${PATIENCE_MS / 1000} s`)), PATIENCE_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
