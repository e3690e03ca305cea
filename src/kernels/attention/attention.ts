import { laneWorkgroups } from "../../../shaders/attention/attention_lane_tile.js";
import * as lanes from "../../../shaders/attention/attention_lanes.js";
import * as panels from "../../../shaders/attention/attention_panels.js";
import * as shared from "../../../shaders/attention/attention_shared.js";
import { sharedWorkgroups } from "../../../shaders/attention/attention_shared_tile.js";
import { elementType, type HeadShape, rowElements } from "../../../shaders/attention/attention_tiles.js";
import { ArgumentError } from "../../core/errors.js";
import {
  defineOp,
  f32,
  type Kernel,
  type KernelUnit,
  optional,
  real,
  type Scalars,
  type ShaderInput,
  u32,
  u32Param,
} from "../engine/op.js";
import { type AttentionSide, laneLayout, panelLayout, sharedLayout } from "./attention_layout.js";

const shapeOfHeads = ({ heads, kv_heads, D }: Scalars, rotate: boolean): HeadShape => ({
  heads: heads as number,
  kvHeads: kv_heads as number,
  headDim: D as number,
  rotate,
});

/** A kernel whose text depends on the adapter's layout and the head shape. */
function kernel(side: AttentionSide, rest: Pick<Kernel, "entry" | "reads" | "writes">): Kernel {
  const laneText = { forward: lanes.forward, query: lanes.backwardQuery, key_value: lanes.backwardKeyValue };
  const panelText = {
    forward: panels.forward,
    query: panels.backwardQuery,
    key_value: panels.backwardKeyValue,
  };
  const sharedText = {
    forward: shared.forward,
    query: shared.backwardQuery,
    key_value: shared.backwardKeyValue,
  };
  return {
    ...rest,
    constants: ["heads", "kv_heads", "D"],
    shader: ({ constants, facts, has }: ShaderInput) => {
      const shape = shapeOfHeads(constants, has("table"));
      if (!facts.isSoftware) return sharedText[side](sharedLayout(side, shape, facts), shape);
      const panel = panelLayout(side, shape, facts);
      return panel ? panelText[side](panel, shape) : laneText[side](laneLayout(side, shape, facts), shape);
    },
    elements: ({ constants }) => {
      const type = elementType(constants.D as number);
      return Object.fromEntries(["qkv", "table", "y", "d_y", "d_qkv"].map((name) => [name, type]));
    },
    workgroups: (scalars, facts) => {
      const shape = shapeOfHeads(scalars, false);
      const N = scalars.N as number;
      const heads = side === "key_value" ? shape.kvHeads : shape.heads;
      if (!facts.isSoftware) return sharedWorkgroups(sharedLayout(side, shape, facts), N, heads);
      const panel = panelLayout(side, shape, facts);
      if (panel) return panels.panelTiles(panel, N, shape.kvHeads) * shape.kvHeads;
      const layout = laneLayout(side, shape, facts);
      return laneWorkgroups(layout, N, heads / layout.heads);
    },
  };
}

const unit = (kernel: Kernel): KernelUnit => ({ op: "attention", scalars: { N: "u32", E: "u32" }, kernel });

const backward = [
  unit(
    kernel("query", {
      entry: "backward_query",
      reads: ["qkv", "position", "table", "y", "log_sum_exp", "sequence_start", "d_y"],
      writes: ["d_qkv"],
    }),
  ),
  unit(
    kernel("key_value", {
      entry: "backward_key_value",
      reads: ["qkv", "position", "table", "y", "log_sum_exp", "sequence_end", "d_y"],
      writes: ["d_qkv"],
    }),
  ),
];

/**
 * Causal grouped-query attention over packed sequences, rotary embedding included. Columns of `qkv` are all query heads,
 * then all key heads, then all value heads, W = (heads + 2 kv_heads) D. Token i attends to the keys
 * sequence_start[i] .. i: y_i = sum_j softmax_j(q_i k_j / sqrt(D)) v_j, per query head; query head h uses key/value head
 * h * kv_heads / heads. With `position` and `table` (see `ropeTable`), q and k are first rotated by the angles
 * table[position]; the caller keeps positions below P, and neither takes a gradient.
 * `sequence_start` holds for each token the index of its sequence's first token, `sequence_end` one past its last; both
 * are ascending. Memory is linear in N in both directions: scores are computed again in backward.
 * @source Dao 2023 (FlashAttention-2), algorithms 1 and 2, with the key and query passes of backward apart;
 * rotation as in the op `rope`
 */
export const attention = defineOp({
  name: "attention",
  fuses: ["slice_columns", "rope", "split_heads", "matmul", "causal_softmax", "join_heads"],
  inputs: {
    qkv: real("N W"),
    position: optional(u32("N")),
    table: optional(f32("P D")),
    sequence_start: u32("N"),
    sequence_end: u32("N"),
  },
  outputs: { y: real("N Q") },
  saved: { log_sum_exp: f32("N H") },
  params: { heads: u32Param(1), kv_heads: u32Param(1) },
  derived: ["H", "Q", "D", "E"],
  derive: ({ W, D: tableWidth, heads, kv_heads }) => {
    const D = W / (heads + 2 * kv_heads);
    if (!Number.isInteger(D) || heads % kv_heads !== 0) {
      throw new ArgumentError(
        `[attention] heads do not fit: got heads ${heads}, kv_heads ${kv_heads} and ${W} columns, expected heads divisible by kv_heads, and (heads + 2 kv_heads) D columns. Check the configuration.`,
      );
    }
    if (tableWidth !== undefined && (tableWidth !== D || D % 2 !== 0)) {
      throw new ArgumentError(
        `[attention] table does not fit: got ${tableWidth} columns, expected the even head width ${D}. Check the table's headDim.`,
      );
    }
    return { H: heads, Q: heads * D, D, E: rowElements(D) };
  },
  forward: [
    kernel("forward", {
      entry: "forward",
      reads: ["qkv", "position", "table", "sequence_start"],
      writes: ["y", "log_sum_exp"],
    }),
  ],
  // the kernels write different columns of d_qkv
  backward: ({ run, together, views, scalars, accumulate }) =>
    together(() => {
      for (const unit of backward) run(unit, views, scalars, accumulate);
    }),
  reference: ({ qkv, position, table, sequence_start }, { N, W, Q, D, heads, kv_heads }) => {
    const y = new Float64Array(N * Q);
    // heads in the order of the columns: queries, keys, values
    const row = (n: number, head: number) => qkv.subarray(n * W + head * D, n * W + (head + 1) * D);
    const rotated = (n: number, head: number) =>
      table ? rotate(row(n, head), table.subarray(position[n] * D, (position[n] + 1) * D)) : row(n, head);
    const keys = Array.from({ length: N }, (_, n) =>
      Array.from({ length: kv_heads }, (_, kvHead) => rotated(n, heads + kvHead)),
    );
    for (let i = 0; i < N; i++) {
      for (let head = 0; head < heads; head++) {
        const kvHead = Math.floor((head * kv_heads) / heads);
        const query = rotated(i, head);
        const weights: number[] = [];
        for (let j = sequence_start[i]; j <= i; j++) {
          const key = keys[j][kvHead];
          weights.push(query.reduce((sum, value, d) => sum + value * key[d], 0) / Math.sqrt(D));
        }
        const top = Math.max(...weights);
        const total = weights.reduce((sum, score) => sum + Math.exp(score - top), 0);
        weights.forEach((score, at) => {
          const value = row(sequence_start[i] + at, heads + kv_heads + kvHead);
          for (let d = 0; d < D; d++) y[i * Q + head * D + d] += (Math.exp(score - top) / total) * value[d];
        });
      }
    }
    return { y };
  },
  // half the square of one sequence of N tokens: an upper bound for packed sequences
  cost: ({ N, Q, W }) => ({
    forward: { flops: 2 * N * N * Q, bytes: 4 * N * (W + Q) },
    backward: { flops: 7 * N * N * Q, bytes: 4 * N * (2 * W + 2 * Q) },
  }),
});

/** A row of one head turned by the angles in a row of the table: cosines, then sines. */
function rotate(row: Float64Array, angles: Float64Array): Float64Array {
  const half = row.length / 2;
  return row.map((value, d) =>
    d < half
      ? value * angles[d] - row[d + half] * angles[d + half]
      : value * angles[d - half] + row[d - half] * angles[d],
  );
}
