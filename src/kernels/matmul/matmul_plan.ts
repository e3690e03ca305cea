/** Which kernel computes a matrix product: a pure function of its sizes and the adapter's facts. */
import type { LaneTile } from "../../../shaders/matmul/matmul_lanes.js";
import type { MatmulLayout } from "../../../shaders/matmul/matmul_text.js";
import type { SharedTile } from "../../../shaders/matmul/matmul_tiles.js";
import type { DeviceFacts } from "../../gpu/runtime.js";
import { splitFactor, tunedTile } from "../tuning/tuning.js";
import { isLaneTile, type MatmulShape, type MatmulTile, SKINNY } from "./matmul_shape.js";
import { chooseMatrixTile } from "./matrix_plan.js";

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

/**
 * How the parts of a split K are added: not at all, where there is no memory for them; by a dispatch of its own; or by one
 * that runs anyway.
 */
export type PartsAdded = "never" | "alone" | "joined";

/** Workgroups that keep an adapter busy: a few for each core of a CPU, two for each multiprocessor of a large GPU. */
const ENOUGH = { software: 8, gpu: 256 } as const;
/** Least k of one part, below which adding the parts costs more than it gains. */
const LEAST_PART = {
  software: { alone: 128, joined: 128 },
  gpu: { alone: 512, joined: 256 },
} as const;
const MOST_PARTS = 16;

/**
 * @param tile for tests of one kernel; default: the one that fits sizes and adapter
 */
export function planMatmul(
  shape: MatmulShape,
  facts: DeviceFacts,
  adding: PartsAdded,
  tile: MatmulTile = chooseTile(shape, facts),
): MatmulPlan {
  const { M, N, K, batch, transposeA, transposeB, pitchA = 0, pitchY = 0 } = shape;
  const [rows, columns] = isLaneTile(tile)
    ? [tile.rows, tile.lanes * tile.groups * 4]
    : [tile.tileM, tile.tileN];
  const tiles = Math.ceil(M / rows) * Math.ceil(N / columns) * batch;
  const wanted = adding === "never" ? 1 : wantedParts(shape, tiles, adding, facts);
  const partK = 4 * Math.ceil(K / (4 * wanted));
  return {
    tile,
    layout: {
      transposeA,
      transposeB,
      vectorA:
        !(isLaneTile(tile) && tile.exchange === "swap" && transposeA) &&
        ((transposeA ? M : K) | pitchA) % 4 === 0,
      vectorB: (transposeB ? K : N) % 4 === 0,
      vectorY: (N | pitchY) % 4 === 0,
      tail: K % 4 !== 0,
    },
    tiles,
    parts: Math.max(1, Math.ceil(K / partK)),
    partK,
  };
}

function wantedParts(
  shape: MatmulShape,
  tiles: number,
  adding: Exclude<PartsAdded, "never">,
  facts: DeviceFacts,
): number {
  const family = facts.isSoftware ? "software" : "gpu";
  const factor = splitFactor(shape, facts);
  // decoding waits for nothing else
  const least = LEAST_PART[family][shape.M <= SKINNY ? "joined" : adding];
  const wanted = Math.min((factor * ENOUGH[family]) / tiles, (factor * shape.K) / least, MOST_PARTS);
  return Math.max(1, Math.floor(wanted));
}

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

function sharedTile({ M, N, K, batch }: MatmulShape, facts: DeviceFacts): SharedTile {
  if (M <= 16) return { tileM: 16, tileN: 64, tileK: 16, ownM: 4, ownN: 4, unroll: 1 };
  // of few tokens, gradients of weights take the tile of the products beside them, and share their dispatch
  if (M <= 32 || N <= 32 || K <= 32 || facts.maxWorkgroupInvocations < 256)
    return { tileM: 32, tileN: 32, tileK: 16, ownM: 4, ownN: 4, unroll: 1 };
  const wideTiles = Math.ceil(M / 64) * Math.ceil(N / 128) * batch;
  if (wideTiles >= ENOUGH.gpu) return { tileM: 64, tileN: 128, tileK: 16, ownM: 8, ownN: 4, unroll: 1 };
  return { tileM: 64, tileN: 64, tileK: 16, ownM: 4, ownN: 4, unroll: 1 };
}
