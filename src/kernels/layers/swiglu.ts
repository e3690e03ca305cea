import * as shader from "../../../shaders/layers/swiglu.js";
import { defineOp, type Kernel, real, type ShaderInput } from "../engine/op.js";

const element = ({ constants }: ShaderInput): string => (constants.vector === 4 ? "vec4<f32>" : "f32");

const elements =
  (...names: string[]): NonNullable<Kernel["elements"]> =>
  (input) =>
    Object.fromEntries(names.map((name) => [name, element(input)]));

const workgroups: Kernel["workgroups"] = ({ E }) => Math.ceil(E / shader.WORKGROUP);

/**
 * Gate of the feed-forward block: y = silu(gate) * up, silu(g) = g / (1 + exp(-g)).
 * @source Shazeer 2020, eq. 6
 */
export const swiglu = defineOp({
  name: "swiglu",
  inputs: { gate: real("N F"), up: real("N F") },
  outputs: { y: real("N F") },
  derived: ["E"],
  derive: ({ N, F }) => {
    const vector = F % 4 === 0 ? 4 : 1;
    return { vector, E: (N * F) / vector };
  },
  forward: [
    {
      entry: "forward",
      shader: (input) => shader.forward(element(input)),
      constants: ["vector"],
      reads: ["gate", "up"],
      writes: ["y"],
      elements: elements("gate", "up", "y"),
      workgroups,
    },
  ],
  backward: [
    {
      entry: "backward",
      shader: (input) => shader.backward(element(input)),
      constants: ["vector"],
      reads: ["gate", "up", "d_y"],
      writes: ["d_gate", "d_up"],
      elements: elements("gate", "up", "d_y", "d_gate", "d_up"),
      workgroups,
    },
  ],
  reference: ({ gate, up }) => ({ y: gate.map((g, index) => (g / (1 + Math.exp(-g))) * up[index]) }),
  cost: ({ N, F }) => ({
    forward: { flops: 6 * N * F, bytes: 12 * N * F },
    backward: { flops: 12 * N * F, bytes: 20 * N * F },
  }),
});
