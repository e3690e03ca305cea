/** Sizes of a matrix product, and the tiles that can compute it. */
import type { LaneTile } from "../../../shaders/matmul/matmul_lanes.js";
import type { PanelTile } from "../../../shaders/matmul/matmul_panel.js";
import type { MatrixTile } from "../../../shaders/matmul/matmul_subgroup_matrix.js";
import type { SharedTile } from "../../../shaders/matmul/matmul_tiles.js";

export interface MatmulShape {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly batch: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** Sums over the rows of op(a) are fused. */
  readonly rowSums?: boolean;
  /** Elements from one row of A, as it lies in memory, and of y to the next, where rows are parts of longer ones. */
  readonly pitchA?: number;
  readonly pitchY?: number;
  /** Parts of K end anywhere and are told to the kernel, not planned. */
  readonly segments?: boolean;
}

/** A LaneTile or PanelTile on CPU adapters, a SharedTile on GPUs, a MatrixTile on GPUs where matrix hardware is asked for. */
export type MatmulTile = LaneTile | PanelTile | SharedTile | MatrixTile;

export const isLaneTile = (tile: MatmulTile): tile is LaneTile => "exchange" in tile;
export const isPanelTile = (tile: MatmulTile): tile is PanelTile => "depth" in tile;
export const isMatrixTile = (tile: MatmulTile): tile is MatrixTile => "matrix" in tile;

/** Products with so few rows are those of decoding; tiles of their own. */
export const SKINNY = 16;
