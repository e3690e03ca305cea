import * as shader from "../../../shaders/layers/dropout.js";
import { philox4x32, uniformOfWord } from "../../core/philox.js";
import { defineOp, f32Param, real, u32Param } from "../engine/op.js";

/**
 * Leaves elements out at random: y = scale x / (1 - rate) where u >= rate, else 0, with u of the element number i the uniform
 * number of Philox4x32-10 at key (seed, seed_high) and counter (i, 0, 0, 0). The mask is kept nowhere: backward draws it again.
 * @source Srivastava et al. 2014; Salmon et al. 2011
 */
export const dropout = defineOp({
  name: "dropout",
  inputs: { x: real("N C") },
  outputs: { y: real("N C") },
  params: { rate: f32Param(0), scale: f32Param(1), seed: u32Param(0), seed_high: u32Param(0) },
  forward: [
    {
      entry: "forward",
      shader: shader.forward,
      reads: ["x"],
      writes: ["y"],
      workgroups: ({ N, C }) => shader.workgroupsFor(N * C),
    },
  ],
  backward: [
    {
      entry: "backward_x",
      shader: shader.backward,
      reads: ["d_y"],
      writes: ["d_x"],
      workgroups: ({ N, C }) => shader.workgroupsFor(N * C),
    },
  ],
  reference: ({ x }, { rate, scale, seed, seed_high }) => ({
    y: x.map((value, i) => {
      const isKept = uniformOfWord(philox4x32([i, 0, 0, 0], [seed, seed_high])[0]) >= rate;
      return isKept ? (scale * value) / (1 - rate) : 0;
    }),
  }),
  cost: ({ N, C }) => ({
    forward: { flops: 2 * N * C, bytes: 8 * N * C },
    backward: { flops: 2 * N * C, bytes: 8 * N * C },
  }),
});
