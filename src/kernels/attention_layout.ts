/** Which attention layout runs where. */
import { type HeadShape, rowElements, type TileLayout } from "../../shaders/attention_tiles.js";
import type { DeviceFacts } from "../gpu/runtime.js";

/** Floats of rows one invocation keeps in registers. */
const REGISTER_FLOATS = { software: 128, gpu: 128 } as const;
/** Widest head whose unrolled text software drivers compile in reasonable time (lavapipe: 64 in seconds, 128 in minutes). */
const SOFTWARE_HEAD_DIM = 64;
/** Invocations of a workgroup on a GPU, and tokens it stages. */
const GPU_LANES = 64;
const GPU_TILE = 32;
const GPU_TILE_BYTES = 16_384;
/** Products of one row in the unrolled text of a block: bounds its length, and with it the driver's compile time. */
const BLOCK_ELEMENTS = 16;

/**
 * Layout of one attention kernel: a pure function of the head shape and the adapter.
 * @returns undefined where tiles do not fit and the looped kernels run
 * @param side what the rows are: queries (`forward`, `query`) or keys (`key_value`)
 */
export function attentionLayout(
  side: "forward" | "query" | "key_value",
  { heads, kvHeads, headDim }: HeadShape,
  facts: DeviceFacts,
): TileLayout | undefined {
  const budget = facts.isSoftware ? REGISTER_FLOATS.software : REGISTER_FLOATS.gpu;
  const floatsPerRow = { forward: 2, query: 3, key_value: 4 }[side] * headDim;
  const rows = Math.max(1, Math.floor(budget / floatsPerRow));
  const headsAtOnce = side === "key_value" ? 1 : largestDivisor(heads / kvHeads, rows);
  const block = powerOfTwo(Math.max(1, BLOCK_ELEMENTS / rowElements(headDim)));
  if (!facts.isSoftware) {
    const bytesPerToken = 4 * (2 * headDim + 2);
    const fitting = powerOfTwo(Math.min(facts.maxWorkgroupBytes, GPU_TILE_BYTES) / bytesPerToken);
    const tile = Math.min(GPU_TILE, fitting);
    const tokens = Math.min(2, powerOfTwo(rows / headsAtOnce));
    return {
      mode: "shared",
      lanes: GPU_LANES,
      tokens,
      heads: headsAtOnce,
      block: Math.min(block, tile),
      tile,
    };
  }
  const subgroup = facts.subgroupMinSize;
  if (subgroup > 1 && subgroup <= 8 && subgroup === facts.subgroupMaxSize && headDim <= SOFTWARE_HEAD_DIM) {
    return {
      mode: "broadcast",
      lanes: subgroup,
      tokens: 1,
      heads: headsAtOnce,
      block: Math.min(block, subgroup),
      tile: subgroup,
    };
  }
  return undefined;
}

/** The largest power of two that is at most `value` >= 1. */
function powerOfTwo(value: number): number {
  return 2 ** Math.floor(Math.log2(value));
}

/** The largest divisor of `value` that is at most `limit`. */
export function largestDivisor(value: number, limit: number): number {
  for (let divisor = Math.min(value, limit); divisor > 1; divisor--)
    if (value % divisor === 0) return divisor;
  return 1;
}
