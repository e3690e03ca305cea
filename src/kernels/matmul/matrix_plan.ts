/** When matrix hardware computes a product, and by which tile: a pure function of sizes, adapter and asked precision. */
import {
  type MatrixTile,
  matrixInvocations,
  matrixSharedBytes,
} from "../../../shaders/matmul/matmul_subgroup_matrix.js";
import type { KernelFacts, MatrixConfig } from "../../gpu/device_facts.js";

/** Sides of a tile and the subgroups that share it; the larger first. Each subgroup's block is a multiple of 32. */
const SIZES = [
  { side: 128, subgroupsM: 2, subgroupsN: 4 },
  { side: 64, subgroupsM: 2, subgroupsN: 2 },
] as const;
/** k of a tile, the larger first; the smaller where shared memory is short. */
const DEPTHS = [32, 16] as const;
/** More would have less than one vec4 of a tile to load. */
const MOST_INVOCATIONS = 512;
/** Products with a smaller side would leave most of a tile empty. */
const LEAST_SIDE = 32;
const LEAST_K = 16;
/** Large tiles that keep an adapter busy: one for each multiprocessor of a large GPU. */
const ENOUGH_TILES = 128;

type Sizes = Readonly<Record<"M" | "N" | "K" | "batch", number>> & {
  /** Sums over rows of A that are not aligned to vec4: they would need too much shared memory. */
  readonly oddRowSums?: boolean;
};

/** @returns undefined where another kernel is to be used */
export function chooseMatrixTile(sizes: Sizes, facts: KernelFacts): MatrixTile | undefined {
  const { M, N, K, batch } = sizes;
  if (M < LEAST_SIDE || N < LEAST_SIDE || K < LEAST_K || sizes.oddRowSums) return undefined;
  const tiles = matrixTiles(facts);
  const isWorthIt = ({ tileM, tileN }: MatrixTile) =>
    Math.ceil(M / tileM) * Math.ceil(N / tileN) * batch >= ENOUGH_TILES;
  return tiles.find(isWorthIt) ?? tiles.at(-1);
}

/** All tiles that the adapter can run at the asked precision, the larger first; none for `f32`. */
export function matrixTiles(facts: KernelFacts): MatrixTile[] {
  const { matmulPrecision, subgroupMinSize, subgroupMaxSize, features } = facts;
  // the kernel must know which invocations form a subgroup
  const hasSubgroups = subgroupMaxSize > 0 && subgroupMinSize === subgroupMaxSize;
  const config = bestConfig(facts.matrixConfigs);
  if (matmulPrecision === "f32" || !config || !hasSubgroups || !features.has("shader-f16")) return [];
  const { M, N, K } = config;
  return SIZES.flatMap(({ side, subgroupsM, subgroupsN }) => {
    const fitting = DEPTHS.filter((depth) => depth % K === 0)
      .map((tileK) => ({
        tileM: side,
        tileN: side,
        tileK,
        subgroupsM,
        subgroupsN,
        subgroupSize: subgroupMaxSize,
        matrix: { M, N, K },
        split: matmulPrecision === "split_f16",
      }))
      .find((tile) => fits(tile, facts));
    return fitting ? [fitting] : [];
  });
}

function fits(tile: MatrixTile, { maxWorkgroupInvocations, maxWorkgroupBytes }: KernelFacts): boolean {
  const invocations = matrixInvocations(tile);
  // one kernel's tile must fit whatever is transposed and fused
  const bytes = [false, true].flatMap((transposeA) =>
    [false, true].map((transposeB) => {
      const rowSum = transposeA ? ("values" as const) : ("squares" as const);
      return matrixSharedBytes(tile, { transposeA, transposeB, vectorA: true, vectorB: true, rowSum });
    }),
  );
  return (
    invocations <= Math.min(MOST_INVOCATIONS, maxWorkgroupInvocations) &&
    Math.max(...bytes) <= maxWorkgroupBytes
  );
}

/** The largest shape from f16 to f32 that divides a subgroup's block. */
function bestConfig(configs: readonly MatrixConfig[]): MatrixConfig | undefined {
  return configs
    .filter(
      ({ componentType, resultComponentType, M, N, K }) =>
        componentType === "f16" &&
        resultComponentType === "f32" &&
        [M, N, K].every((size) => size % 8 === 0 && 32 % size === 0),
    )
    .sort((a, b) => b.M * b.N * b.K - a.M * a.N * a.K)
    .at(0);
}
