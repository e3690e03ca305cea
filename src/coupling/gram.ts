/** The Gram of per-sample gradients: which samples push which, exactly, from one backward pass. */
import { ArgumentError } from "../core/errors.js";
import type { Qwen2Model } from "../model/qwen2.js";
import { requireFiniteNorms } from "./finite.js";
import { type CouplingForecast, forecastPasses, type GramWishes } from "./forecast.js";
import { requireTrainable, samplePass, trainableNames } from "./pass.js";
import type { GramPath } from "./paths.js";
import { checkProjection, ProjectedGramSink, type ProjectionOptions } from "./projected_sink.js";
import { type CouplingSample, checkSamples } from "./samples.js";
import { BatchGradientSink, GramSink } from "./sinks.js";
import { Workspace } from "./workspace.js";

export interface GramOptions {
  /**
   * c_i: the gradient of the batch, sum of c_i g_i, is added to the policy's parameter gradients in the same pass (clear them
   * before). Without it they stay as they are.
   */
  readonly coefficients?: readonly number[] | undefined;
  /** Bytes of GPU memory beside what is in use already. Samples that do not fit at once go in pairs of blocks. Default: no limit. */
  readonly budgetBytes?: number | undefined;
  /** Bytes of per-sample gradients in memory at the same time, about; by default fitted to caches and budget. */
  readonly pieceBytes?: number | undefined;
  /**
   * How the Gram of each matrix is computed: from the gradients of the samples, or from products of tokens. Default `auto`: by
   * the operations that either takes, a function of sizes alone. The result differs by rounding.
   */
  readonly path?: GramPath | "auto" | undefined;
  /**
   * An approximate Gram, for models whose gradients are too large: of every matrix's gradients, projected on both sides to so
   * many numbers. Right on average over seeds; a wrong entry is off by about 1 / rank of the norms. Not with coefficients.
   */
  readonly projection?: ProjectionOptions | undefined;
  /** Is told what it will take, before anything is allocated. */
  readonly onForecast?: ((forecast: CouplingForecast) => void) | undefined;
}

/** Inner products of the gradients of S samples. Matrices are row-major, [S, S], symmetric. */
export interface SampleGram {
  readonly samples: number;
  /** K[i, j] = <g_i, g_j>, over all parameters. */
  readonly gram: Float64Array;
  /** The same over one parameter, by Hugging Face name; they add up to `gram`. A tied embedding is one parameter. */
  readonly layers: ReadonlyMap<string, Float64Array>;
  /** Sum over the response of weight times log-probability, natural logarithm, of each sample. */
  readonly logProbs: Float64Array;
  readonly forecast: CouplingForecast;
}

/**
 * Exact Gram of per-sample gradients with respect to all trainable parameters:
 *
 *     K_ij = <g_i, g_j>,   g_i = gradient of sum over t of weights_t log p(response token t | tokens before it)
 *
 * In a tied model the embedding's gradient is that of the head and of the lookup together, cross terms included. The batch
 * is one forward and one backward pass; where the budget wants blocks of samples, one for each pair of blocks.
 * @param policy with trainable parameters; its gradients are left alone but for `coefficients`
 * @param samples S of them; the last token of each is only predicted, so it may have one token more than the context
 * @returns see `SampleGram`; the caller owns it
 * @throws ArgumentError naming the sample for one that is too long, without response tokens, with ids or weights that do not
 * fit, or whose gradient is not finite; when all parameters are frozen; for a budget in which not even two samples fit
 * @remarks products are f32, sums of fixed order: the same bits again and again on one adapter. Of a sample's entries, the
 * order of the sums does not depend on the other samples
 * @source the product form of a layer's per-sample gradient: Goodfellow 2015 (1510.01799); one pass for all layers: ours
 */
export async function perSampleGram(
  policy: Qwen2Model,
  samples: readonly CouplingSample[],
  options: GramOptions = {},
): Promise<SampleGram> {
  requireTrainable(policy);
  checkSamples(samples, policy.config);
  const { coefficients, projection } = options;
  if (coefficients && coefficients.length !== samples.length) {
    throw new ArgumentError(
      `[coupling] coefficients of wrong length: got ${coefficients.length}, expected ${samples.length}, one a sample. Correct them.`,
    );
  }
  const forecast = forecastPasses(policy, samples, options, wishesOf(options));
  options.onForecast?.(forecast);
  const S = samples.length;
  const total = new Float64Array(S * S);
  const layers = new Map(trainableNames(policy).map((name) => [name, new Float64Array(S * S)]));
  const logProbs = new Float64Array(S).fill(Number.NaN);
  const workspace = new Workspace(policy.launcher);
  try {
    for (const numbers of forecast.passes) {
      const part = numbers.map((s) => samples[s] as CouplingSample);
      // a sample of several passes counts in the gradient once
      const own = numbers.map((s) => (Number.isNaN(logProbs[s]) ? (coefficients?.[s] as number) : 0));
      const wishes = { projection, forecast, numbers, coefficients: coefficients && own };
      const { sums, grams } = await gramPass(policy, part, workspace, wishes);
      for (const [name, values] of grams) scatter(values, numbers, layers.get(name) as Float64Array, S);
      numbers.forEach((s, at) => {
        logProbs[s] = sums[at] as number;
      });
    }
  } finally {
    workspace.release();
  }
  for (const layer of layers.values())
    layer.forEach((value, at) => {
      total[at] += value;
    });
  const squares = (gram: Float64Array) => samples.map((_, s) => gram[s * S + s] as number);
  await requireFiniteNorms(
    policy,
    samples,
    new Map([...layers].map(([name, gram]) => [name, squares(gram)])),
  );
  return { samples: S, gram: total, layers, logProbs, forecast };
}

interface PassWishes extends Pick<GramOptions, "coefficients" | "projection"> {
  readonly forecast: CouplingForecast;
  readonly numbers: readonly number[];
}

/** The Grams of the samples of one pass, by parameter, and their log-probabilities. */
async function gramPass(
  policy: Qwen2Model,
  samples: readonly CouplingSample[],
  workspace: Workspace,
  { coefficients, projection, forecast: { pieceBytes, paths }, numbers }: PassWishes,
): Promise<{ readonly sums: readonly number[]; readonly grams: ReadonlyMap<string, Float32Array> }> {
  const gram = new GramSink(workspace, trainableNames(policy), samples.length, pieceBytes);
  const gradient = coefficients && new BatchGradientSink(workspace, coefficients);
  const tied = policy.config.tie_word_embeddings ? "model.embed_tokens.weight" : undefined;
  const projected = projection && new ProjectedGramSink(workspace, gram, projection, tied);
  const sinks = [projected ?? gram, ...(gradient ? [gradient] : [])];
  try {
    const sums = await samplePass(policy, samples, { workspace, sinks, pieceBytes, paths }, numbers);
    return { sums, grams: await gram.read() };
  } finally {
    projected?.release();
    gram.release();
    gradient?.release();
  }
}

/** @throws ArgumentError for options that exclude each other */
function wishesOf({ coefficients, path = "auto", projection }: GramOptions): GramWishes {
  const hasGradient = coefficients !== undefined;
  if (!projection) return { path, hasGradient };
  checkProjection(projection);
  if (hasGradient || path !== "auto") {
    throw new ArgumentError(
      `[coupling] projection goes with neither coefficients nor a path: got ${hasGradient ? "coefficients" : `path ${path}`}, expected none. Ask for an exact Gram, or leave them out.`,
    );
  }
  return { path: "projected", hasGradient, rank: projection.rank };
}

/** Puts the Gram of some samples where it belongs. */
function scatter(values: Float32Array, numbers: readonly number[], into: Float64Array, S: number): void {
  numbers.forEach((i, a) => {
    numbers.forEach((j, b) => {
      into[i * S + j] = values[a * numbers.length + b] as number;
    });
  });
}
