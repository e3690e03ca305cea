/** An op with drawn inputs and its tensors on the GPU, forward and backward to be run apart. */
import { Tensor } from "../src/autograd/tensor.js";
import { Random } from "../src/core/random.js";
import type { KernelFacts } from "../src/gpu/runtime.js";
import type { Launcher } from "../src/kernels/engine/launch.js";
import {
  type ArrayView,
  bindScalars,
  isDifferentiable,
  type OpDefinition,
  type Plan,
  type ReferenceArrays,
  type Scalars,
  shapeOf,
} from "../src/kernels/engine/op.js";
import { normals } from "./draws.js";
import { gpuTimes, type Work } from "./measure.js";
import type { OpShape } from "./op_shapes.js";

/** An op with its tensors on the GPU. */
export interface OpenOp {
  readonly facts: KernelFacts;
  readonly scalars: Scalars;
  readonly inputs: ReferenceArrays;
  /** Gradients that backward starts from, by output name. */
  readonly upstream: ReferenceArrays;
  readonly forward: Work;
  /** Absent when the op has no kernels for it. */
  readonly backward?: Work;
  /** By name: outputs, `d_<input>`; undefined for what the op does not give. */
  read(name: string): Promise<Float64Array | undefined>;
  /** Overwrites a gradient that backward starts from. */
  setUpstream(name: string, values: Float64Array): void;
  release(): void;
}

export interface OpInputs {
  readonly arrays: ReferenceArrays;
  readonly sizes: Scalars;
  readonly params: Scalars;
  readonly constant: readonly string[];
}

/** Uploads the inputs and makes room for everything else. */
export function openOp(launcher: Launcher, op: OpDefinition, given: OpInputs): OpenOp {
  const { runtime } = launcher;
  const tensors: Record<string, Tensor> = {};
  for (const [name, values] of Object.entries(given.arrays)) {
    const spec = op.inputs[name];
    const shape = spec.axes.map((axis) => given.sizes[axis] ?? Number(axis));
    const data = spec.dtype === "u32" ? Uint32Array.from(values) : Float32Array.from(values);
    tensors[name] = Tensor.from(runtime, data, shape, { label: name });
  }
  const inputNames = Object.keys(tensors);
  const scalars = inputScalars(op, given, launcher.facts);
  const upstream: Record<string, Float64Array> = {};
  const hasKernels = hasBackward(op);
  for (const [name, spec] of Object.entries({ ...op.outputs, ...op.saved })) {
    tensors[name] = Tensor.empty(runtime, shapeOf(op, name, spec, scalars), spec.dtype, name);
    if (!hasKernels || spec.dtype !== "f32" || !op.outputs[name]) continue;
    const data = Float32Array.from(normals(`upstream ${op.name} ${name}`, tensors[name].size));
    upstream[name] = Float64Array.from(data);
    tensors[`d_${name}`] = Tensor.from(runtime, data, tensors[name].shape, { label: `d_${name}` });
  }
  const forwardViews: Record<string, ArrayView> = { ...tensors };
  if (hasKernels) {
    for (const name of inputNames) {
      if (op.inputs[name].dtype !== "f32" || given.constant.includes(name) || op.passes?.[name]) continue;
      tensors[`d_${name}`] = Tensor.empty(runtime, tensors[name].shape, "f32", `d_${name}`);
    }
  }
  const workOf = (
    plan: Plan,
    views: Readonly<Record<string, ArrayView>>,
    starts: Readonly<Record<string, string>> = {},
  ): Work => {
    // gradients that begin as an output's; further calls add to what is there, which takes as long
    const begun = Object.entries(starts).filter(([input]) => tensors[`d_${input}`]);
    const accumulate = new Set(begun.map(([input]) => `d_${input}`));
    const work: Work = {
      async run(calls) {
        for (const [input, output] of begun)
          runtime.copy(tensors[`d_${output}`].range, tensors[`d_${input}`].range);
        for (let call = 0; call < calls; call++) launcher.runPlan(op, plan, views, scalars, accumulate);
        await runtime.finish();
      },
      gpuTimes: (calls) => gpuTimes(runtime, work, calls),
    };
    return work;
  };
  return {
    facts: launcher.facts,
    scalars,
    inputs: given.arrays,
    upstream,
    forward: workOf(op.forward, forwardViews),
    backward: hasKernels ? workOf(op.backward as Plan, tensors, op.starts) : undefined,
    read: async (name) => tensors[name] && Float64Array.from(await tensors[name].read()),
    setUpstream: (name, values) => tensors[`d_${name}`].upload(Float32Array.from(values)),
    release: () => {
      for (const tensor of Object.values(tensors)) tensor.release();
    },
  };
}

/** Gradients that are an output's gradient as it is take no kernel. */
function hasBackward(op: OpDefinition): boolean {
  return isDifferentiable(op) && !(Array.isArray(op.backward) && op.backward.length === 0);
}

/** Sizes of all axes, params and what follows from them. */
export function inputScalars(
  op: OpDefinition,
  { arrays, sizes, params }: Pick<OpInputs, "arrays" | "sizes" | "params">,
  facts: KernelFacts,
): Scalars {
  const tensors = Object.fromEntries(
    Object.keys(arrays).map((name) => {
      const { axes, dtype } = op.inputs[name];
      return [name, { shape: axes.map((axis) => sizes[axis] ?? Number(axis)), dtype }];
    }),
  );
  return bindScalars(op, tensors, params, facts);
}

/** Inputs of an op at a shape, rounded to what the GPU gets. */
export function drawInputs(op: OpDefinition, shape: OpShape): OpInputs {
  const { sizes, params = {} } = shape;
  const random = Random.of(3, "bench", op.name);
  const arrays: Record<string, Float64Array> = {};
  for (const [name, spec] of Object.entries(op.inputs)) {
    if (shape.without?.includes(name)) continue;
    const count = spec.axes.reduce((product, axis) => product * (sizes[axis] ?? Number(axis)), 1);
    const own = shape.draw?.[name];
    const values = own?.(random, { ...sizes, ...params }, arrays) ?? normals(`${op.name} ${name}`, count);
    arrays[name] = Float64Array.from(values, spec.dtype === "f32" ? Math.fround : Number);
  }
  return { arrays, sizes, params, constant: shape.constant ?? [] };
}
