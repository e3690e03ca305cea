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
  type CouplingBench,
  checkedGram,
  couplingLabel,
  plainWork,
  ratiosOf,
  repeated,
  samplesOf,
} from "./coupling.js";
import { measureRounds, wallTime } from "./measure.js";
import { openModel } from "./model.js";
import { programDtype } from "./precision.js";
import { trainingProblem, type Workload } from "./workloads.js";

/** Milliseconds of one call beyond which a point is left out. */
const MOST_MS = 20_000;

/** Nano's layers, of other widths where these vary: one size at a time around 32 samples of 16 tokens at width 64. */
export function curvePoints(quick: boolean): Workload[] {
  const base = { C: 64, S: 32, T: 16 };
  const sizes = quick
    ? [
        { ...base, S: 4, T: 4 },
        { ...base, S: 4 },
      ]
    : [
        ...[8, 32, 128, 512].map((S) => ({ ...base, S })),
        ...[4, 8, 32, 64, 128, 256, 512].map((T) => ({ ...base, T })),
        ...[128, 256, 512].map((C) => ({ ...base, C })),
      ];
  return sizes.map(({ C, S, T }) => ({
    name: `width${C}`,
    config: presetConfig("nano", 512, { hidden_size: C, intermediate_size: 3 * C }),
    B: S,
    T,
  }));
}

/** `width64 S32 T16 token` */
const curveLabel = (workload: Workload, path: GramPath | "auto"): string =>
  `${couplingLabel(workload)} ${path}`;

/** Rows of one point: the Gram with the gradient of the batch, over the plain pass, interleaved. */
export async function benchCouplingCurve(bench: CouplingBench, workload: Workload): Promise<BenchRow[]> {
  const { launcher, adapter, precision, effort } = bench;
  const problem = trainingProblem(workload);
  const model = openModel(launcher, workload, problem, precision, true);
  const samples = samplesOf(problem);
  const coefficients = samples.map(() => 1);
  const paths = ["product", "token", "auto"] as const;
  const head = (path: (typeof paths)[number]) => ({
    op: "gram_curves",
    direction: "gram" as const,
    shape: curveLabel(workload, path),
    implementation: "uncouple",
    dtype: programDtype(launcher.facts, precision),
    adapter,
  });
  const gram = (path: (typeof paths)[number]) => async () => {
    model.parameters.clearGradients();
    await perSampleGram(model, samples, { coefficients, path });
  };
  const plain = plainWork(model, samples);
  try {
    await plain();
    const plainMs = await wallTime(plain);
    const rows: BenchRow[] = [];
    const fast: (typeof paths)[number][] = [];
    for (const path of paths) {
      const ms = plainMs * flopsRatio(model, samples, path);
      const error =
        ms > MOST_MS
          ? `left out: about ${Math.round(ms / 1000)} s a call`
          : (await checkedGram(model, samples, ALLOWED[precision], path)).error;
      if (error) rows.push({ ...head(path), error });
      else fast.push(path);
    }
    const works = [plain, ...fast.map(gram)].map((run) => ({ run: repeated(run) }));
    const timed = ratiosOf(await measureRounds(works, effort));
    return [
      ...fast.map((path, at) => ({ ...head(path), ...timed[at], ...chosen(model, samples, path) })),
      ...rows,
    ];
  } finally {
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
