/** Which attention layout runs where. */
import type { HeadShape, TileLayout } from "../../shaders/attention_tiles.js";
import type { DeviceFacts } from "../gpu/runtime.js";

/** Floats of rows one invocation keeps in registers. */
const REGISTER_FLOATS = { software: 256, gpu: 128 } as const;
/** Invocations of a workgroup on a GPU. */
const GPU_LANES = 64;
const GPU_TILE = 32;

/**
 * Layout of one attention kernel: a pure function of the head shape and the adapter.
 * @param side what the rows are: queries (`forward`, `query`) or keys (`key_value`)
 */
export function attentionLayout(
  side: "forward" | "query" | "key_value",
  { heads, kvHeads, headDim }: HeadShape,
  facts: DeviceFacts,
): TileLayout {
  const budget = facts.isSoftware ? REGISTER_FLOATS.software : REGISTER_FLOATS.gpu;
  const floatsPerRow = { forward: 2, query: 3, key_value: 4 }[side] * headDim;
  const rows = Math.max(1, Math.floor(budget / floatsPerRow));
  const group = heads / kvHeads;
  const headsAtOnce = side === "key_value" ? 1 : largestDivisor(group, rows);
  const tokens = Math.min(4, 2 ** Math.floor(Math.log2(rows / headsAtOnce)));
  const subgroup = facts.subgroupMinSize;
  if (!facts.isSoftware) {
    const bytesPerToken = 4 * (2 * headDim + 2);
    let tile = GPU_TILE;
    while (tile > 4 && tile * bytesPerToken > Math.min(facts.maxWorkgroupBytes, 16_384)) tile /= 2;
    return {
      mode: "shared",
      workgroup: GPU_LANES,
      lanes: GPU_LANES,
      tokens,
      heads: headsAtOnce,
      block: Math.min(8, tile),
      tile,
    };
  }
  if (subgroup > 1 && subgroup <= 8 && subgroup === facts.subgroupMaxSize) {
    return {
      mode: "broadcast",
      workgroup: subgroup,
      lanes: subgroup,
      tokens,
      heads: headsAtOnce,
      block: subgroup,
      tile: subgroup,
    };
  }
  return { mode: "direct", workgroup: 8, lanes: 1, tokens, heads: headsAtOnce, block: 4, tile: 4 };
}

/** The largest divisor of `value` that is at most `limit`. */
function largestDivisor(value: number, limit: number): number {
  for (let divisor = Math.min(value, limit); divisor > 1; divisor--)
    if (value % divisor === 0) return divisor;
  return 1;
}
