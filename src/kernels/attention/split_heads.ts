import * as shader from "../../../shaders/attention/heads.js";
import { workgroupsFor } from "../../../shaders/layers/columns.js";
import { ArgumentError } from "../../core/errors.js";
import { defineOp, real, u32Param } from "../engine/op.js";

/**
 * Columns of heads as a matrix a head: y[h, n, d] = x[n, first + floor(h / group_size) D + d]. With `group_size` > 1 so many heads in
 * turn read the same columns, as query heads read one key head.
 * @source ours
 */
export const splitHeads = defineOp({
  name: "split_heads",
  inputs: { x: real("N C") },
  outputs: { y: real("H N D") },
  params: { first: u32Param(0), heads: u32Param(1), group_size: u32Param(1), width: u32Param(1) },
  derived: ["H", "D"],
  derive: ({ C, first, heads, group_size, width }) => {
    if (
      group_size < 1 ||
      heads < 1 ||
      width < 1 ||
      heads % group_size !== 0 ||
      first + (heads / group_size) * width > C
    ) {
      throw new ArgumentError(
        `[split_heads] heads do not fit: got first ${first}, heads ${heads}, group_size ${group_size}, width ${width} and ${C} columns, expected heads divisible by group_size, and first + heads / group_size * width columns at least. Check the widths.`,
      );
    }
    return { H: heads, D: width };
  },
  forward: [
    {
      entry: "forward",
      shader: shader.split,
      reads: ["x"],
      writes: ["y"],
      workgroups: ({ H, N, D }) => workgroupsFor(H * N * D),
    },
  ],
  backward: [
    {
      entry: "backward_x",
      shader: shader.splitBackward,
      reads: ["d_y"],
      writes: ["d_x"],
      workgroups: ({ N, C }) => workgroupsFor(N * C),
    },
  ],
  reference: ({ x }, { N, C, H, D, first, group_size }) => ({
    y: Float64Array.from({ length: H * N * D }, (_, i) => {
      const [h, n, d] = [Math.floor(i / (N * D)), Math.floor(i / D) % N, i % D];
      return x[n * C + first + Math.floor(h / group_size) * D + d];
    }),
  }),
  cost: ({ N, C, H, D }) => ({
    forward: { flops: 0, bytes: 8 * H * N * D },
    backward: { flops: H * N * D, bytes: 4 * N * (C + H * D) },
  }),
});
