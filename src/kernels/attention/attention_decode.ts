import * as shader from "../../../shaders/attention/attention_decode.js";
import { elementType, rowElements } from "../../../shaders/attention/attention_tiles.js";
import { ArgumentError } from "../../core/errors.js";
import type { KernelFacts } from "../../gpu/runtime.js";
import {
  type ArrayView,
  defineOp,
  f32,
  type KernelUnit,
  type PlanContext,
  real,
  type Scalars,
  type ShaderInput,
  u32,
  u32Param,
} from "../engine/op.js";
import { largestDivisor } from "./attention_layout.js";

/** Floats of queries (and as many of sums) that one invocation of a CPU adapter keeps in registers. */
const REGISTER_FLOATS = 64;
/** Query heads a workgroup of a GPU handles at most. */
const GPU_HEADS = 8;

function textFor(
  { heads, kv_heads, D }: Scalars,
  { isSoftware }: KernelFacts,
  isSplit: boolean,
): shader.DecodeText {
  const limit = isSoftware ? Math.max(1, Math.floor(REGISTER_FLOATS / D)) : GPU_HEADS;
  const headsAtOnce = largestDivisor(heads / kv_heads, limit);
  return { heads, kvHeads: kv_heads, headDim: D, headsAtOnce, isSplit };
}

const partKeys = ({ isSoftware }: KernelFacts): number => shader.PART[isSoftware ? "software" : "gpu"];

const elements =
  (...names: string[]) =>
  ({ constants }: ShaderInput): Record<string, string> =>
    Object.fromEntries(names.map((name) => [name, elementType(constants.D)]));

/** E: elements of a head. */
const SCALARS = { B: "u32", T: "u32", parts: "u32", E: "u32" } as const;
const CONSTANTS = ["heads", "kv_heads", "D"];

/** One launch over all parts. Writes y, or what `mergeUnit` needs. */
function decodeUnit(isSplit: boolean): KernelUnit {
  return {
    op: "attention_decode",
    scalars: SCALARS,
    kernel: {
      entry: isSplit ? "part" : "whole",
      constants: CONSTANTS,
      shader: ({ constants, facts }) => {
        const text = textFor(constants, facts, isSplit);
        return facts.isSoftware ? shader.decodeByInvocation(text) : shader.decodeByWorkgroup(text);
      },
      elements: (input) => ({
        ...elements("qkv", "table", "key_cache", "value_cache", "y", "partial")(input),
        statistics: "vec2<f32>",
      }),
      reads: ["qkv", "table", "key_cache", "value_cache", "slot", "position"],
      writes: isSplit ? ["partial", "statistics"] : ["y"],
      workgroups: (scalars, facts) => {
        const { heads, headsAtOnce } = textFor(scalars, facts, isSplit);
        const tasks = scalars.parts * scalars.B * (heads / headsAtOnce);
        return facts.isSoftware ? Math.ceil(tasks / shader.LANES.software) : tasks;
      },
    },
  };
}

const wholeUnit = decodeUnit(false);
const partUnit = decodeUnit(true);

const mergeUnit: KernelUnit = {
  op: "attention_decode",
  scalars: SCALARS,
  kernel: {
    entry: "merge",
    constants: CONSTANTS,
    shader: ({ constants, facts }) => shader.merge(textFor(constants, facts, true), partKeys(facts)),
    elements: (input) => ({ ...elements("partial", "y")(input), statistics: "vec2<f32>" }),
    reads: ["partial", "statistics", "position"],
    writes: ["y"],
    workgroups: ({ B, heads, D }) => Math.ceil((B * heads * rowElements(D)) / shader.MERGE_LANES),
  },
};

/** @throws ArgumentError when the columns are not those of the heads */
function checkHeads(op: string, { W, KV, D, heads, kv_heads }: Scalars): void {
  if (D % 2 !== 0 || heads % kv_heads !== 0 || KV !== kv_heads * D || W !== (heads + 2 * kv_heads) * D) {
    throw new ArgumentError(
      `[${op}] heads do not fit: got heads ${heads}, kv_heads ${kv_heads}, a table of ${D} columns, qkv of ${W} and caches of ${KV}, expected an even head width D, heads divisible by kv_heads, (heads + 2 kv_heads) D and kv_heads D columns. Check the configuration.`,
    );
  }
}

/**
 * Attention of one token per row over cached keys and values: y_b = softmax_j(R(q_b) k_j / sqrt(D)) v_j over the tokens
 * 0 .. position[b] of cache slot slot[b], the last of which is the current one. R rotates by the row of `table` (see
 * `ropeTable`) at position[b]; cached keys are rotated already. Query head h uses key/value head h * kv_heads / heads.
 * The caller keeps slots below S and positions below T and P.
 * @remarks Keys are summed in parts of fixed length, so that a row does not depend on the batch around it
 */
export const attentionDecode = defineOp({
  name: "attention_decode",
  inputs: {
    /** Columns of all query heads, then key heads, then value heads; not rotated. Only the queries are read. */
    qkv: real("B W"),
    table: f32("P D"),
    key_cache: real("S T KV"),
    value_cache: real("S T KV"),
    slot: u32("B"),
    position: u32("B"),
  },
  outputs: { y: real("B Q") },
  params: { heads: u32Param(1), kv_heads: u32Param(1) },
  derived: ["Q", "parts", "E"],
  derive: (scalars, facts) => {
    checkHeads("attention_decode", scalars);
    const { T, D, heads } = scalars;
    return { Q: heads * D, parts: Math.ceil(T / partKeys(facts)), E: rowElements(D) };
  },
  forward: ({ run, scratch, views, scalars }) => {
    const { B, D, heads, parts } = scalars;
    if (parts === 1) {
      run(wholeUnit, views, scalars);
      return;
    }
    const split = {
      ...views,
      partial: scratch("partial", [parts, B, heads, D]),
      statistics: scratch("statistics", [parts, B, heads, 2]),
    };
    run(partUnit, split, scalars);
    run(mergeUnit, split, scalars);
  },
  backward: {
    none: "The cache holds values of finished passes: training runs whole sequences through attention.",
  },
  reference: (
    { qkv, table, key_cache, value_cache, slot, position },
    { B, T, W, KV, Q, D, heads, kv_heads },
  ) => {
    const y = new Float64Array(B * Q);
    for (let b = 0; b < B; b++) {
      const angles = table.subarray(position[b] * D, (position[b] + 1) * D);
      for (let head = 0; head < heads; head++) {
        const kvHead = Math.floor((head * kv_heads) / heads);
        const at = (j: number) => (slot[b] * T + j) * KV + kvHead * D;
        const query = rotated(qkv.subarray(b * W + head * D, b * W + (head + 1) * D), angles);
        const scores = Float64Array.from({ length: position[b] + 1 }, (_, j) =>
          query.reduce((sum, value, d) => sum + (value * key_cache[at(j) + d]) / Math.sqrt(D), 0),
        );
        const top = Math.max(...scores);
        const total = scores.reduce((sum, score) => sum + Math.exp(score - top), 0);
        scores.forEach((score, j) => {
          const weight = Math.exp(score - top) / total;
          for (let d = 0; d < D; d++) y[b * Q + head * D + d] += weight * value_cache[at(j) + d];
        });
      }
    }
    return { y };
  },
  // every slot full: an upper bound
  cost: ({ B, T, Q, KV }) => ({ forward: { flops: 4 * B * T * Q, bytes: 8 * (B * T * KV + B * Q) } }),
});

/** One head's row rotated, pairs (i, i + D/2). */
function rotated(row: Float64Array, angles: Float64Array): Float64Array {
  const half = row.length / 2;
  return row.map((value, d) =>
    d < half
      ? value * angles[d] - row[d + half] * angles[d + half]
      : value * angles[d - half] + row[d - half] * angles[d],
  );
}

const appendUnit: KernelUnit = {
  op: "kv_append",
  scalars: { N: "u32", T: "u32" },
  kernel: {
    entry: "append",
    constants: ["heads", "kv_heads", "D"],
    shader: ({ constants: { heads, kv_heads, D }, has }) =>
      shader.append({ heads, kvHeads: kv_heads, headDim: D }, has("source")),
    elements: elements("qkv", "table", "key_cache", "value_cache"),
    reads: ["qkv", "source", "table", "slot", "position"],
    writes: ["key_cache", "value_cache"],
    workgroups: ({ N, kv_heads, D }) => Math.ceil((N * kv_heads * rowElements(D)) / 2 / shader.APPEND_LANES),
  },
};

/** New keys and values, where they go, and the caches they go to. */
export interface KvAppend {
  /** `[M, (heads + 2 kv_heads) D]`: columns of all query heads, then key heads, then value heads; not rotated. */
  readonly qkv: ArrayView;
  /** u32 [N], below M: the row that each entry takes; default: entry n takes row n. */
  readonly source?: ArrayView | undefined;
  /** f32 [P, D], see `ropeTable`. */
  readonly table: ArrayView;
  /** u32 [N], below S. */
  readonly slot: ArrayView;
  /** u32 [N], below T and P. Two entries must not name the same place. */
  readonly position: ArrayView;
  /** [S, T, kv_heads D], written in place. */
  readonly key_cache: ArrayView;
  readonly value_cache: ArrayView;
}

/**
 * key_cache[slot[n], position[n]] = R(k), value_cache[...] = v of row source[n], with R the rotation by position[n]: fills
 * the cache in prefill (many tokens a sequence) and extends it in decoding (one token a sequence). Carries no gradient.
 * @throws ArgumentError when shapes do not fit
 */
export function appendKv(
  runner: Pick<PlanContext, "run">,
  { qkv, source, table, slot, position, key_cache, value_cache }: KvAppend,
  { heads, kv_heads }: { readonly heads: number; readonly kv_heads: number },
): void {
  const [N = 0] = slot.shape;
  const [M = 0, W = 0] = qkv.shape;
  const [, D = 0] = table.shape;
  const [, T = 0, KV = 0] = key_cache.shape;
  checkHeads("kv_append", { W, KV, D, heads, kv_heads });
  const fits =
    `${value_cache.shape}` === `${key_cache.shape}` &&
    position.shape[0] === N &&
    (source ? source.shape[0] === N : M === N);
  if (!fits) {
    throw new ArgumentError(
      `[kv_append] shapes do not fit: got qkv [${qkv.shape}], source [${source?.shape ?? "none"}], slot [${slot.shape}], position [${position.shape}], caches [${key_cache.shape}] and [${value_cache.shape}], expected one source, slot and position for each entry, and equal caches. Check the caller's shapes.`,
    );
  }
  const views: Record<string, ArrayView> = { qkv, table, slot, position, key_cache, value_cache };
  if (source) views.source = source;
  runner.run(appendUnit, views, { N, T, heads, kv_heads, D });
}
