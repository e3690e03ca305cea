import * as shader from "../../../shaders/layers/columns.js";
import { ArgumentError } from "../../core/errors.js";
import { defineOp, real, u32Param } from "../engine/op.js";

/**
 * Picks columns at equal distances: y[n, k] = x[n, first + stride k] for k < count. Takes stacked projections (stride 1) and
 * interleaved ones (stride 2) apart.
 * @source torch.Tensor slicing, x[:, first::stride][:, :count]
 */
export const sliceColumns = defineOp({
  name: "slice_columns",
  inputs: { x: real("N C") },
  outputs: { y: real("N K") },
  params: { first: u32Param(0), stride: u32Param(1), count: u32Param(1) },
  derived: ["K"],
  derive: ({ C, first, stride, count }) => {
    if (count < 1 || stride < 1 || first + stride * (count - 1) >= C) {
      throw new ArgumentError(
        `[slice_columns] columns do not fit: got first ${first}, stride ${stride} and count ${count} of ${C} columns, expected a stride and a count of 1 or more, and the last column below ${C}. Check the widths.`,
      );
    }
    return { K: count };
  },
  forward: [
    {
      entry: "forward",
      shader: shader.slice,
      reads: ["x"],
      writes: ["y"],
      workgroups: ({ N, K }) => shader.workgroupsFor(N * K),
    },
  ],
  backward: [
    {
      entry: "backward_x",
      shader: shader.sliceBackward,
      reads: ["d_y"],
      writes: ["d_x"],
      workgroups: ({ N, C }) => shader.workgroupsFor(N * C),
    },
  ],
  reference: ({ x }, { N, C, K, first, stride }) => ({
    y: Float64Array.from({ length: N * K }, (_, i) => x[Math.floor(i / K) * C + first + stride * (i % K)]),
  }),
  cost: ({ N, C, K }) => ({
    forward: { flops: 0, bytes: 8 * N * K },
    backward: { flops: 0, bytes: 4 * N * (C + K) },
  }),
});
