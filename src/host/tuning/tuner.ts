/** The autotuner: measures the variants of each choice on an open adapter, after holding their results against the shipped one's. */
import { DeviceError } from "../../core/errors.js";
import { quantile } from "../../core/statistics.js";
import type { KernelFacts, Runtime } from "../../gpu/runtime.js";
import { Launcher } from "../../kernels/index.js";
import {
  fastest,
  PROBLEMS,
  type TunedWork,
  type TuningProblem,
  type TuningResult,
  tunedWork,
  tuningOf,
  withChoice,
  workName,
} from "../../kernels/tuning/tuning_search.js";
import { type TimedWork, timedWork } from "./timed_work.js";

/** One variant, ready to run. */
export interface Contestant {
  readonly variant: string;
  /** Runs the work several times; resolves when all of it has been executed. */
  run(calls: number): Promise<void>;
}

/** Milliseconds of one run by each contestant, in their order, measured side by side. */
export type Measure = (contestants: readonly Contestant[], problem: TuningProblem) => Promise<number[]>;

export interface TunerOptions {
  /** Milliseconds on any clock. */
  readonly now: () => number;
  /** Milliseconds after which no further choice is measured; the rest stays as shipped. */
  readonly budgetMs: number;
  /** A piece of each class; default: those meant for this adapter. */
  readonly work?: readonly TunedWork[];
  /** Default: medians of interleaved samples by `now`. */
  readonly measure?: Measure;
  /** Told what was dropped, and what was not measured for lack of time. */
  readonly warn: (message: string) => void;
}

/** Of every element, as the tests of the op allow. */
const TOLERANCE = 2e-4;

/**
 * Finds out which variants are faster here than the shipped ones.
 * @param runtime that nothing else uses meanwhile
 * @returns one result for each choice that was measured
 * @throws DeviceError when the device fails altogether
 */
export async function tuneKernels(runtime: Runtime, options: TunerOptions): Promise<TuningResult[]> {
  const { now, budgetMs, work = tunedWork(runtime.facts), warn } = options;
  const end = now() + budgetMs;
  const results: TuningResult[] = [];
  const late: string[] = [];
  for (const piece of work) {
    let timed: TimedWork | undefined;
    try {
      for (const problemOf of PROBLEMS) {
        const facts: KernelFacts = { ...runtime.facts, tuning: tuningOf(results) };
        const problem = problemOf(piece, facts);
        if (!problem || problem.variants.length < 2) continue;
        if (now() >= end) {
          late.push(problem.choice);
          continue;
        }
        timed ??= timedWork(runtime, piece);
        const result = await settle(new Variants(runtime, timed, problem, facts), problem, options);
        results.push({ ...result, shape: workName(piece) });
      }
    } finally {
      timed?.release();
    }
  }
  if (late.length > 0) warn(`not measured for lack of time, and left as shipped: ${late.join(", ")}`);
  return results;
}

async function settle(
  variants: Variants,
  problem: TuningProblem,
  { now, measure = interleaved(now, variants.sampleMs), warn }: TunerOptions,
): Promise<Omit<TuningResult, "shape">> {
  const { choice, variants: names } = problem;
  await variants.compile();
  const contestants = names.map((name, index) => variants.contestant(name, index));
  const dropped = await variants.findWrong(contestants);
  for (const [variant, reason] of Object.entries(dropped))
    warn(`variant ${variant} of ${choice} is left out: ${reason}`);
  const right = contestants.filter(({ variant }) => dropped[variant] === undefined);
  const times = await measure(right, problem);
  let best = fastest(times);
  let [shippedMs, chosenMs] = [times[0], times[best]];
  if (best > 0) {
    // the best of several is lucky more often than not: it has to win again
    const again = await measure([right[0], right[best]], problem);
    if (fastest(again) === 0) best = 0;
    [shippedMs, chosenMs] = best === 0 ? [again[0], again[0]] : again;
  }
  const head = { choice, shipped: names[0], shippedMs };
  return { ...head, chosen: right[best].variant, chosenMs, dropped };
}

const ROUNDS = 7;
const MOST_CALLS = 50;
/** Variants that take longer than this many times the fastest one are not measured further. */
const HOPELESS = 1.5;

/** Round by round every contestant takes one sample, so that a slow moment hits all of them. */
function interleaved(now: () => number, sampleMs: number): Measure {
  return async (contestants) => {
    const timed = async ({ run }: Contestant, calls: number) => {
      const start = now();
      await run(calls);
      return (now() - start) / calls;
    };
    const first: number[] = [];
    for (const contestant of contestants) {
      await timed(contestant, 1);
      first.push(await timed(contestant, 2));
    }
    const least = Math.min(...first);
    const calls = Math.max(1, Math.min(MOST_CALLS, Math.round(sampleMs / least)));
    const samples: number[][] = first.map(() => []);
    for (let round = 0; round < ROUNDS; round++) {
      for (const [i, contestant] of contestants.entries()) {
        if (i > 0 && first[i] > HOPELESS * least) continue;
        samples[i].push(await timed(contestant, calls));
      }
    }
    return samples.map((times) => (times.length > 0 ? quantile(times, 0.5) : Number.POSITIVE_INFINITY));
  };
}

/** Milliseconds of one sample: long beside the wait for its end. */
const SAMPLE_MS = { software: 10, gpu: 4 } as const;

/** Contestants on one piece of work, each with a launcher that takes its variant. */
class Variants {
  readonly #launchers: readonly Launcher[];

  constructor(
    readonly runtime: Runtime,
    readonly work: TimedWork,
    { choice, variants }: TuningProblem,
    facts: KernelFacts,
  ) {
    this.#launchers = variants.map((variant) => new Launcher(runtime, withChoice(facts, choice, variant)));
  }

  get sampleMs(): number {
    return this.runtime.facts.isSoftware ? SAMPLE_MS.software : SAMPLE_MS.gpu;
  }

  contestant(variant: string, index: number): Contestant {
    return {
      variant,
      run: async (calls) => {
        for (let call = 0; call < calls; call++) this.work.launch(this.#launchers[index]);
        await this.runtime.finish();
      },
    };
  }

  /** All variants side by side. One that fails stops the rest of them here; each is compiled when it is run, too. */
  async compile(): Promise<void> {
    for (const launcher of this.#launchers) this.work.launch(launcher);
    try {
      await this.runtime.flush();
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
    }
  }

  /** Variants that do not compile, or whose result is not the first one's, and why. @throws DeviceError for the first one */
  async findWrong(contestants: readonly Contestant[]): Promise<Record<string, string>> {
    const { result } = this.work;
    const [shipped, ...others] = contestants;
    await shipped.run(1);
    const expected = await result.read();
    const wrong: Record<string, string> = {};
    for (const { variant, run } of others) {
      // a variant that writes nothing must not find the result of the one before
      this.runtime.clear(result.range);
      try {
        await run(1);
      } catch (error) {
        if (!(error instanceof DeviceError)) throw error;
        wrong[variant] = error.message;
        continue;
      }
      const mistake = firstDifference(await result.read(), expected);
      if (mistake !== undefined) wrong[variant] = mistake;
    }
    return wrong;
  }
}

function firstDifference(got: ArrayLike<number>, expected: ArrayLike<number>): string | undefined {
  for (let i = 0; i < expected.length; i++) {
    // written so that NaN fails
    if (!(Math.abs(got[i] - expected[i]) <= TOLERANCE * (1 + Math.abs(expected[i]))))
      return `got ${got[i]} at ${i}, expected ${expected[i]}`;
  }
  return undefined;
}
