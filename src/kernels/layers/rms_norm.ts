import * as shader from "../../../shaders/layers/rms_norm.js";
import { rowLayout } from "../../../shaders/rows.js";
import {
  type ArrayView,
  defineOp,
  f32,
  f32Param,
  type Kernel,
  type KernelUnit,
  type PlanContext,
  real,
  type Scalars,
  type ShaderInput,
} from "../engine/op.js";
import type { GainGradient, GradientTarget } from "../engine/weight_gradient.js";

const widthOf = (C: number): 1 | 4 => (C % 4 === 0 ? 4 : 1);
const ofConstants = ({ constants }: ShaderInput): 1 | 4 => (constants.vector === 4 ? 4 : 1);
const hasParts = ({ constants }: ShaderInput): boolean => constants.has_parts === 1;

function backwardUnit(kernel: Omit<Kernel, "elements" | "constants">): KernelUnit {
  const vectors = ["x", "gain", "d_y", "d_x", "d_gain"];
  return {
    op: "rms_norm",
    scalars: { N: "u32", C: "u32", P: "u32" },
    kernel: {
      ...kernel,
      constants: ["vector", "has_parts"],
      elements: (input) =>
        Object.fromEntries(vectors.map((name) => [name, ofConstants(input) === 4 ? "vec4<f32>" : "f32"])),
    },
  };
}

const backwardX = backwardUnit({
  entry: "backward_x",
  shader: (input) => shader.backwardX(rowLayout(input.facts.isSoftware), ofConstants(input), hasParts(input)),
  reads: ["x", "gain", "rstd", "d_y"],
  writes: ["d_x"],
  workgroups: ({ N }, { isSoftware }) => Math.ceil(N / rowLayout(isSoftware).rows),
});

const backwardGain = backwardUnit({
  entry: "backward_gain",
  shader: (input) =>
    shader.backwardGain(rowLayout(input.facts.isSoftware), ofConstants(input), hasParts(input)),
  reads: ["x", "rstd", "d_y"],
  writes: ["d_gain"],
  workgroups: ({ C }, { isSoftware }) => shader.gainWorkgroups(rowLayout(isSoftware), widthOf(C), C),
});

/** Arrays of the backward pass of a norm over rows of x [N, C]. */
export interface RmsNormBackward {
  readonly x: ArrayView;
  readonly gain: ArrayView;
  readonly rstd: ArrayView;
  /** Gradient of the normalised rows [N, C], or parts of it that are to be added, [P, N, C]. */
  readonly d_y: ArrayView;
  /** Gradient to be written, or added to where the plan accumulates it. */
  readonly d_x?: ArrayView;
}

function scalarsOf(d_y: ArrayView, N: number, C: number): Scalars {
  const P = d_y.shape.length === 3 ? d_y.shape[0] : 1;
  return { N, C, P, vector: widthOf(C), has_parts: Number(P > 1) };
}

/** Gradients of x and of the input `gain` of an op's norm; its d_x may not be the memory of d_y. */
export function rmsNormBackward(context: PlanContext, norm: RmsNormBackward, N: number, C: number): void {
  const { x, gain, rstd, d_y, d_x } = norm;
  context.together(() => {
    if (d_x) context.run(backwardX, { x, gain, rstd, d_y, d_x }, scalarsOf(d_y, N, C), context.accumulate);
    context.weightGradient({ kind: "gain", weight: "gain", gradient: d_y, input: x, rows: rstd, N, C });
  });
}

const GAIN: ReadonlySet<string> = new Set(["d_gain"]);

/** The gradient of a gain, from all rows. */
export function gainGradientInto(
  { run }: Pick<PlanContext, "run">,
  { gradient: d_y, input: x, rows: rstd, N, C }: GainGradient,
  { view: d_gain, accumulate }: GradientTarget,
): void {
  run(backwardGain, { x, rstd, d_y, d_gain }, scalarsOf(d_y, N, C), accumulate ? GAIN : undefined);
}

/** Normalised rows and their factors, in float64. */
export function rmsNormReference(x: Float64Array, gain: Float64Array, { N, C, eps }: Scalars) {
  const y = new Float64Array(N * C);
  const rstd = new Float64Array(N);
  for (let n = 0; n < N; n++) {
    const row = x.subarray(n * C, (n + 1) * C);
    rstd[n] = 1 / Math.sqrt(row.reduce((sum, value) => sum + value * value, 0) / C + eps);
    row.forEach((value, c) => {
      y[n * C + c] = value * rstd[n] * gain[c];
    });
  }
  return { y, rstd };
}

/**
 * RMS normalisation over the channel axis: y = x * rstd * gain, rstd = 1 / sqrt(mean(x^2) + eps).
 * @source Zhang & Sennrich 2019, eq. 4
 */
export const rmsNorm = defineOp({
  name: "rms_norm",
  inputs: { x: real("N C"), gain: f32("C") },
  outputs: { y: real("N C") },
  saved: { rstd: f32("N") },
  params: { eps: f32Param(1e-6) },
  forward: [
    {
      entry: "forward",
      shader: ({ facts }) => shader.forward(rowLayout(facts.isSoftware)),
      reads: ["x", "gain"],
      writes: ["y", "rstd"],
      workgroups: ({ N }, { isSoftware }) => Math.ceil(N / rowLayout(isSoftware).rows),
    },
  ],
  backward: (context) => {
    const { x, gain, rstd, d_y, d_x } = context.views;
    rmsNormBackward(context, { x, gain, rstd, d_y, d_x }, context.scalars.N, context.scalars.C);
  },
  reference: ({ x, gain }, scalars) => rmsNormReference(x, gain, scalars),
  cost: ({ N, C }) => ({
    forward: { flops: 4 * N * C, bytes: 4 * (2 * N * C + C + N) },
    backward: { flops: 10 * N * C, bytes: 4 * (5 * N * C + 2 * C + 2 * N) },
  }),
});
