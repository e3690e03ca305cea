/** The Gram by either path and by the rule's choice, over the number and length of samples and the width of the model. */
import { forecastPasses } from "../src/coupling/forecast.js";
import { perSampleGram } from "../src/coupling/gram.js";
import type { GramPath } from "../src/coupling/paths.js";
import type { CouplingSample } from "../src/coupling/samples.js";
import { presetConfig } from "../src/model/config.js";
import type { Qwen2Model } from "../src/model/qwen2.js";
import type { BenchRow } from "../src/report/bench_rows.js";
import {
  ALLOWED,
  checkedGram,
  couplingLabel,
  openRivals,
  plainWork,
  type Rivals,
  ratiosOf,
  repeated,
  samplesOf,
  separateWork,
} from "./coupling.js";
import { measureRounds, wallTime } from "./measure.js";
import { openModel } from "./model.js";
import type { PeerBench } from "./peers.js";
import { programDtype } from "./precision.js";
import { trainingProblem, type Workload } from "./workloads.js";

/** Milliseconds of one call beyond which a path is left out. */
const MOST_MS = 30_000;

/**
 * Nano's layers, of other widths where these vary, one size at a time: the number of samples at 16 tokens and, where there are
 * many, at 4; the length around the rule's threshold at 32 samples, and far beyond it at 8; the width at 8 samples of 16.
 */
export function curvePoints(quick: boolean): Workload[] {
  const base = { C: 64, S: 8, T: 16 };
  const sizes = quick
    ? [
        { ...base, S: 4, T: 4 },
        { ...base, S: 4 },
      ]
    : [
        ...[8, 32, 128, 512].map((S) => ({ ...base, S })),
        ...[32, 512].map((S) => ({ ...base, S, T: 4 })),
        { ...base, S: 32, T: 8 },
        ...[32, 64, 128, 256, 512].map((T) => ({ ...base, T })),
        ...[128, 256, 512].map((C) => ({ ...base, C })),
      ];
  return sizes.map(({ C, S, T }) => ({
    name: `width${C}`,
    config: presetConfig("nano", 512, { hidden_size: C, intermediate_size: 3 * C }),
    B: S,
    T,
  }));
}

const PATHS = ["product", "token", "auto"] as const;

/**
 * Rows of one point, over the plain pass and interleaved with it: the Gram with the gradient of the batch by each path, and a
 * backward pass for each sample; peers' over their own plain pass. A row's shape ends with what it is: `width64 S32 T16 token`.
 */
export async function benchCouplingCurve(bench: PeerBench, workload: Workload): Promise<BenchRow[]> {
  const { launcher, adapter, precision, effort } = bench;
  const problem = trainingProblem(workload);
  const model = openModel(launcher, workload, problem, precision, true);
  const samples = samplesOf(problem);
  const coefficients = samples.map(() => 1);
  const dtype = programDtype(launcher.facts, precision);
  const label = couplingLabel(workload);
  const common = { op: "gram_curves", adapter } as const;
  const head = (what: (typeof PATHS)[number] | "separate") => ({
    ...common,
    direction: what === "separate" ? ("separate" as const) : ("gram" as const),
    shape: `${label} ${what}`,
    implementation: "uncouple",
    dtype,
  });
  const gram = (path: (typeof PATHS)[number]) => async () => {
    model.parameters.clearGradients();
    await perSampleGram(model, samples, { coefficients, path });
  };
  const plain = plainWork(model, samples);
  let rivals: Rivals | undefined;
  try {
    await plain();
    const plainMs = await wallTime(plain);
    const left: BenchRow[] = [];
    const fast: (typeof PATHS)[number][] = [];
    let expected: Float64Array | undefined;
    for (const path of PATHS) {
      const ms = plainMs * flopsRatio(model, samples, path);
      const checked = ms > MOST_MS ? undefined : await checkedGram(model, samples, ALLOWED[precision], path);
      const error = checked ? checked.error : `left out: about ${Math.round(ms / 1000)} s a call`;
      if (error) left.push({ ...head(path), error });
      else fast.push(path);
      if (checked && !error) expected = checked.gram;
    }
    rivals = await openRivals(expected ? bench.peers : [], problem, expected ?? new Float64Array());
    const own = [plain, ...fast.map(gram), separateWork(model, samples)];
    const ownWorks = own.map((run) => ({ run: repeated(run) }));
    const timings = await measureRounds([...ownWorks, ...rivals.works], effort);
    const timed = ratiosOf(timings.slice(0, own.length));
    return [
      ...fast.map((path, at) => ({ ...head(path), ...timed[at], ...chosen(model, samples, path) })),
      ...left,
      { ...head("separate"), ...timed[fast.length] },
      ...rivals
        .rows(timings.slice(own.length), { ...common, shape: label })
        .map((row) => ({ ...row, shape: `${label} ${row.direction}` })),
    ];
  } finally {
    await rivals?.release();
    model.release();
    model.parameters.release();
  }
}

const forecast = (model: Qwen2Model, samples: readonly CouplingSample[], path: GramPath | "auto") =>
  forecastPasses(model, samples, {}, { path, hasGradient: true });

/** Operations of the Gram by a path over those of a pass without one. */
function flopsRatio(model: Qwen2Model, samples: readonly CouplingSample[], path: GramPath | "auto"): number {
  return forecast(model, samples, path).flops / forecastPasses(model, samples, {}).flops;
}

/** How many of the matrices go by products of tokens. */
function chosen(model: Qwen2Model, samples: readonly CouplingSample[], path: GramPath | "auto") {
  const paths = [...forecast(model, samples, path).paths.values()];
  return { tokenMatrices: paths.filter((one) => one === "token").length, matrices: paths.length };
}
