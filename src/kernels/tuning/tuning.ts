/**
 * Choices that may be measured on an adapter: which shapes share one, which variants there are, and how a plan looks up the
 * one that won. The record is plain data in `KernelFacts.tuning`, so that a plan stays a pure function of shape and facts.
 *
 *     tile <class>    variant of the tile, named by its sizes
 *     split <class>   factor on the number of parts that a long K is cut into
 *
 * and, in attention_layout.ts,
 *
 *     attention <direction> <width>   how heads up to that width are shared between invocations
 */
import type { LaneTile } from "../../../shaders/matmul/matmul_lanes.js";
import type { PanelTile } from "../../../shaders/matmul/matmul_panel.js";
import type { SharedTile } from "../../../shaders/matmul/matmul_tiles.js";
import type { KernelFacts } from "../../gpu/runtime.js";
import {
  isLaneTile,
  isMatrixTile,
  isPanelTile,
  type MatmulShape,
  type MatmulTile,
  SKINNY,
} from "../matmul/matmul_shape.js";
import { matrixTiles } from "../matmul/matrix_plan.js";

/** Sides below which most tiles would be empty: the shipped rule knows better. */
const NARROW = 32;
/** Elements of all products from which a class begins. */
const MEDIUM = 2 ** 18;
const LARGE = 2 ** 21;
/** K from which few tiles are cut into parts. */
const DEEP = 1024;

/**
 * Name of the class of products that share their choices, for example `nt small deep`.
 * @returns undefined where nothing is measured and the shipped rule holds
 */
export function productClass(
  { M, N, K, batch, transposeA, transposeB }: MatmulShape,
  { isSoftware }: Pick<KernelFacts, "isSoftware">,
): string | undefined {
  if ((transposeA && transposeB) || N <= NARROW) return undefined;
  const layout = `${transposeA ? "t" : "n"}${transposeB ? "t" : "n"}`;
  // decoding multiplies by weights as they are stored; CPU tiles have just the rows that are there
  if (M <= SKINNY) return layout === "nt" && !isSoftware ? "nt skinny" : undefined;
  if (M <= NARROW) return undefined;
  const elements = M * N * batch;
  if (elements < MEDIUM) return `${layout} small${K >= DEEP ? " deep" : ""}`;
  // a few tiles keep all cores of a CPU busy
  return `${layout} ${elements < LARGE || isSoftware ? "medium" : "large"}`;
}

/** Rows and vec4 groups of tiles for CPU adapters, by how the elements of A reach the lanes. */
const LANE_SIZES: Readonly<Record<LaneTile["exchange"], readonly (readonly [number, number])[]>> = {
  broadcast: [
    [16, 1],
    [32, 1],
    [16, 2],
  ],
  swap: [
    [16, 2],
    [32, 2],
    [16, 4],
    [32, 4],
  ],
  none: [
    [4, 1],
    [8, 1],
    [4, 2],
    [8, 2],
  ],
};

/** Tiles by lanes that may take the place of one, or of a panel, which is for adapters that exchange by broadcasts. */
function laneTiles(shipped: LaneTile | PanelTile): LaneTile[] {
  const { lanes } = shipped;
  const exchange = isPanelTile(shipped) ? "broadcast" : shipped.exchange;
  return LANE_SIZES[exchange].map(([rows, groups]) => ({ lanes, rows, groups, exchange }));
}

type SharedSizes = Pick<SharedTile, "tileM" | "tileN" | "tileK" | "ownM" | "ownN" | "unroll">;

const shared = (
  tileM: number,
  tileN: number,
  tileK: number,
  ownM: number,
  ownN: number,
  unroll = 1,
): SharedSizes => ({ tileM, tileN, tileK, ownM, ownN, unroll });

/** Tiles for GPUs, by the size of a class. Where a wide tile wins depends on registers, occupancy and caches. */
const SHARED_SIZES: Readonly<Record<string, readonly SharedSizes[]>> = {
  skinny: [
    shared(16, 64, 16, 4, 4),
    shared(16, 64, 32, 4, 4),
    shared(8, 64, 32, 2, 4),
    shared(16, 32, 32, 2, 4),
  ],
  small: [
    shared(32, 32, 16, 4, 4),
    shared(64, 64, 16, 4, 4),
    shared(64, 64, 8, 4, 4),
    shared(64, 64, 16, 4, 4, 4),
    shared(32, 64, 16, 4, 4),
  ],
  medium: [
    shared(64, 64, 16, 4, 4),
    shared(64, 64, 8, 4, 4),
    shared(64, 64, 16, 4, 4, 2),
    shared(64, 128, 16, 8, 4),
    shared(64, 128, 8, 8, 4),
    shared(128, 128, 8, 8, 8),
  ],
  large: [
    shared(64, 128, 16, 8, 4),
    shared(64, 128, 8, 8, 4),
    shared(64, 128, 16, 8, 4, 2),
    shared(64, 64, 16, 4, 4),
    shared(128, 128, 8, 8, 8),
    shared(128, 128, 8, 8, 8, 2),
  ],
};

const SHARED_BY_NAME = new Map(
  Object.values(SHARED_SIZES)
    .flat()
    .map((sizes) => [sharedName(sizes), sizes]),
);

/** Sizes of a tile as records and tables name it: rows x columns x k, then what one invocation of a GPU owns. */
export function tileName(tile: MatmulTile): string {
  if (isLaneTile(tile)) return `${tile.rows}x${tile.lanes * tile.groups * 4}`;
  if (isPanelTile(tile)) return `panel ${tile.depth}x${tile.lanes * 4}`;
  return isMatrixTile(tile) ? `${tile.tileM}x${tile.tileN}x${tile.tileK} matrix` : sharedName(tile);
}

function sharedName({ tileM, tileN, tileK, ownM, ownN, unroll }: SharedSizes): string {
  return `${tileM}x${tileN}x${tileK} ${ownM}x${ownN}${unroll > 1 ? ` unroll ${unroll}` : ""}`;
}

/** Tiles that may take the place of the shipped one for a class, of its own family, as far as the adapter can run them. */
export function tileVariants(shipped: MatmulTile, className: string, facts: KernelFacts): MatmulTile[] {
  if (isPanelTile(shipped)) return [shipped, ...laneTiles(shipped)];
  if (isLaneTile(shipped)) return laneTiles(shipped);
  if (isMatrixTile(shipped)) return matrixTiles(facts);
  const size = className.split(" ")[1];
  return SHARED_SIZES[size]
    .filter(({ tileM, tileN, tileK, ownM, ownN }) => {
      const invocations = (tileM / ownM) * (tileN / ownN);
      // what may be fused keeps up to four sums an invocation and a value a row
      const floats = Math.max(tileK * (tileM + 1), 4 * invocations) + tileK * tileN + tileM;
      return invocations <= facts.maxWorkgroupInvocations && 4 * floats <= facts.maxWorkgroupBytes;
    })
    .map((sizes) => ({ ...shipped, ...sizes }));
}

/** The tile that won on this adapter for the class of the shape, else the shipped one. */
export function tunedTile(shipped: MatmulTile, shape: MatmulShape, facts: KernelFacts): MatmulTile {
  const name = choiceFor("tile", shape, facts);
  if (name === undefined) return shipped;
  if (isPanelTile(shipped) || isLaneTile(shipped))
    return laneTiles(shipped).find((tile) => tileName(tile) === name) ?? shipped;
  if (isMatrixTile(shipped)) return matrixTiles(facts).find((tile) => tileName(tile) === name) ?? shipped;
  const sizes = SHARED_BY_NAME.get(name);
  return sizes ? { ...shipped, ...sizes } : shipped;
}

/** Factors on the shipped number of parts; 0 = never cut. */
export const SPLIT_FACTORS: readonly string[] = ["0", "0.5", "1", "2", "4"];

/** Factor on the shipped number of parts of a long K: 1 unless another one won on this adapter. */
export function splitFactor(shape: MatmulShape, facts: KernelFacts): number {
  const name = choiceFor("split", shape, facts);
  return name !== undefined && SPLIT_FACTORS.includes(name) ? Number(name) : 1;
}

function choiceFor(kind: "tile" | "split", shape: MatmulShape, facts: KernelFacts): string | undefined {
  const className = productClass(shape, facts);
  return className === undefined ? undefined : facts.tuning[`${kind} ${className}`];
}
