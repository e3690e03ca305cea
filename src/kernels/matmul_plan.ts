/** Which kernel computes a matrix product: a pure function of its sizes and the adapter's facts. */
import type { LaneTile } from "../../shaders/matmul_lanes.js";
import type { MatrixTile } from "../../shaders/matmul_matrix.js";
import type { MatmulLayout } from "../../shaders/matmul_text.js";
import type { SharedTile } from "../../shaders/matmul_tiles.js";
import type { DeviceFacts } from "../gpu/runtime.js";
import { chooseMatrixTile } from "./matrix_plan.js";
import { splitFactor, tunedTile } from "./tuning.js";

export interface MatmulShape {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly batch: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** Sums over the rows of op(a) are fused. */
  readonly rowSums?: boolean;
}

/** A LaneTile on CPU adapters, a SharedTile on GPUs, a MatrixTile on GPUs where matrix hardware is asked for. */
export type MatmulTile = LaneTile | SharedTile | MatrixTile;

export interface MatmulPlan {
  readonly tile: MatmulTile;
  readonly layout: MatmulLayout;
  /** Tiles of all batches. */
  readonly tiles: number;
  /** Parts of the K range, added in order by a second kernel when there are several. */
  readonly parts: number;
  /** k of one part, a multiple of 4. */
  readonly partK: number;
}

/** Workgroups that keep an adapter busy: a few for each core of a CPU, two for each multiprocessor of a large GPU. */
const ENOUGH = { software: 8, gpu: 256 } as const;
/** Least k of one part, below which adding the parts costs more than it gains. */
const LEAST_PART = { software: 128, gpu: 256 } as const;
const MOST_PARTS = 16;

/**
 * @param canSplit whether scratch memory for partial sums is at hand
 * @param tile for tests of one kernel; default: the one that fits sizes and adapter
 */
export function planMatmul(
  shape: MatmulShape,
  facts: DeviceFacts,
  canSplit: boolean,
  tile: MatmulTile = chooseTile(shape, facts),
): MatmulPlan {
  const { M, N, K, batch, transposeA, transposeB } = shape;
  const [rows, columns] = isLaneTile(tile)
    ? [tile.rows, tile.lanes * tile.groups * 4]
    : [tile.tileM, tile.tileN];
  const tiles = Math.ceil(M / rows) * Math.ceil(N / columns) * batch;
  const family = facts.isSoftware ? "software" : "gpu";
  const factor = splitFactor(shape, facts);
  const wanted = Math.min(
    Math.ceil((factor * ENOUGH[family]) / tiles),
    Math.floor((factor * K) / LEAST_PART[family]),
    MOST_PARTS,
  );
  const partK = canSplit && wanted > 1 ? 4 * Math.ceil(K / (4 * wanted)) : 4 * Math.ceil(K / 4);
  return {
    tile,
    layout: {
      transposeA,
      transposeB,
      vectorA:
        isLaneTile(tile) && tile.exchange === "swap" && transposeA ? false : (transposeA ? M : K) % 4 === 0,
      vectorB: (transposeB ? K : N) % 4 === 0,
      vectorY: N % 4 === 0,
      tail: K % 4 !== 0,
    },
    tiles,
    parts: Math.max(1, Math.ceil(K / partK)),
    partK,
  };
}

export const isLaneTile = (tile: MatmulTile): tile is LaneTile => "lanes" in tile;
export const isMatrixTile = (tile: MatmulTile): tile is MatrixTile => "matrix" in tile;

function chooseTile(shape: MatmulShape, facts: DeviceFacts): MatmulTile {
  return tunedTile(shippedTile(shape, facts), shape, facts);
}

/** The tile that sizes and adapter are known to like, before anything was measured on the adapter itself. */
export function shippedTile(shape: MatmulShape, facts: DeviceFacts): MatmulTile {
  const oddRowSums = shape.rowSums === true && (shape.transposeA ? shape.M : shape.K) % 4 !== 0;
  return (
    chooseMatrixTile({ ...shape, oddRowSums }, facts) ??
    (facts.isSoftware ? laneTile(shape, facts) : sharedTile(shape, facts))
  );
}

function laneTile(shape: MatmulShape, facts: DeviceFacts): LaneTile {
  const { M, N, K, batch, transposeA } = shape;
  const lanes = facts.subgroupMinSize;
  if (lanes < 4 || lanes !== facts.subgroupMaxSize)
    return { lanes: 8, rows: M === 1 && !transposeA ? 1 : 4, groups: 2, exchange: "none" };
  if (lanes === 4) return quadTile(shape);
  // 32 columns at 8 lanes: wider tiles save loads of A, but their code leaves the instruction cache
  const tile = { lanes, groups: 1, exchange: "broadcast" } as const;
  const tallTiles = Math.ceil(M / 32) * Math.ceil(N / (4 * lanes)) * batch;
  // twice the code to compile saves a third of the loads
  if (M >= 32 && K >= 128 && tallTiles >= 2 * ENOUGH.software) return { ...tile, rows: 32 };
  return { ...tile, rows: M > 8 ? 16 : M > 4 ? 8 : M > 1 || transposeA ? 4 : 1 };
}

/** The largest tile that leaves work for all cores and is filled. */
function quadTile({ M, N, batch }: MatmulShape): LaneTile {
  const quad = { lanes: 4, exchange: "swap" } as const;
  for (const { rows, groups } of [
    { rows: 32, groups: 4 },
    { rows: 32, groups: 2 },
  ]) {
    const tiles = Math.ceil(M / rows) * Math.ceil(N / (16 * groups)) * batch;
    if (tiles >= 2 * ENOUGH.software && M >= 2 * rows && N >= 16 * groups) return { ...quad, rows, groups };
  }
  return { ...quad, rows: M > 8 ? 16 : M > 4 ? 8 : 4, groups: 2 };
}

function sharedTile({ M, N, batch }: MatmulShape, facts: DeviceFacts): SharedTile {
  if (M <= 16) return { tileM: 16, tileN: 64, tileK: 16, ownM: 4, ownN: 4, unroll: 1 };
  if (M <= 32 || N <= 32 || facts.maxWorkgroupInvocations < 256)
    return { tileM: 32, tileN: 32, tileK: 16, ownM: 4, ownN: 4, unroll: 1 };
  const wideTiles = Math.ceil(M / 64) * Math.ceil(N / 128) * batch;
  if (wideTiles >= ENOUGH.gpu) return { tileM: 64, tileN: 128, tileK: 16, ownM: 8, ownN: 4, unroll: 1 };
  return { tileM: 64, tileN: 64, tileK: 16, ownM: 4, ownN: 4, unroll: 1 };
}
