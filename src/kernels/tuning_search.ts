/** What an autotuner has to measure: for each class of shapes one product and the variants that may compute it. */
import type { DeviceFacts, Tuning } from "../gpu/runtime.js";
import { type MatmulShape, planMatmul, shippedTile } from "./matmul_plan.js";
import { productClass, SPLIT_FACTORS, tileName, tileVariants } from "./tuning.js";

/** One choice: which variant computes a product fastest. */
export interface TuningProblem {
  /** As in a `Tuning`. */
  readonly choice: string;
  /** The product that stands for its class. */
  readonly shape: MatmulShape;
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
const ofLayer = (M: number, N: number, K: number): MatmulShape[] =>
  ["nt", "nn", "tn"].map((layout) => product(layout, M, N, K));

/** One product of each class, so large that a launch costs little beside it; what costs training most comes first. */
const GPU_PRODUCTS: readonly MatmulShape[] = [
  ...ofLayer(2048, 2048, 1024),
  ...ofLayer(1024, 1024, 1024),
  product("nt", 8, 2048, 1024),
  ...ofLayer(512, 256, 256),
  ...ofLayer(192, 256, 2048),
];
const SOFTWARE_PRODUCTS: readonly MatmulShape[] = [
  ...ofLayer(512, 512, 256),
  ...ofLayer(256, 128, 128),
  ...ofLayer(192, 64, 1024),
];

/** One product for each class of this adapter. */
export function tunedProducts({ isSoftware }: Pick<DeviceFacts, "isSoftware">): readonly MatmulShape[] {
  return isSoftware ? SOFTWARE_PRODUCTS : GPU_PRODUCTS;
}

/** Which tile. */
export function tileProblem(shape: MatmulShape, facts: DeviceFacts): TuningProblem | undefined {
  const className = productClass(shape, facts);
  if (className === undefined) return undefined;
  const shipped = shippedTile(shape, facts);
  const names = [shipped, ...tileVariants(shipped, className, facts)].map(tileName);
  return { choice: `tile ${className}`, shape, variants: [...new Set(names)] };
}

/** As in training: gradients of weights wait for nobody. */
export const partsAdded = ({ transposeA }: MatmulShape): "alone" | "joined" =>
  transposeA ? "joined" : "alone";

/** How many parts of K, given the tile; factors that lead to the same number are one variant. */
export function splitProblem(shape: MatmulShape, facts: DeviceFacts): TuningProblem | undefined {
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
  return { choice, shape, variants };
}

/** Facts under which plans take a variant. */
export function withChoice(facts: DeviceFacts, choice: string, variant: string): DeviceFacts {
  return { ...facts, tuning: { ...facts.tuning, [choice]: variant } };
}

/** What was found for one choice. */
export interface TuningResult {
  /** As in a `Tuning`. */
  readonly choice: string;
  /** `MxNxK` of the product that was measured. */
  readonly shape: string;
  readonly shipped: string;
  /** Milliseconds of one product. */
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
