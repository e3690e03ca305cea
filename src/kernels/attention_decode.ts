import * as shader from "../../shaders/attention_decode.js";
import { elementType, vectorWidth } from "../../shaders/attention_tiles.js";
import { ArgumentError } from "../core/errors.js";
import { largestDivisor } from "./attention_layout.js";
import {
  type ArrayView,
  defineOp,
  f32,
  type KernelUnit,
  type PlanContext,
  type Scalars,
  u32,
  u32Param,
} from "./op.js";

/** Floats of queries (and as many of sums) that one invocation of a CPU adapter keeps in registers. */
const REGISTER_FLOATS = 64;
/** Query heads a workgroup of a GPU handles: each costs LANES floats of shared memory. */
const GPU_HEADS = 8;

function textFor({ heads, kv_heads, D }: Scalars, isSoftware: boolean): shader.DecodeText {
  const [all, kvHeads, headDim] = [heads as number, kv_heads as number, D as number];
  const limit = isSoftware ? Math.max(1, Math.floor(REGISTER_FLOATS / headDim)) : GPU_HEADS;
  return { heads: all, kvHeads, headDim, headsAtOnce: largestDivisor(all / kvHeads, limit) };
}

/**
 * Attention of one token per row over cached keys and values: y_b = softmax_j(q_b k_j / sqrt(D)) v_j over the first
 * length[b] (at least 1) tokens of cache slot slot[b], the current token included. Query head h uses key/value head
 * h * kv_heads / heads. The caller keeps slots below S and lengths at most T.
 */
export const attentionDecode = defineOp({
  name: "attention_decode",
  inputs: {
    q: f32("B Q"),
    key_cache: f32("S T KV"),
    value_cache: f32("S T KV"),
    slot: u32("B"),
    length: u32("B"),
  },
  outputs: { y: f32("B Q") },
  params: { heads: u32Param(1), kv_heads: u32Param(1) },
  derived: ["D"],
  derive: ({ Q, KV, heads, kv_heads }) => {
    const D = Q / heads;
    if (!Number.isInteger(D) || heads % kv_heads !== 0 || KV !== kv_heads * D) {
      throw new ArgumentError(
        `[attention_decode] heads do not fit: got heads ${heads}, kv_heads ${kv_heads}, ${Q} query and ${KV} key columns, expected heads divisible by kv_heads, and columns = heads * D. Check the configuration.`,
      );
    }
    return { D };
  },
  forward: [
    {
      entry: "forward",
      constants: ["heads", "kv_heads", "D"],
      shader: ({ constants, facts }) => {
        const text = textFor(constants, facts.isSoftware);
        return facts.isSoftware ? shader.decodeByInvocation(text) : shader.decodeByWorkgroup(text);
      },
      elements: ({ constants }) => {
        const type = elementType(constants.D as number);
        return { q: type, key_cache: type, value_cache: type, y: type };
      },
      reads: ["q", "key_cache", "value_cache", "slot", "length"],
      writes: ["y"],
      workgroups: (scalars, { isSoftware }) => {
        const { heads, headsAtOnce } = textFor(scalars, isSoftware);
        const tasks = (scalars.B as number) * (heads / headsAtOnce);
        return isSoftware ? Math.ceil(tasks / shader.LANES.software) : tasks;
      },
    },
  ],
  backward: {
    none: "The cache holds values of finished passes: training runs whole sequences through attention.",
  },
  reference: ({ q, key_cache, value_cache, slot, length }, { B, T, Q, KV, D, heads, kv_heads }) => {
    const y = new Float64Array(B * Q);
    for (let b = 0; b < B; b++) {
      for (let head = 0; head < heads; head++) {
        const kvHead = Math.floor((head * kv_heads) / heads);
        const at = (j: number) => (slot[b] * T + j) * KV + kvHead * D;
        const query = q.subarray(b * Q + head * D, b * Q + (head + 1) * D);
        const scores = Float64Array.from({ length: length[b] }, (_, j) =>
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

const columns = (KV: number): number => KV / vectorWidth(KV);

const appendUnit: KernelUnit = {
  op: "kv_append",
  scalars: { N: "u32", T: "u32", KV: "u32" },
  kernel: {
    entry: "append",
    constants: ["KV"],
    shader: ({ constants }) => shader.append(columns(constants.KV as number)),
    elements: ({ constants }) => {
      const type = elementType(constants.KV as number);
      return { k: type, v: type, key_cache: type, value_cache: type };
    },
    reads: ["k", "v", "slot", "position"],
    writes: ["key_cache", "value_cache"],
    workgroups: ({ N, KV }) => Math.ceil((N * columns(KV)) / 64),
  },
};

/** New keys and values, where they go, and the caches they go to. */
export interface KvAppend {
  /** f32 [N, KV]: any number of tokens of any sequences. */
  readonly k: ArrayView;
  readonly v: ArrayView;
  /** u32 [N], below S. */
  readonly slot: ArrayView;
  /** u32 [N], below T. Two tokens must not name the same place. */
  readonly position: ArrayView;
  /** f32 [S, T, KV], written in place. */
  readonly key_cache: ArrayView;
  readonly value_cache: ArrayView;
}

/**
 * key_cache[slot[n], position[n]] = k[n], and the same for values: fills the cache in prefill (many tokens a sequence)
 * and extends it in decoding (one token a sequence). Carries no gradient.
 * @throws ArgumentError when shapes do not fit
 */
export function appendKv(
  runner: Pick<PlanContext, "run">,
  { k, v, slot, position, key_cache, value_cache }: KvAppend,
): void {
  const [N = 0, KV = 0] = k.shape;
  const [, T = 0, width] = key_cache.shape;
  const fits =
    width === KV &&
    `${v.shape}` === `${k.shape}` &&
    `${value_cache.shape}` === `${key_cache.shape}` &&
    slot.shape[0] === N &&
    position.shape[0] === N;
  if (!fits) {
    throw new ArgumentError(
      `[kv_append] shapes do not fit: got k [${k.shape}], v [${v.shape}], slot [${slot.shape}], position [${position.shape}], caches [${key_cache.shape}] and [${value_cache.shape}], expected [N KV], [N KV], [N], [N], [S T KV] twice. Check the caller's shapes.`,
    );
  }
  runner.run(appendUnit, { k, v, slot, position, key_cache, value_cache }, { N, T, KV });
}
