/** What an autotuner has to measure: for each class of shapes one piece of work and the variants that may compute it. */
import type { KernelFacts, Tuning } from "../../gpu/runtime.js";
import {
  type AttentionDirection,
  attentionChoice,
  attentionVariants,
} from "../attention/attention_layout.js";
import { planMatmul, shippedTile } from "../matmul/matmul_plan.js";
import type { MatmulShape } from "../matmul/matmul_shape.js";
import { productClass, SPLIT_FACTORS, tileName, tileVariants } from "./tuning.js";

/** Attention over packed sequences of one length, in one direction. */
export interface AttentionWork {
  readonly direction: AttentionDirection;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly sequences: number;
  /** Tokens of each sequence. */
  readonly length: number;
}

/** One piece of work, measured in place of all shapes of its class. */
export type TunedWork = { readonly product: MatmulShape } | { readonly attention: AttentionWork };

/** A choice to be made: which variant computes this work fastest. */
export interface TuningProblem {
  /** As in a `Tuning`. */
  readonly choice: string;
  /** Variants, the shipped one first. */
  readonly variants: readonly string[];
}

/** Share of the shipped time that a variant must save, so that noise does not change kernels from run to run. */
export const LEAST_GAIN = 0.05;

const product = (layout: string, M: number, N: number, K: number): MatmulShape => ({
  M,
  N,
  K,
  batch: 1,
  transposeA: layout === "tn",
  transposeB: layout === "nt",
});

/** The three products of a layer: forward, gradient of the input, gradient of the weight. */
const ofLayer = (M: number, N: number, K: number): TunedWork[] =>
  ["nt", "nn", "tn"].map((layout) => ({ product: product(layout, M, N, K) }));

/** Heads as in the published models; narrow ones are those of small models. Prompts of agents are some hundred tokens. */
const ofHeads = (
  headDim: number,
  heads: number,
  kvHeads: number,
  sequences: number,
  length: number,
): TunedWork[] =>
  (["forward", "backward"] as const).map((direction) => ({
    attention: { direction, heads, kvHeads, headDim, sequences, length },
  }));

/** One piece of work of each class, so large that a launch costs little beside it; what costs training most comes first. */
const GPU_WORK: readonly TunedWork[] = [
  ...ofLayer(2048, 2048, 1024),
  ...ofHeads(64, 14, 2, 8, 256),
  ...ofLayer(1024, 1024, 1024),
  { product: product("nt", 8, 2048, 1024) },
  ...ofHeads(128, 12, 2, 8, 256),
  ...ofLayer(512, 256, 256),
  ...ofLayer(192, 256, 2048),
  ...ofHeads(16, 4, 2, 16, 128),
];
const SOFTWARE_WORK: readonly TunedWork[] = [
  ...ofLayer(512, 512, 256),
  ...ofLayer(256, 128, 128),
  ...ofLayer(192, 64, 1024),
];

/** One piece of work for each class of this adapter. */
export function tunedWork({ isSoftware }: Pick<KernelFacts, "isSoftware">): readonly TunedWork[] {
  return isSoftware ? SOFTWARE_WORK : GPU_WORK;
}

/** The choices that a piece of work decides, in turn: each sees what was found for those before. */
export const PROBLEMS: readonly ((work: TunedWork, facts: KernelFacts) => TuningProblem | undefined)[] = [
  (work, facts) => ("product" in work ? tileProblem(work.product, facts) : undefined),
  (work, facts) => ("product" in work ? splitProblem(work.product, facts) : undefined),
  (work, facts) => ("attention" in work ? attentionProblem(work.attention, facts) : undefined),
];

/** How tables and records name a piece of work. */
export function workName(work: TunedWork): string {
  if ("product" in work) return `${work.product.M}x${work.product.N}x${work.product.K}`;
  const { heads, kvHeads, headDim, sequences, length } = work.attention;
  return `${sequences}x${length}, ${heads}/${kvHeads} heads of ${headDim}`;
}

/** How attention is laid out. */
function attentionProblem(attention: AttentionWork, facts: KernelFacts): TuningProblem | undefined {
  const { direction, headDim } = attention;
  const choice = attentionChoice(direction, headDim, facts);
  if (choice === undefined) return undefined;
  return { choice, variants: attentionVariants(facts) };
}

/** Which tile. */
export function tileProblem(shape: MatmulShape, facts: KernelFacts): TuningProblem | undefined {
  const className = productClass(shape, facts);
  if (className === undefined) return undefined;
  const shipped = shippedTile(shape, facts);
  const names = [shipped, ...tileVariants(shipped, className, facts)].map(tileName);
  return { choice: `tile ${className}`, variants: [...new Set(names)] };
}

/** As in training: gradients of weights wait for nobody. */
export const partsAdded = ({ transposeA }: MatmulShape): "alone" | "joined" =>
  transposeA ? "joined" : "alone";

/** How many parts of K, given the tile; factors that lead to the same number are one variant. */
export function splitProblem(shape: MatmulShape, facts: KernelFacts): TuningProblem | undefined {
  const className = productClass(shape, facts);
  if (className === undefined) return undefined;
  const choice = `split ${className}`;
  const variants: string[] = [];
  const seen = new Set<number>();
  for (const factor of ["1", ...SPLIT_FACTORS]) {
    const { parts } = planMatmul(shape, withChoice(facts, choice, factor), partsAdded(shape));
    if (!seen.has(parts)) variants.push(factor);
    seen.add(parts);
  }
  return { choice, variants };
}

/** Facts under which plans take a variant. */
export function withChoice(facts: KernelFacts, choice: string, variant: string): KernelFacts {
  return { ...facts, tuning: { ...facts.tuning, [choice]: variant } };
}

/** What was found for one choice. */
export interface TuningResult {
  /** As in a `Tuning`. */
  readonly choice: string;
  /** What was measured, as `workName` says it. */
  readonly shape: string;
  readonly shipped: string;
  /** Milliseconds of one run. */
  readonly shippedMs: number;
  /** The shipped one unless another is faster by `LEAST_GAIN`. */
  readonly chosen: string;
  readonly chosenMs: number;
  /** Variants that did not compile or computed something else, and why. */
  readonly dropped: Readonly<Record<string, string>>;
}

/** The choices that differ from the shipped ones. */
export function tuningOf(results: readonly TuningResult[]): Tuning {
  const changed = results.filter(({ shipped, chosen }) => chosen !== shipped);
  return Object.fromEntries(changed.map(({ choice, chosen }) => [choice, chosen]));
}

/** Position of the fastest, when it saves enough of the first one's time; else 0. */
export function fastest(times: readonly number[]): number {
  const best = times.indexOf(Math.min(...times));
  return times[best] < (1 - LEAST_GAIN) * times[0] ? best : 0;
}
