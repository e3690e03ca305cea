/** How attention shares work between invocations: a pure function of head shape and adapter, measured choices included. */
import type { LaneLayout } from "../../../shaders/attention/attention_lane_tile.js";
import {
  elementsEach,
  type PanelLayout,
  panelRowBytes,
} from "../../../shaders/attention/attention_panels.js";
import {
  type SharedLayout,
  sharedBytes,
  sharedInvocations,
} from "../../../shaders/attention/attention_shared_tile.js";
import { type HeadShape, rowElements } from "../../../shaders/attention/attention_tiles.js";
import type { KernelFacts } from "../../gpu/runtime.js";

/** What a kernel's rows are: queries (`forward`, `query`) or keys and values (`key_value`). */
export type AttentionSide = "forward" | "query" | "key_value";
/** Both kernels of backward share a choice, so that they can share a dispatch. */
export type AttentionDirection = "forward" | "backward";

/** Invocations of a workgroup where the subgroup size is unknown. */
const DEFAULT_LANES = 8;
/** Subgroups of quads exchange by swaps. */
const QUAD = 4;
/** Widest head, in elements, that is walked in the text: lavapipe compiles 16 floats in seconds, 32 in half a minute. */
const UNROLLED_ELEMENTS = 4;

/** The first one is shipped. */
const SHARED_LAYOUTS: readonly [SharedLayout, ...SharedLayout[]] = [
  { rows: 64, scanned: 32, rowsEach: 2 },
  { rows: 32, scanned: 32, rowsEach: 1 },
  { rows: 32, scanned: 32, rowsEach: 2 },
  { rows: 128, scanned: 32, rowsEach: 4 },
  { rows: 32, scanned: 64, rowsEach: 1 },
  { rows: 64, scanned: 64, rowsEach: 2 },
];

const sharedName = ({ rows, scanned, rowsEach }: SharedLayout): string => `${rows}x${scanned} ${rowsEach}`;

/**
 * Name of the class of heads that share a choice, for example `attention forward 64`: widths up to 32, 64, and beyond.
 * @returns undefined on CPU adapters, whose drivers take up to 20 seconds to compile a layout: the shipped rule holds
 */
export function attentionChoice(
  direction: AttentionDirection,
  headDim: number,
  { isSoftware }: Pick<KernelFacts, "isSoftware">,
): string | undefined {
  if (isSoftware) return undefined;
  return `attention ${direction} ${headDim <= 32 ? 32 : headDim <= 64 ? 64 : 128}`;
}

/** Names of all layouts that a GPU can run, the shipped one first. */
export function attentionVariants(facts: KernelFacts): string[] {
  return sharedLayouts(facts).map(sharedName);
}

function sharedLayouts({ maxWorkgroupInvocations, maxWorkgroupBytes }: KernelFacts): SharedLayout[] {
  const [shipped, ...others] = SHARED_LAYOUTS;
  const fits = (layout: SharedLayout) =>
    sharedInvocations(layout) <= maxWorkgroupInvocations && sharedBytes(layout) <= maxWorkgroupBytes;
  return [shipped, ...others.filter(fits)];
}

/** Layout of one kernel on a GPU: the one that won there, else the shipped one. */
export function sharedLayout(side: AttentionSide, { headDim }: HeadShape, facts: KernelFacts): SharedLayout {
  const choice = attentionChoice(side === "forward" ? "forward" : "backward", headDim, facts);
  const chosen = choice === undefined ? undefined : facts.tuning[choice];
  if (chosen === undefined) return SHARED_LAYOUTS[0];
  return sharedLayouts(facts).find((layout) => sharedName(layout) === chosen) ?? SHARED_LAYOUTS[0];
}

/** Widest head that is scanned in panels: wider ones compile too long. */
const WIDEST_PANEL = 64;
/** Tokens of a workgroup below which its panels would be loaded for too few rows. */
const LEAST_TOKENS = 16;
/** Workgroups that keep the cores of a CPU busy. */
const ENOUGH_WORKGROUPS = 8;
/** What waits for a row in workgroup memory: rows of sums, and values in each lane. */
const WAITING: Readonly<Record<AttentionSide, readonly [sums: number, values: number]>> = {
  forward: [1, 2],
  query: [1, 2],
  key_value: [2, 0],
};

/**
 * Layout of one kernel on a CPU adapter for wide heads.
 * @returns undefined where lanes own rows, see `laneLayout`: among others on quads, whose driver takes minutes to compile panels
 */
export function panelLayout(
  side: AttentionSide,
  { heads, kvHeads, headDim }: HeadShape,
  { subgroupMinSize: lanes, subgroupMaxSize, maxWorkgroupBytes }: KernelFacts,
): PanelLayout | undefined {
  const exchanges = lanes > QUAD && lanes === subgroupMaxSize;
  const isWide = rowElements(headDim) > UNROLLED_ELEMENTS && headDim <= WIDEST_PANEL;
  if (!exchanges || !isWide || elementsEach(headDim, lanes) === undefined) return undefined;
  const rows = side === "key_value" ? 1 : heads / kvHeads;
  const mostTokens = Math.floor(maxWorkgroupBytes / (rows * panelRowBytes(lanes, headDim, ...WAITING[side])));
  if (mostTokens < LEAST_TOKENS) return undefined;
  return { lanes, mostTokens, leastTokens: LEAST_TOKENS, workgroups: ENOUGH_WORKGROUPS };
}

/** Layout of one kernel on a CPU adapter. */
export function laneLayout(
  side: AttentionSide,
  { heads, kvHeads, headDim }: HeadShape,
  { subgroupMinSize, subgroupMaxSize }: KernelFacts,
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
