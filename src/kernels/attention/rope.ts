import * as shader from "../../../shaders/attention/rope.js";
import { ArgumentError } from "../../core/errors.js";
import { defineOp, f32, type Kernel, real, type ShaderInput, u32, u32Param } from "../engine/op.js";

/** Floats of one element: pairs are handled four at a time where the half width allows it. */
const vectorWidth = (headDim: number): 1 | 4 => (headDim % 8 === 0 ? 4 : 1);

function text({ constants }: ShaderInput): shader.RopeText {
  const { D, heads } = constants as { D: number; heads: number };
  const width = vectorWidth(D);
  return { element: width === 4 ? "vec4<f32>" : "f32", half: D / 2 / width, heads };
}

const elements =
  (...names: string[]): NonNullable<Kernel["elements"]> =>
  (input) =>
    Object.fromEntries(names.map((name) => [name, text(input).element]));

const workgroups: Kernel["workgroups"] = ({ N, D }) =>
  Math.ceil((N * (D / 2 / vectorWidth(D))) / shader.WORKGROUP);

/**
 * Rotary position embedding of each head, pairs (i, i + D/2): y = (a cos - b sin, b cos + a sin), with the angles
 * position * theta^(-2i/D) precomputed in `table` (see `ropeTable`). `position` indexes the rows of `table`: the caller
 * keeps it below P. The table takes no gradient.
 * @source Su et al. 2021, eq. 34, in the half-split layout of the Qwen2 checkpoints
 */
export const rope = defineOp({
  name: "rope",
  inputs: { x: real("N W"), position: u32("N"), table: f32("P D") },
  outputs: { y: real("N W") },
  params: { heads: u32Param(1) },
  derive: ({ W, D, heads }) => {
    if (D % 2 !== 0 || W !== heads * D) {
      throw new ArgumentError(
        `[rope] x does not fit: got ${W} columns, heads ${heads} and a table of ${D} columns, expected an even head width D and heads * D columns. Check heads and the table's headDim.`,
      );
    }
    return {};
  },
  forward: [
    {
      entry: "forward",
      shader: (input) => shader.forward(text(input)),
      constants: ["D", "heads"],
      reads: ["x", "position", "table"],
      writes: ["y"],
      elements: elements("x", "table", "y"),
      workgroups,
    },
  ],
  backward: [
    {
      entry: "backward",
      shader: (input) => shader.backward(text(input)),
      constants: ["D", "heads"],
      reads: ["d_y", "position", "table"],
      writes: ["d_x"],
      elements: elements("d_y", "table", "d_x"),
      workgroups,
    },
  ],
  reference: ({ x, position, table }, { N, W, D, heads }) => {
    const y = new Float64Array(N * W);
    for (let n = 0; n < N; n++) {
      const angles = table.subarray(position[n] * D, (position[n] + 1) * D);
      for (let head = 0; head < heads; head++) {
        for (let i = 0; i < D / 2; i++) {
          const at = n * W + head * D + i;
          const [cosine, sine] = [angles[i], angles[i + D / 2]];
          y[at] = x[at] * cosine - x[at + D / 2] * sine;
          y[at + D / 2] = x[at + D / 2] * cosine + x[at] * sine;
        }
      }
    }
    return { y };
  },
  cost: ({ N, W, D }) => ({
    forward: { flops: 3 * N * W, bytes: 4 * (2 * N * W + N * D + N) },
    backward: { flops: 3 * N * W, bytes: 4 * (2 * N * W + N * D + N) },
  }),
});

/**
 * Cosines and sines for `rope`: row p holds cos(p theta^(-2i/D)) for i < D/2, then the D/2 sines.
 * Computed in float64 and rounded once.
 * @param positions number of rows, the longest sequence the table serves
 * @param headDim even head width D
 * @param theta base of the frequencies (`rope_theta`)
 * @returns row-major [positions, headDim]
 * @throws ArgumentError when headDim is odd
 */
export function ropeTable(positions: number, headDim: number, theta: number): Float32Array {
  if (headDim % 2 !== 0)
    throw new ArgumentError(
      `[rope] odd head width: got ${headDim}, expected an even number. Check the configuration.`,
    );
  const table = new Float32Array(positions * headDim);
  const half = headDim / 2;
  for (let i = 0; i < half; i++) {
    const frequency = theta ** ((-2 * i) / headDim);
    for (let position = 0; position < positions; position++) {
      table[position * headDim + i] = Math.cos(position * frequency);
      table[position * headDim + half + i] = Math.sin(position * frequency);
    }
  }
  return table;
}
