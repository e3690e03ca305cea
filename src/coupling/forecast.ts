/** What a Gram will cost, before anything is allocated. Pure. */
import type { StoredShape } from "../autograd/parameter_slots.js";
import { ArgumentError } from "../core/errors.js";
import type { KernelFacts } from "../gpu/runtime.js";
import { vocabularyTile } from "../kernels/loss/linear_log_prob.js";
import type { Qwen2Config } from "../model/config.js";
import { headWidth, parameterCount, projectionWidth, storedShapes } from "../model/parameters.js";
import { defaultPieceBytes } from "./pass.js";
import {
  type BatchSizes,
  blockTokens,
  type PlannedPath,
  pathFlops,
  planPaths,
  projectedFlops,
} from "./paths.js";
import { type CouplingSample, readTokens } from "./samples.js";

/** Sizes are upper bounds: pooled buffers are up to a quarter larger than what was asked for. */
export interface CouplingForecast {
  /** Most bytes of GPU memory at the same time, beside what was in use before. */
  readonly bytes: number;
  /** Floating-point operations of all passes. */
  readonly flops: number;
  /** Numbers of the samples of each pass. */
  readonly passes: readonly (readonly number[])[];
  /** Bytes of per-sample gradients in memory at the same time, about. */
  readonly pieceBytes: number;
  /** How the Gram of each matrix is computed, by the name under which it is stored (`storedShapes`). Empty without a Gram. */
  readonly paths: ReadonlyMap<string, PlannedPath>;
}

interface Wishes {
  readonly budgetBytes?: number | undefined;
  readonly pieceBytes?: number | undefined;
}

/** A Gram is wanted: by which paths, and whether with the gradient of the batch. */
export interface GramWishes {
  readonly path: PlannedPath | "auto";
  readonly hasGradient: boolean;
  /** Of a projected one. */
  readonly rank?: number | undefined;
}

/** The model's sizes and the adapter's facts. */
export interface ForecastPolicy {
  readonly config: Qwen2Config;
  readonly activations: "f32" | "f16";
  readonly launcher: { readonly facts: KernelFacts };
  /** Whether only the factors of an adapter have gradients: `trainedShapes` are theirs. */
  readonly adapter?: object | undefined;
  /** What has gradients, see `storedShapes`. Default: all parameters. */
  readonly trainedShapes?: readonly StoredShape[];
}

/** Pooled buffers come in four sizes an octave. */
const POOL = 1.25;
const LEAST_PIECE = 2 ** 16;

/**
 * Plans the passes within a budget and what the adapter binds at once: all samples, or the fewest equal blocks of them. For a Gram
 * each pair of blocks is a pass of its own.
 * @param gram undefined: dot products with directions
 * @throws ArgumentError for a budget in which not even two samples (without a Gram: one) fit
 */
export function forecastPasses(
  policy: ForecastPolicy,
  samples: readonly CouplingSample[],
  { budgetBytes = Number.POSITIVE_INFINITY, pieceBytes = defaultPieceBytes(policy.launcher) }: Wishes,
  gram?: GramWishes,
): CouplingForecast {
  const S = samples.length;
  const inPairs = gram !== undefined;
  const chosen = (numbers: readonly number[]) => numbers.map((s) => samples[s] as CouplingSample);
  let least = Number.POSITIVE_INFINITY;
  for (let blocks = 1; blocks <= S; blocks++) {
    const passes = passesOf(S, blocks, inPairs);
    // a single sample, or pair, that does not fit is told by whoever allocates its arrays
    if (blocks < S && !passes.every((numbers) => fitsBindings(policy, chosen(numbers)))) continue;
    for (let piece = pieceBytes; ; piece = Math.max(LEAST_PIECE, piece / 4)) {
      const paths = pathsOf(policy, chosen(passes[0] as number[]), gram);
      const bytes = Math.max(
        ...passes.map((numbers) => passBytes(policy, chosen(numbers), piece, paths, gram?.rank)),
      );
      least = Math.min(least, bytes);
      if (bytes <= budgetBytes) {
        const flops = passes.reduce(
          (sum, numbers) => sum + passFlops(policy, chosen(numbers), paths, gram),
          0,
        );
        return { bytes, flops, passes, pieceBytes: piece, paths };
      }
      if (piece <= LEAST_PIECE) break;
    }
  }
  const lengths = samples.map(({ tokens }) => tokens.length);
  const most = lengths.reduce((a, b) => Math.max(a, b), 0);
  throw new ArgumentError(
    `[coupling] budget too small: got ${budgetBytes} bytes, expected at least ${Math.ceil(least)} for ${inPairs ? "two samples" : "one sample"} at a time, of which sample ${lengths.indexOf(most)} is the longest (${most} tokens). Raise the budget, or leave out or shorten that sample.`,
  );
}

/** Whether the widest arrays of a pass can be bound whole: products of the gate's matrices, or queries, keys and values, of all tokens. */
function fitsBindings({ config, launcher }: ForecastPolicy, samples: readonly CouplingSample[]): boolean {
  const width = Math.max(2 * config.intermediate_size, projectionWidth(config));
  return 4 * sizesOf(samples).N * width <= launcher.facts.maxBindingBytes;
}

/** Numbers 0 .. S - 1 in equal blocks, or all pairs of these; one block alone. */
function passesOf(S: number, blocks: number, inPairs: boolean): number[][] {
  const ends = Array.from({ length: blocks + 1 }, (_, block) => Math.floor((S * block) / blocks));
  const all = ends.slice(1).map((end, block) => {
    const first = ends[block] as number;
    return Array.from({ length: end - first }, (_, s) => first + s);
  });
  if (blocks === 1 || !inPairs) return all;
  return all.flatMap((one, a) => all.slice(a + 1).map((other) => [...one, ...other]));
}

const shapesOf = ({ config, trainedShapes }: ForecastPolicy): readonly StoredShape[] =>
  trainedShapes ?? storedShapes(config);

function pathsOf(
  policy: ForecastPolicy,
  samples: readonly CouplingSample[],
  gram: GramWishes | undefined,
): ReadonlyMap<string, PlannedPath> {
  if (!gram) return new Map();
  return planPaths(policy.config, sizesOf(samples), gram.hasGradient, gram.path, shapesOf(policy));
}

function sizesOf(samples: readonly CouplingSample[]): BatchSizes {
  const N = samples.reduce((sum, sample) => sum + readTokens(sample), 0);
  const R = samples.reduce((sum, { tokens, responseStart }) => sum + tokens.length - responseStart, 0);
  return { S: samples.length, N, R };
}

/** Bytes of a pass: what forward keeps, what backward has beside it, and the pieces. */
function passBytes(
  policy: ForecastPolicy,
  samples: readonly CouplingSample[],
  pieceBytes: number,
  paths: ReadonlyMap<string, PlannedPath>,
  rank = 0,
): number {
  const { config, activations } = policy;
  const { S, N, R } = sizesOf(samples);
  const { hidden_size: C, intermediate_size: F, num_attention_heads: H, vocab_size: V } = config;
  const L = config.num_hidden_layers;
  const real = activations === "f16" ? 2 : 4;
  const qkv = projectionWidth(config);
  const layer = N * (real * (qkv + H * headWidth(config) + 2 * C + 3 * F) + 4 * (H + 2));
  const tile = vocabularyTile(R, V);
  const head = 4 * R * (tile + 8) + real * 2 * R * C;
  const kept = L * layer + N * (real * 2 * C + 4 * 8) + head;
  // gradients of one layer, in f32 where parts of sums are added
  const backward = N * (4 * (2 * qkv + 4 * C) + real * 3 * F + 8 * H);
  const shapes = shapesOf(policy);
  const matrices = shapes.reduce((sum, { parts }) => sum + (parts?.length ?? 1), 0);
  const widest = Math.max(C, F);
  const piece = Math.max(pieceBytes, 4 * S * Math.max(2048, widest));
  const parts = Math.ceil(piece / (4 * S * 1024)) * 4 * S * S + 4 * S * 64;
  const grams = 4 * matrices * S * S;
  const used = Math.min(V, N);
  // columns of gradients that belong to one matrix of several, and normalised rows
  const apart = policy.adapter ? 4 * N * (C + Math.max(qkv, 2 * F)) : 0;
  const tied =
    config.tie_word_embeddings && !policy.adapter
      ? Math.max(
          Math.min(4 * pieceBytes, 4 * S * V * C),
          tile < V || 4 * S * V * C > 4 * pieceBytes ? 4 * R * (used + tile + C) : 0,
        ) +
        4 * V
      : 0;
  const tables = 4 * (S * used + 4 * S + 2 * V + N);
  const most = Math.max(blockTokens(pieceBytes), ...samples.map(readTokens));
  const block = Math.min(N, most);
  // factors put in order, and products of the tokens of two blocks
  const tokens = shapes
    .filter(({ name }) => paths.has(name) && paths.get(name) !== "product")
    .map(({ name, shape }) => {
      const [O, I] = shape as [number, number];
      const width = I + 2 * (HEADS.includes(name) ? tile : O);
      if (paths.get(name) === "projected")
        return 4 * ((width + 5 * rank) * N + rank * (width + 2 * I) + 3 * S * rank ** 2);
      return 4 * rowsOf(name, { S, N, R }) * width + 4 * (4 * block ** 2 + 3 * S * block);
    })
    .reduce((a, b) => Math.max(a, b), 0);
  return POOL * (kept + backward + Math.max(piece, tokens) + parts + grams + tied + tables + apart);
}

const HEADS = ["model.embed_tokens.weight", "lm_head.weight"];
/** Rows that the gradient of a matrix is summed over. */
const rowsOf = (name: string, { N, R }: BatchSizes): number => (HEADS.includes(name) ? R : N);

/** Forward and backward, and the products of all pairs, or of all pairs of tokens. */
function passFlops(
  policy: ForecastPolicy,
  samples: readonly CouplingSample[],
  paths: ReadonlyMap<string, PlannedPath>,
  gram: GramWishes | undefined,
): number {
  const { S, N, R } = sizesOf(samples);
  const { config } = policy;
  const P = parameterCount(config);
  const { vocab_size: V, hidden_size: C, num_hidden_layers: L } = config;
  const embedding = V * C * (config.tie_word_embeddings ? 1 : 2);
  const attention = samples.reduce((sum, sample) => sum + 7 * L * C * readTokens(sample) ** 2, 0);
  // weights below an adapter have no gradients of their own
  const products = policy.adapter ? 4 : 6;
  const passes = products * (N * (P - embedding) + R * V * C) + attention;
  const pairs = shapesOf(policy).reduce((sum, { name, shape }) => {
    const [O, I = 1] = shape as [number, number | undefined];
    if (!gram) return sum + 4 * S * O * I;
    const path = paths.get(name) ?? "product";
    const sizes = { S, N: rowsOf(name, { S, N, R }), O, I, hasGradient: gram.hasGradient };
    // the product of tokens with tokens is that of the plain pass, sample by sample
    const flops = path === "projected" ? projectedFlops(sizes, gram.rank ?? 0) : pathFlops(sizes, path);
    return sum + flops - 2 * sizes.N * O * I;
  }, 0);
  return passes + pairs;
}
