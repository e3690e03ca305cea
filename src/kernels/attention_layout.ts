/** How attention shares work on CPU adapters. */
import type { LaneLayout } from "../../shaders/attention_lane_tile.js";
import { type HeadShape, rowElements } from "../../shaders/attention_tiles.js";
import type { DeviceFacts } from "../gpu/runtime.js";

/** What a kernel's rows are: queries (`forward`, `query`) or keys and values (`key_value`). */
export type AttentionSide = "forward" | "query" | "key_value";

/** Invocations of a workgroup where the subgroup size is unknown. */
const DEFAULT_LANES = 8;
/** Subgroups of quads exchange by swaps. */
const QUAD = 4;
/** Widest head, in elements, that is walked in the text: lavapipe compiles 16 floats in seconds, 32 in half a minute. */
const UNROLLED_ELEMENTS = 4;

/** Layout of one kernel on a CPU adapter: a pure function of the head shape and the adapter. */
export function laneLayout(
  side: AttentionSide,
  { heads, kvHeads, headDim }: HeadShape,
  { subgroupMinSize, subgroupMaxSize }: DeviceFacts,
): LaneLayout {
  const isKnown = subgroupMinSize > 1 && subgroupMinSize <= 8 && subgroupMinSize === subgroupMaxSize;
  const exchange = !isKnown ? "none" : subgroupMinSize === QUAD ? "swap" : "broadcast";
  // quads take several tokens for a tile of the same size, and compile fast
  const rows = exchange === "swap" || side === "forward" ? 4 : 2;
  // without exchange every lane loads a whole block: too much text to spell out as well
  const unrolled = isKnown && rowElements(headDim) <= UNROLLED_ELEMENTS;
  const headsAtOnce = side === "key_value" ? 1 : largestDivisor(heads / kvHeads, rows);
  return {
    lanes: isKnown ? subgroupMinSize : DEFAULT_LANES,
    exchange,
    tokens: Math.floor(rows / headsAtOnce),
    heads: headsAtOnce,
    block: exchange === "none" ? 2 : exchange === "swap" && !unrolled ? 16 : 8,
    unrolled,
  };
}

/** The largest divisor of `value` that is at most `limit`. */
export function largestDivisor(value: number, limit: number): number {
  for (let divisor = Math.min(value, limit); divisor > 1; divisor--)
    if (value % divisor === 0) return divisor;
  return 1;
}
