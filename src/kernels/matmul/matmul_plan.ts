/** Which kernel computes a matrix product: a pure function of its sizes and the adapter's facts. */
import type { LaneTile } from "../../../shaders/matmul/matmul_lanes.js";
import { type PanelTile, panelRowBytes } from "../../../shaders/matmul/matmul_panel.js";
import type { MatmulLayout } from "../../../shaders/matmul/matmul_text.js";
import type { SharedTile } from "../../../shaders/matmul/matmul_tiles.js";
import type { KernelFacts } from "../../gpu/runtime.js";
import { splitFactor, tunedTile } from "../tuning/tuning.js";
import { isLaneTile, isPanelTile, type MatmulShape, type MatmulTile, SKINNY } from "./matmul_shape.js";
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
const ENOUGH = { software: 8, panel: 4, gpu: 256 } as const;
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
  facts: KernelFacts,
  adding: PartsAdded,
  tile: MatmulTile = chooseTile(shape, facts),
): MatmulPlan {
  const { M, N, K, transposeA, transposeB, pitchA = 0, pitchY = 0 } = shape;
  const tiles = tilesOf(tile, shape);
  const enough = isPanelTile(tile) ? ENOUGH.panel : ENOUGH[facts.isSoftware ? "software" : "gpu"];
  const wanted = adding === "never" ? 1 : wantedParts(shape, enough / tiles, adding, facts);
  const partK = 4 * Math.ceil(K / (4 * wanted));
  return {
    tile,
    layout: {
      transposeA,
      transposeB,
      vectorA: !(transposeA && readsSingly(tile, pitchA || M)) && ((transposeA ? M : K) | pitchA) % 4 === 0,
      vectorB: (transposeB ? K : N) % 4 === 0,
      vectorY: (N | pitchY) % 4 === 0,
      tail: K % 4 !== 0,
    },
    tiles,
    parts: Math.max(1, Math.ceil(K / partK)),
    partK,
  };
}

/**
 * Whether each lane loads transposed A, whose rows lie `pitch` elements apart, one element at a time. A panel does where a cache
 * holds the rows that it walks: those a multiple of 2 KiB apart share few of its sets, so each row is loaded anew, and a load had
 * better bring four elements.
 */
const readsSingly = (tile: MatmulTile, pitch: number): boolean =>
  isPanelTile(tile) ? pitch % 512 !== 0 : isLaneTile(tile) && tile.exchange === "swap";

/** Tiles of all batches. */
function tilesOf(tile: MatmulTile, { M, N, batch }: MatmulShape): number {
  if (isPanelTile(tile))
    return panelRowTiles(tile, { M, N, batch }) * Math.ceil(N / (4 * tile.lanes)) * batch;
  const [rows, columns] = isLaneTile(tile)
    ? [tile.rows, tile.lanes * tile.groups * 4]
    : [tile.tileM, tile.tileN];
  return Math.ceil(M / rows) * Math.ceil(N / columns) * batch;
}

/** As few as workgroup memory allows, for a panel is loaded once for all rows; more where cores would have no work. */
function panelRowTiles(
  { lanes, mostRows }: PanelTile,
  { M, N, batch }: Pick<MatmulShape, "M" | "N" | "batch">,
): number {
  const beside = Math.ceil(N / (4 * lanes)) * batch;
  const wanted = Math.min(Math.ceil(ENOUGH.software / beside), Math.floor(M / PANEL.leastRows));
  return Math.max(Math.ceil(M / mostRows), wanted);
}

/** @param missing how many times as many workgroups would keep the adapter busy */
function wantedParts(
  shape: MatmulShape,
  missing: number,
  adding: Exclude<PartsAdded, "never">,
  facts: KernelFacts,
): number {
  const family = facts.isSoftware ? "software" : "gpu";
  const factor = splitFactor(shape, facts);
  // decoding waits for nothing else
  const least = LEAST_PART[family][shape.M <= SKINNY ? "joined" : adding];
  const wanted = Math.min(factor * missing, (factor * shape.K) / least, MOST_PARTS);
  return Math.max(1, Math.floor(wanted));
}

function chooseTile(shape: MatmulShape, facts: KernelFacts): MatmulTile {
  return tunedTile(shippedTile(shape, facts), shape, facts);
}

/** The tile that sizes and adapter are known to like, before anything was measured on the adapter itself. */
export function shippedTile(shape: MatmulShape, facts: KernelFacts): MatmulTile {
  const oddRowSums = shape.rowSums === true && (shape.transposeA ? shape.M : shape.K) % 4 !== 0;
  const matrix = chooseMatrixTile({ ...shape, oddRowSums }, facts);
  if (matrix) return matrix;
  if (!facts.isSoftware) return sharedTile(shape, facts);
  return panelTile(shape, facts) ?? laneTile(shape, facts);
}

/** Panels of B, see shaders/matmul/matmul_panel.ts. */
const PANEL = {
  depth: 64,
  mostRows: 256,
  /** Rows that pay for loading a panel. */
  leastRows: 64,
} as const;

/** @returns undefined where rows and columns are too few to be shared out in panels, or there are no broadcasts */
function panelTile(shape: MatmulShape, facts: KernelFacts): PanelTile | undefined {
  const { M, K, rowSums = false, segments } = shape;
  const { subgroupMinSize: lanes, subgroupMaxSize, maxWorkgroupBytes } = facts;
  const exchanges = lanes === subgroupMaxSize && lanes >= 4 && PANEL.depth % (4 * lanes) === 0;
  if (!exchanges || segments || M < PANEL.leastRows) return undefined;
  const rows = Math.floor(maxWorkgroupBytes / panelRowBytes(lanes, rowSums) / 4) * 4;
  const mostRows = Math.min(PANEL.mostRows, rows);
  const tile = { lanes, depth: PANEL.depth, isWhole: K <= PANEL.depth, mostRows };
  return tilesOf(tile, shape) < ENOUGH.panel ? undefined : tile;
}

function laneTile(shape: MatmulShape, facts: KernelFacts): LaneTile {
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

function sharedTile({ M, N, K, batch }: MatmulShape, facts: KernelFacts): SharedTile {
  if (M <= 16) return { tileM: 16, tileN: 64, tileK: 16, ownM: 4, ownN: 4, unroll: 1 };
  // of few tokens, gradients of weights take the tile of the products beside them, and share their dispatch
  if (M <= 32 || N <= 32 || K <= 32 || facts.maxWorkgroupInvocations < 256)
    return { tileM: 32, tileN: 32, tileK: 16, ownM: 4, ownN: 4, unroll: 1 };
  const wideTiles = Math.ceil(M / 64) * Math.ceil(N / 128) * batch;
  if (wideTiles >= ENOUGH.gpu) return { tileM: 64, tileN: 128, tileK: 16, ownM: 8, ownN: 4, unroll: 1 };
  return { tileM: 64, tileN: 64, tileK: 16, ownM: 4, ownN: 4, unroll: 1 };
}
