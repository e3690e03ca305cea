/** Dot products of per-sample gradients with given directions, without a Gram: what an update does to each sample. */
import { ArgumentError } from "../core/errors.js";
import { MOST_DIRECTIONS } from "../kernels/coupling/sample_sums.js";
import type { ArrayView } from "../kernels/engine/op.js";
import type { Qwen2Model } from "../model/qwen2.js";
import { requireFiniteNorms } from "./finite.js";
import { type CouplingForecast, forecastPasses } from "./forecast.js";
import type { GramOptions } from "./gram.js";
import { requireTrainable, samplePass, trainableNames } from "./pass.js";
import { type CouplingSample, checkSamples } from "./samples.js";
import { BatchGradientSink, DotsSink } from "./sinks.js";
import type { PieceSink } from "./taken.js";
import { Workspace } from "./workspace.js";

/**
 * A vector of the policy's size: by the name of a stored tensor (`storedShapes`), an f32 array of its shape on the GPU. The
 * parameters' gradients: `(name) => policy.trained.get(name).grad`.
 */
export type Direction = (stored: string) => ArrayView | undefined;

/** Of S samples and D directions. */
export interface SampleDirections {
  /** <g_i, V_d>: [S, D], row-major. */
  readonly dots: Float64Array;
  /** |g_i|^2: [S]. The self part of the influence is made of it. */
  readonly squares: Float64Array;
  /** The same over one parameter, by Hugging Face name; they add up to the total. */
  readonly layers: ReadonlyMap<string, { readonly dots: Float64Array; readonly squares: Float64Array }>;
  /** Sum over the response of weight times log-probability of each sample. */
  readonly logProbs: Float64Array;
  readonly forecast: CouplingForecast;
}

/**
 * <g_i, V> of every sample and direction, and |g_i|^2, g_i as in `perSampleGram`: one forward and backward pass, and two
 * operations a sample and parameter for each direction. To first order, an update V changes the weighted log-probability of
 * sample i by <g_i, V>. With V = sum over j of c_j g_j that is sum over j of c_j K_ij; its self part is c_i |g_i|^2.
 * @param policy with trainable parameters
 * @param samples S of them
 * @param vectors at most four. With `options.coefficients` the pass adds sum of c_j g_j to the parameters' gradients before it
 * reads them: with gradients that were cleared before, the direction `(name) => policy.trained.get(name).grad` is that of the
 * batch itself. Where not all samples fit in one pass, their gradient takes passes of its own before
 * @throws ArgumentError as `perSampleGram`; for more than four vectors, or arrays of other shapes
 * @source Bu et al. 2022 (2205.10683) for norms; <g_i, V> from the products in memory: ours
 */
export async function directions(
  policy: Qwen2Model,
  samples: readonly CouplingSample[],
  vectors: readonly Direction[],
  options: Omit<GramOptions, "path" | "projection"> = {},
): Promise<SampleDirections> {
  requireTrainable(policy);
  checkSamples(samples, policy.config);
  const { coefficients } = options;
  const forecast = forecastPasses(policy, samples, options);
  check(samples.length, vectors.length, coefficients);
  options.onForecast?.(forecast);
  const S = samples.length;
  const D = vectors.length;
  const names = trainableNames(policy);
  const empty = (name: string) =>
    [name, { dots: new Float64Array(S * D), squares: new Float64Array(S) }] as const;
  const layers = new Map(names.map(empty));
  const logProbs = new Float64Array(S);
  const workspace = new Workspace(policy.launcher);
  const resolved = vectors.map((vector) => (name: string) => arrayOf(policy, vector, name));
  const { passes, pieceBytes } = forecast;
  const run = async (numbers: readonly number[], sinks: readonly PieceSink[]) => {
    const part = numbers.map((s) => samples[s] as CouplingSample);
    return samplePass(policy, part, { workspace, sinks, pieceBytes }, numbers);
  };
  const gradientOf = (numbers: readonly number[]) =>
    coefficients &&
    new BatchGradientSink(
      workspace,
      numbers.map((s) => coefficients[s] as number),
    );
  // in one pass each piece of the gradient is there before it is read as a direction
  const isOnePass = passes.length === 1;
  try {
    for (const numbers of isOnePass ? [] : passes) {
      const gradient = gradientOf(numbers);
      if (gradient) await run(numbers, [gradient]).finally(() => gradient.release());
    }
    for (const numbers of passes) {
      const gradient = isOnePass ? gradientOf(numbers) : undefined;
      const dots = new DotsSink(workspace, names, numbers.length, resolved);
      try {
        logProbs.set(await run(numbers, gradient ? [gradient, dots] : [dots]), numbers[0]);
        for (const [name, values] of await dots.read()) spread(values, numbers, layers.get(name));
      } finally {
        gradient?.release();
        dots.release();
      }
    }
  } finally {
    workspace.release();
  }
  await requireFiniteNorms(
    policy,
    samples,
    new Map([...layers].map(([name, { squares }]) => [name, squares])),
  );
  const [, total] = empty("total");
  for (const { dots, squares } of layers.values()) {
    for (let at = 0; at < dots.length; at++) total.dots[at] += dots[at] as number;
    for (let s = 0; s < S; s++) total.squares[s] += squares[s] as number;
  }
  return { ...total, layers, logProbs, forecast };
}

function check(S: number, D: number, coefficients: readonly number[] | undefined): void {
  if (D > MOST_DIRECTIONS) {
    throw new ArgumentError(
      `[coupling] too many directions: got ${D}, expected at most ${MOST_DIRECTIONS}. Ask for them in several passes.`,
    );
  }
  if (coefficients && coefficients.length !== S) {
    throw new ArgumentError(
      `[coupling] coefficients of wrong length: got ${coefficients.length}, expected ${S}, one a sample. Correct them.`,
    );
  }
}

function arrayOf(policy: Qwen2Model, vector: Direction, name: string): ArrayView {
  const array = vector(name);
  const { shape } = policy.trained.get(name);
  if (array?.dtype === "f32" && array.shape.join() === shape.join()) return array;
  throw new ArgumentError(
    `[coupling] direction of ${name} does not fit: got ${array ? `${array.dtype} [${array.shape}]` : "nothing"}, expected f32 [${shape}]. Lay it out as the parameters are.`,
  );
}

function spread(
  values: Float32Array,
  numbers: readonly number[],
  layer: { readonly dots: Float64Array; readonly squares: Float64Array } | undefined,
): void {
  if (!layer) return;
  const D = values.length / numbers.length - 1;
  numbers.forEach((s, at) => {
    for (let d = 0; d < D; d++) layer.dots[s * D + d] = values[at * (D + 1) + d] as number;
    layer.squares[s] = values[at * (D + 1) + D] as number;
  });
}
