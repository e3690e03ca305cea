/** The autotuner: measures the variants of each choice on an open adapter, after holding their results against the shipped one's. */
import { Tensor } from "../autograd/tensor.js";
import { DeviceError } from "../core/errors.js";
import { Random } from "../core/random.js";
import { quantile } from "../core/statistics.js";
import type { DeviceFacts, Runtime } from "../gpu/runtime.js";
import { Launcher, matmul, matmulInto, type OpDefinition } from "../kernels/index.js";
import type { MatmulShape } from "../kernels/matmul_plan.js";
import {
  fastest,
  partsAdded,
  splitProblem,
  type TuningProblem,
  type TuningResult,
  tileProblem,
  tunedProducts,
  tuningOf,
  withChoice,
} from "../kernels/tuning_search.js";

/** One variant, ready to run. */
export interface Contestant {
  readonly variant: string;
  /** Runs the product several times; resolves when all of it has been executed. */
  run(calls: number): Promise<void>;
}

/** Milliseconds of one product by each contestant, in their order, measured side by side. */
export type Measure = (contestants: readonly Contestant[], problem: TuningProblem) => Promise<number[]>;

export interface TunerOptions {
  /** Milliseconds on any clock. */
  readonly now: () => number;
  /** Milliseconds after which no further choice is measured; the rest stays as shipped. */
  readonly budgetMs: number;
  /** One of each class; default: those meant for this adapter. */
  readonly products?: readonly MatmulShape[];
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
  const { now, budgetMs, products = tunedProducts(runtime.facts), warn } = options;
  const end = now() + budgetMs;
  const results: TuningResult[] = [];
  const late: string[] = [];
  const bench = new ProductBench(runtime, products);
  try {
    for (const shape of products) {
      for (const problemOf of [tileProblem, splitProblem]) {
        const facts: DeviceFacts = { ...runtime.facts, tuning: tuningOf(results) };
        const problem = problemOf(shape, facts);
        if (!problem || problem.variants.length < 2) continue;
        if (now() < end) results.push(await settle(bench, problem, facts, options));
        else late.push(problem.choice);
      }
    }
  } finally {
    bench.release();
  }
  if (late.length > 0) warn(`not measured for lack of time, and left as shipped: ${late.join(", ")}`);
  return results;
}

async function settle(
  bench: ProductBench,
  problem: TuningProblem,
  facts: DeviceFacts,
  {
    now,
    measure = interleaved(now, facts.isSoftware ? SAMPLE_MS.software : SAMPLE_MS.gpu),
    warn,
  }: TunerOptions,
): Promise<TuningResult> {
  const { choice, shape, variants } = problem;
  const { M, N, K } = shape;
  await bench.compile(problem, facts);
  const contestants = variants.map((variant) => bench.contestant(problem, variant, facts));
  const dropped = await bench.findWrong(contestants, problem);
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
  const head = { choice, shape: `${M}x${N}x${K}`, shipped: variants[0], shippedMs };
  return { ...head, chosen: right[best].variant, chosenMs, dropped };
}

/** Milliseconds of one sample: long beside the wait for its end. */
const SAMPLE_MS = { software: 10, gpu: 4 } as const;
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

/** Length of the drawn stretch that the factors repeat: a prime, so that no two rows are alike. */
const STRETCH = 65_521;

/** Memory for every product, and how one is launched under facts of one's choice. */
class ProductBench {
  readonly #launcher: Launcher;
  readonly #factor: Tensor;
  readonly #result: Tensor;

  constructor(
    readonly runtime: Runtime,
    shapes: readonly MatmulShape[],
  ) {
    this.#launcher = new Launcher(runtime);
    const sizes = shapes.map(({ M, N, K }) => Math.max(M * K, K * N));
    const deepest = Math.max(...shapes.map(({ K }) => K));
    // products of both factors sum up to a few units, where the tolerance is meant for
    const scale = deepest ** -0.25;
    const random = Random.of(7, "tuner");
    const stretch = Float32Array.from({ length: STRETCH }, () => scale * random.normal());
    const values = new Float32Array(Math.max(...sizes));
    for (let start = 0; start < values.length; start += STRETCH)
      values.set(stretch.subarray(0, Math.min(STRETCH, values.length - start)), start);
    this.#factor = Tensor.from(runtime, values);
    this.#result = Tensor.empty(runtime, [Math.max(...shapes.map(({ M, N }) => M * N))]);
  }

  contestant({ choice, shape }: TuningProblem, variant: string, facts: DeviceFacts): Contestant {
    const chosen = withChoice(facts, choice, variant);
    return {
      variant,
      run: async (calls) => {
        for (let call = 0; call < calls; call++) this.#launch(shape, chosen);
        await this.runtime.finish();
      },
    };
  }

  /** All variants side by side. One that fails stops the rest of them here; each is compiled when it is run, too. */
  async compile({ choice, shape, variants }: TuningProblem, facts: DeviceFacts): Promise<void> {
    for (const variant of variants) this.#launch(shape, withChoice(facts, choice, variant));
    try {
      await this.runtime.flush();
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
    }
  }

  #launch(shape: TuningProblem["shape"], facts: DeviceFacts): void {
    const [a, b, y] = [this.#factor, this.#factor, this.#result];
    const plan: OpDefinition["forward"] = (context) =>
      matmulInto({ ...context, facts }, { ...shape, a, b, y, isLate: partsAdded(shape) === "joined" });
    this.#launcher.runPlan(matmul as unknown as OpDefinition, plan, {}, {});
  }

  /** Variants that do not compile, or whose result is not the first one's, and why. @throws DeviceError for the first one */
  async findWrong(
    contestants: readonly Contestant[],
    { shape: { M, N } }: TuningProblem,
  ): Promise<Record<string, string>> {
    const [shipped, ...others] = contestants;
    await shipped.run(1);
    const expected = await this.#read(M * N);
    const wrong: Record<string, string> = {};
    for (const { variant, run } of others) {
      // a variant that writes nothing must not find the result of the one before
      this.runtime.clear(this.#result.range);
      try {
        await run(1);
      } catch (error) {
        if (!(error instanceof DeviceError)) throw error;
        wrong[variant] = error.message;
        continue;
      }
      const mistake = firstDifference(await this.#read(M * N), expected);
      if (mistake !== undefined) wrong[variant] = mistake;
    }
    return wrong;
  }

  async #read(elements: number): Promise<Float32Array> {
    const { range } = this.#result;
    const [bytes] = await this.runtime.read([{ ...range, bytes: 4 * elements }]);
    return new Float32Array(bytes);
  }

  release(): void {
    this.#factor.release();
    this.#result.release();
  }
}

function firstDifference(got: Float32Array, expected: Float32Array): string | undefined {
  for (let i = 0; i < expected.length; i++) {
    // written so that NaN fails
    if (!(Math.abs(got[i] - expected[i]) <= TOLERANCE * (1 + Math.abs(expected[i]))))
      return `got ${got[i]} at ${i}, expected ${expected[i]}`;
  }
  return undefined;
}
