/** Runs one declared op, forward and backward apart, and checks both against its float64 reference. */
import { Tensor } from "../src/autograd/tensor.js";
import { Random } from "../src/core/random.js";
import type { Launcher } from "../src/kernels/launch.js";
import {
  type ArrayView,
  bindScalars,
  isDifferentiable,
  type OpDefinition,
  type Plan,
  type ReferenceArrays,
  type Scalars,
  shapeOf,
} from "../src/kernels/op.js";
import { type Effort, measure, type Work } from "./measure.js";
import { OP_SHAPES, type OpShape } from "./op_shapes.js";
import { type BenchRow, figures } from "./row.js";

/** An op with its tensors on the GPU. */
export interface OpenOp {
  readonly scalars: Scalars;
  readonly inputs: ReferenceArrays;
  /** Gradients that backward starts from, by output name. */
  readonly upstream: ReferenceArrays;
  readonly forward: Work;
  /** Absent when the op has no kernels for it. */
  readonly backward?: Work;
  /** By name: outputs, `d_<input>`; undefined for what the op does not give. */
  read(name: string): Promise<Float64Array | undefined>;
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
    const data = spec.dtype === "f32" ? Float32Array.from(values) : Uint32Array.from(values);
    tensors[name] = Tensor.from(runtime, data, shape, { label: name });
  }
  const inputNames = Object.keys(tensors);
  const scalars = bindScalars(op, tensors, given.params, launcher.facts);
  const upstream: Record<string, Float64Array> = {};
  const hasKernels = isDifferentiable(op) && op.backward !== "pass_through";
  const random = Random.of(7, "upstream", op.name);
  for (const [name, spec] of Object.entries({ ...op.outputs, ...op.saved })) {
    tensors[name] = Tensor.empty(runtime, shapeOf(op, name, spec, scalars), spec.dtype, name);
    if (!hasKernels || spec.dtype !== "f32" || !op.outputs[name]) continue;
    const data = Float32Array.from({ length: tensors[name].size }, () => random.normal());
    upstream[name] = Float64Array.from(data);
    tensors[`d_${name}`] = Tensor.from(runtime, data, tensors[name].shape, { label: `d_${name}` });
  }
  const forwardViews: Record<string, ArrayView> = { ...tensors };
  if (hasKernels) {
    for (const name of inputNames) {
      if (op.inputs[name].dtype !== "f32" || given.constant.includes(name)) continue;
      tensors[`d_${name}`] = Tensor.empty(runtime, tensors[name].shape, "f32", `d_${name}`);
    }
  }
  const work = (plan: Plan, views: Readonly<Record<string, ArrayView>>): Work => ({
    async run(calls) {
      for (let call = 0; call < calls; call++) launcher.runPlan(op, plan, views, scalars);
      await runtime.finish();
    },
  });
  return {
    scalars,
    inputs: given.arrays,
    upstream,
    forward: work(op.forward, forwardViews),
    backward: hasKernels ? work(op.backward as Plan, tensors) : undefined,
    read: async (name) => tensors[name] && Float64Array.from(await tensors[name].read()),
    release: () => {
      for (const tensor of Object.values(tensors)) tensor.release();
    },
  };
}

export interface OpBench {
  readonly launcher: Launcher;
  readonly adapter: string;
  readonly effort: Effort;
  readonly quick: boolean;
}

/** Rows of one op at its default shape: forward and, where it has kernels, backward. */
export async function benchOp(
  { launcher, adapter, effort, quick }: OpBench,
  op: OpDefinition,
): Promise<BenchRow[]> {
  const shape = OP_SHAPES[op.name];
  const row = { op: op.name, implementation: "uncouple", dtype: "f32" as const, adapter };
  if (!shape) {
    const error = "no shape to measure it at: add one to bench/op_shapes.ts";
    return [{ ...row, direction: "forward", shape: "", error }];
  }
  const sizes = quick ? shape.quick : shape.sizes;
  const label = Object.entries(sizes)
    .map(([axis, size]) => `${axis}${size}`)
    .join(" ");
  const open = openOp(launcher, op, drawInputs(op, shape, sizes));
  try {
    const cost = op.cost(open.scalars);
    const rows: BenchRow[] = [];
    for (const direction of ["forward", "backward"] as const) {
      const work = open[direction];
      const price = cost[direction];
      if (!work || !price) continue;
      await work.run(1);
      const error = await (direction === "forward" ? forwardMismatch(op, open) : backwardMismatch(op, open));
      const head = { ...row, direction, shape: label };
      if (error) rows.push({ ...head, error });
      else rows.push({ ...head, ...figures((await measure([work], effort))[0], price) });
    }
    return rows;
  } finally {
    open.release();
  }
}

function drawInputs(op: OpDefinition, shape: OpShape, sizes: Scalars): OpInputs {
  const random = Random.of(3, "bench", op.name);
  const arrays: Record<string, Float64Array> = {};
  const params = shape.params ?? {};
  for (const [name, spec] of Object.entries(op.inputs)) {
    if (shape.without?.includes(name)) continue;
    const count = spec.axes.reduce((product, axis) => product * (sizes[axis] ?? Number(axis)), 1);
    const own = shape.draw?.[name];
    const values =
      own?.(random, { ...sizes, ...params }, arrays) ?? Array.from({ length: count }, () => random.normal());
    arrays[name] = Float64Array.from(values, spec.dtype === "f32" ? Math.fround : Number);
  }
  return { arrays, sizes, params, constant: shape.constant ?? [] };
}

/** Worst float output, as a sentence, or undefined when all are within 2e-3 of the reference, relative to 1 + its size. */
async function forwardMismatch(op: OpDefinition, open: OpenOp): Promise<string | undefined> {
  const expected = op.reference(open.inputs, open.scalars);
  for (const [name, spec] of Object.entries(op.outputs)) {
    if (spec.dtype !== "f32") continue;
    const actual = (await open.read(name)) ?? [];
    for (let i = 0; i < actual.length; i++) {
      if (!(Math.abs(actual[i] - expected[name][i]) <= 2e-3 * (1 + Math.abs(expected[name][i]))))
        return `wrong result: got ${name}[${i}] = ${actual[i]}, expected ${expected[name][i]}`;
    }
  }
  return undefined;
}

/** Compares each gradient along one random direction with central differences of the reference. */
async function backwardMismatch(op: OpDefinition, open: OpenOp): Promise<string | undefined> {
  const random = Random.of(13, "direction", op.name);
  const step = 1e-4;
  const loss = (inputs: ReferenceArrays) => {
    const outputs = op.reference(inputs, open.scalars);
    let sum = 0;
    for (const [name, weights] of Object.entries(open.upstream)) {
      for (let i = 0; i < weights.length; i++) sum += weights[i] * outputs[name][i];
    }
    return sum;
  };
  for (const [name, values] of Object.entries(open.inputs)) {
    const gradient = await open.read(`d_${name}`);
    if (!gradient) continue;
    const direction = Float64Array.from(values, () => random.normal());
    const moved = (sign: number) =>
      loss({ ...open.inputs, [name]: values.map((value, i) => value + sign * step * direction[i]) });
    const expected = (moved(1) - moved(-1)) / (2 * step);
    let actual = 0;
    let squares = 0;
    for (let i = 0; i < gradient.length; i++) {
      actual += gradient[i] * direction[i];
      squares += (gradient[i] * direction[i]) ** 2;
    }
    if (!(Math.abs(actual - expected) <= 1e-2 * Math.sqrt(squares) + 1e-4))
      return `wrong gradient of ${name}: got ${actual} along a random direction, expected ${expected}`;
  }
  return undefined;
}
