import * as forwardShader from "../../shaders/attention.js";
import * as backwardShader from "../../shaders/attention_backward.js";
import * as loopedShader from "../../shaders/attention_looped.js";
import {
  elementType,
  type HeadShape,
  rowElements,
  type TileLayout,
  tileWorkgroups,
} from "../../shaders/attention_tiles.js";
import { ArgumentError } from "../core/errors.js";
import type { DeviceFacts } from "../gpu/runtime.js";
import { addInto } from "./add.js";
import { attentionLayout } from "./attention_layout.js";
import {
  type ArrayView,
  defineOp,
  f32,
  type Kernel,
  type KernelUnit,
  type Scalars,
  type ShaderInput,
  u32,
  u32Param,
} from "./op.js";

const shapeOfHeads = ({ heads, kv_heads, D }: Scalars): HeadShape => ({
  heads: heads as number,
  kvHeads: kv_heads as number,
  headDim: D as number,
});

interface Texts {
  readonly side: "forward" | "query" | "key_value";
  readonly tiled: (layout: TileLayout, shape: HeadShape) => string;
  readonly looped: (shape: HeadShape) => string;
  /** Parts the heads of a tile's rows are cut into; looped: heads of the rows. */
  readonly parts: (shape: HeadShape, layout?: TileLayout) => number;
  /** Tensors bound by elements of `elementType`. */
  readonly vectors: readonly string[];
}

/** A kernel whose text depends on its layout and the head shape. */
function kernel(
  { side, tiled, looped, parts, vectors }: Texts,
  rest: Pick<Kernel, "entry" | "reads" | "writes">,
): Kernel {
  const choose = (scalars: Scalars, facts: DeviceFacts) => {
    const shape = shapeOfHeads(scalars);
    return { shape, layout: attentionLayout(side, shape, facts) };
  };
  return {
    ...rest,
    constants: ["heads", "kv_heads", "D"],
    shader: ({ constants, facts }: ShaderInput) => {
      const { shape, layout } = choose(constants, facts);
      return layout ? tiled(layout, shape) : looped(shape);
    },
    elements: ({ constants }) => {
      const type = elementType(constants.D as number);
      return Object.fromEntries(vectors.map((name) => [name, type]));
    },
    workgroups: (scalars, facts) => {
      const { shape, layout } = choose(scalars, facts);
      const N = scalars.N as number;
      return layout
        ? tileWorkgroups(layout, N, parts(shape, layout))
        : Math.ceil((N * parts(shape)) / loopedShader.WORKGROUP);
    },
  };
}

const headParts: Texts["parts"] = ({ heads }, layout) => heads / (layout?.heads ?? 1);

const unit = (kernel: Kernel): KernelUnit => ({ op: "attention", scalars: { N: "u32", E: "u32" }, kernel });

const queryUnit = unit(
  kernel(
    {
      side: "query",
      tiled: backwardShader.backwardQuery,
      looped: loopedShader.backwardQuery,
      parts: headParts,
      vectors: ["q", "k", "v", "y", "d_y", "d_q"],
    },
    {
      entry: "backward_query",
      reads: ["q", "k", "v", "y", "log_sum_exp", "sequence_start", "d_y"],
      writes: ["d_q", "row_dot"],
    },
  ),
);

const keyValueUnit = unit(
  kernel(
    {
      side: "key_value",
      tiled: backwardShader.backwardKeyValue,
      looped: loopedShader.backwardKeyValue,
      parts: ({ kvHeads }) => kvHeads,
      vectors: ["q", "k", "v", "d_y", "d_k", "d_v"],
    },
    {
      entry: "backward_key_value",
      reads: ["q", "k", "v", "log_sum_exp", "row_dot", "sequence_end", "d_y"],
      writes: ["d_k", "d_v"],
    },
  ),
);

/**
 * Causal grouped-query attention over packed sequences. Token i attends to the keys sequence_start[i] .. i:
 * y_i = sum_j softmax_j(q_i k_j / sqrt(D)) v_j, per query head; query head h uses key/value head h * kv_heads / heads.
 * `sequence_start` holds for each token the index of its sequence's first token, `sequence_end` one past its last; both
 * are ascending. Memory is linear in N in both directions: scores are computed again in backward.
 * @source Dao 2023 (FlashAttention-2), algorithms 1 and 2, with the key and query passes of backward apart
 */
export const attention = defineOp({
  name: "attention",
  inputs: {
    q: f32("N Q"),
    k: f32("N KV"),
    v: f32("N KV"),
    sequence_start: u32("N"),
    sequence_end: u32("N"),
  },
  outputs: { y: f32("N Q") },
  saved: { log_sum_exp: f32("N H") },
  params: { heads: u32Param(1), kv_heads: u32Param(1) },
  derived: ["H", "D", "E"],
  derive: ({ Q, KV, heads, kv_heads }) => {
    const D = Q / heads;
    if (!Number.isInteger(D) || heads % kv_heads !== 0 || KV !== kv_heads * D) {
      throw new ArgumentError(
        `[attention] heads do not fit: got heads ${heads}, kv_heads ${kv_heads}, ${Q} query and ${KV} key columns, expected heads divisible by kv_heads, and columns = heads * D. Check the configuration.`,
      );
    }
    return { H: heads, D, E: rowElements(D) };
  },
  forward: [
    kernel(
      {
        side: "forward",
        tiled: forwardShader.forward,
        looped: loopedShader.forward,
        parts: headParts,
        vectors: ["q", "k", "v", "y"],
      },
      {
        entry: "forward",
        reads: ["q", "k", "v", "sequence_start"],
        writes: ["y", "log_sum_exp"],
      },
    ),
  ],
  backward: (context) => {
    const { run, views, scalars, accumulate, scratch } = context;
    // the kernels overwrite: gradients to be added to, and unwanted ones, go to scratch first
    const made: Record<string, ArrayView> = {};
    for (const name of ["q", "k", "v"]) {
      const wanted = views[`d_${name}`];
      made[`d_${name}`] =
        wanted && !accumulate.has(`d_${name}`)
          ? wanted
          : scratch(`d_${name}`, (views[name] as ArrayView).shape);
    }
    const all = { ...views, ...made, row_dot: scratch("row_dot", (views.log_sum_exp as ArrayView).shape) };
    run(queryUnit, all, scalars);
    if (views.d_k || views.d_v) run(keyValueUnit, all, scalars);
    for (const name of accumulate) addInto(context, views[name] as ArrayView, made[name] as ArrayView);
  },
  reference: ({ q, k, v, sequence_start }, { N, Q, KV, D, heads, kv_heads }) => {
    const y = new Float64Array(N * Q);
    for (let i = 0; i < N; i++) {
      for (let head = 0; head < heads; head++) {
        const kvHead = Math.floor((head * kv_heads) / heads);
        const query = q.subarray(i * Q + head * D, i * Q + (head + 1) * D);
        const weights: number[] = [];
        for (let j = sequence_start[i]; j <= i; j++) {
          const key = k.subarray(j * KV + kvHead * D, j * KV + (kvHead + 1) * D);
          weights.push(query.reduce((sum, value, d) => sum + value * key[d], 0) / Math.sqrt(D));
        }
        const top = Math.max(...weights);
        const total = weights.reduce((sum, score) => sum + Math.exp(score - top), 0);
        weights.forEach((score, at) => {
          const value = (sequence_start[i] + at) * KV + kvHead * D;
          for (let d = 0; d < D; d++)
            y[i * Q + head * D + d] += (Math.exp(score - top) / total) * v[value + d];
        });
      }
    }
    return { y };
  },
  // half the square of one sequence of N tokens: an upper bound for packed sequences
  cost: ({ N, Q, KV }) => ({
    forward: { flops: 2 * N * N * Q, bytes: 8 * N * (Q + KV) },
    backward: { flops: 7 * N * N * Q, bytes: 12 * N * (2 * Q + 2 * KV) },
  }),
});
