/** Runs one op on the GPU and against its float64 reference: values, gradients by central differences, repeatability. */
import { f16round } from "@petamoriken/float16";
import { Tape } from "../../src/autograd/tape.js";
import { Tensor } from "../../src/autograd/tensor.js";
import { Random } from "../../src/core/random.js";
import type { Launcher } from "../../src/kernels/engine/launch.js";
import {
  bindScalars,
  isDifferentiable,
  type OpDefinition,
  type Scalars,
  shapeOf,
} from "../../src/kernels/engine/op.js";
import type { Draw, OpCase } from "../op_cases.js";

export interface Variation {
  readonly dims: Scalars;
  readonly params: Scalars;
  readonly without: readonly string[];
}

/** Every combination of sizes, params and left-out inputs of a case. */
export function variations(row: OpCase): Variation[] {
  const optionals = Object.keys(row.op.inputs).filter((name) => row.op.inputs[name].optional);
  const lists = row.without ?? (optionals.length > 0 ? [[], optionals] : [[]]);
  return row.dims.flatMap((dims) => {
    const own = Object.fromEntries(Object.entries(dims).filter(([name]) => row.op.params?.[name]));
    return (row.params ?? [{}]).flatMap((params) =>
      lists.map((without) => ({ dims, params: { ...params, ...own }, without })),
    );
  });
}

export interface OpRun {
  readonly scalars: Scalars;
  readonly inputs: Record<string, Float64Array>;
  readonly outputs: Record<string, Float64Array>;
  readonly upstream: Record<string, Float64Array>;
  readonly gradients: Record<string, Float64Array>;
}

/** How an op is applied: by itself, or as the graph that it stands for. */
export type Apply = (
  tape: Tape,
  op: OpDefinition,
  inputs: Record<string, Tensor>,
  params: Scalars,
) => Record<string, Tensor>;

/**
 * Draws inputs (rounded to what is stored, so that the reference sees what the GPU sees) and runs forward and backward.
 * @param storage of the tensors that may be f16
 */
export async function runOp(
  launcher: Launcher,
  row: OpCase,
  { dims, params, without }: Variation,
  storage: "f32" | "f16" = "f32",
  apply: Apply = (tape, ...call) => tape.apply(...call),
): Promise<OpRun> {
  const { op } = row;
  const random = Random.of(7, op.name, JSON.stringify([dims, params, without]));
  const inputs: Record<string, Float64Array> = {};
  const tensors: Record<string, Tensor> = {};
  const withParams = { ...defaults(op), ...params, ...dims };
  for (const [name, spec] of Object.entries(op.inputs)) {
    if (without.includes(name)) continue;
    const shape = spec.axes.map((axis) => dims[axis] ?? Number(axis));
    const size = shape.reduce((product, value) => product * value, 1);
    const values = draw(row.draw?.[name] ?? "normal", random, size, withParams, inputs);
    const isHalf = spec.mayBeHalf && storage === "f16";
    const data = spec.dtype === "f32" ? floats(values, isHalf) : Uint32Array.from(values);
    inputs[name] = Float64Array.from(data);
    const requiresGrad = spec.dtype === "f32" && isDifferentiable(op) && !row.constant?.includes(name);
    const options = { requiresGrad, label: name, ...(isHalf && { dtype: "f16" as const }) };
    tensors[name] = Tensor.from(launcher.runtime, data, shape, options);
  }
  const scalars = bindScalars(op, tensors, params, launcher.facts);
  const tape = new Tape(launcher, { activations: storage });
  const results = apply(tape, op, tensors, params);
  const outputs: Record<string, Float64Array> = {};
  for (const name of Object.keys(op.outputs)) outputs[name] = Float64Array.from(await results[name].read());
  const upstream: Record<string, Float64Array> = {};
  const gradients: Record<string, Float64Array> = {};
  if (isDifferentiable(op)) {
    const seeds: [Tensor, Tensor][] = [];
    for (const [name, spec] of Object.entries(op.outputs)) {
      if (spec.dtype !== "f32") continue;
      const isHalf = spec.mayBeHalf && storage === "f16";
      const data = floats(draw("normal", random, outputs[name].length, scalars, {}), isHalf);
      upstream[name] = Float64Array.from(data);
      const shape = shapeOf(op, name, spec, scalars);
      const seed = Tensor.from(launcher.runtime, data, shape, isHalf ? { dtype: "f16" } : {});
      seeds.push([results[name], seed]);
    }
    tape.backward(seeds);
    for (const [name, tensor] of Object.entries(tensors)) {
      if (tensor.grad) gradients[name] = Float64Array.from(await tensor.grad.read());
    }
    for (const [, seed] of seeds) seed.release();
  }
  tape.release();
  for (const tensor of Object.values(tensors)) tensor.release();
  return { scalars, inputs, outputs, upstream, gradients };
}

/** Error of rounding an output, and intermediate values, to f16: 2^-11 each. */
const HALF_TOLERANCE = 3e-3;

function floats(values: ArrayLike<number>, isHalf: boolean): Float32Array {
  return Float32Array.from(values, (value) => (isHalf ? f16round(value) : value));
}

/** Worst disagreement of GPU and reference outputs, as a sentence, or undefined when within tolerance. */
export function forwardMismatch(row: OpCase, run: OpRun, storage = "f32"): string | undefined {
  const expected = row.op.reference(run.inputs, run.scalars);
  const tolerance = storage === "f16" ? HALF_TOLERANCE : (row.tolerance?.forward ?? 2e-4);
  for (const name of Object.keys(row.op.outputs)) {
    const message = worst(name, run.outputs[name], expected[name], tolerance);
    if (message) return message;
  }
  return undefined;
}

/** Compares GPU gradients with central differences of the float64 reference: as a whole along directions in which every
 *  element moves, and element by element at places drawn at random. */
export function gradientMismatch(row: OpCase, run: OpRun, storage = "f32"): string | undefined {
  const tolerance = storage === "f16" ? HALF_TOLERANCE : (row.tolerance?.gradient ?? 5e-4);
  const random = Random.of(11, row.op.name);
  for (const [name, spec] of Object.entries(row.op.inputs)) {
    if (spec.dtype !== "f32" || !run.inputs[name] || row.constant?.includes(name)) continue;
    const actual = run.gradients[name];
    if (!actual) return `${name}: no gradient arrived`;
    const count = Math.min(row.probes ?? 12, actual.length);
    const indices = random.shuffle([...actual.keys()]).slice(0, count);
    const expected = Float64Array.from(indices, (index) => {
      const only = new Float64Array(actual.length);
      only[index] = 1;
      return derivative(row, run, name, only);
    });
    const message =
      worst(
        `d_${name} at [${indices}]`,
        Float64Array.from(indices, (index) => actual[index]),
        expected,
        tolerance,
      ) ?? wholeMismatch(row, run, name, tolerance, random);
    if (message) return message;
  }
  return undefined;
}

/** Directions that move all elements of an input. */
const DIRECTIONS = 2;

/** Adds up a whole gradient with signs drawn at random. Errors within the tolerance of each element add up to about its root
 *  sum of squares; a wrong element anywhere adds all of its error, which no sign of the others cancels in every direction. */
function wholeMismatch(
  row: OpCase,
  run: OpRun,
  name: string,
  tolerance: number,
  random: Random,
): string | undefined {
  const actual = run.gradients[name];
  const allowed = tolerance * Math.sqrt(actual.reduce((sum, value) => sum + (1 + Math.abs(value)) ** 2, 0));
  for (let direction = 0; direction < DIRECTIONS; direction++) {
    const signs = Float64Array.from(actual, () => 2 * random.integer(2) - 1);
    const got = actual.reduce((sum, value, i) => sum + signs[i] * value, 0);
    const expected = derivative(row, run, name, signs);
    if (!(Math.abs(got - expected) <= allowed))
      return `d_${name} added up with random signs: got ${got}, expected ${expected} (allowed ${allowed})`;
  }
  return undefined;
}

/** Of the weighted sum of all outputs of the reference, when an input moves along a direction. */
function derivative({ op }: OpCase, run: OpRun, name: string, direction: Float64Array): number {
  const input = run.inputs[name];
  const largest = input.reduce(
    (most, value, i) => (direction[i] ? Math.max(most, Math.abs(value)) : most),
    1,
  );
  const step = 1e-5 * largest;
  const moved = (sign: number): number => {
    const copy = input.map((value, i) => value + sign * step * direction[i]);
    const outputs = op.reference({ ...run.inputs, [name]: copy }, run.scalars);
    let sum = 0;
    for (const [output, weights] of Object.entries(run.upstream)) {
      for (let i = 0; i < weights.length; i++) sum += weights[i] * outputs[output][i];
    }
    return sum;
  };
  return (moved(1) - moved(-1)) / (2 * step);
}

function worst(
  name: string,
  actual: Float64Array,
  expected: Float64Array,
  tolerance: number,
): string | undefined {
  if (actual.length !== expected.length)
    return `${name}: ${actual.length} values, expected ${expected.length}`;
  let worstIndex = 0;
  let worstError = -1;
  for (let i = 0; i < actual.length; i++) {
    const difference = Math.abs(actual[i] - expected[i]) / (1 + Math.abs(expected[i]));
    const error = Number.isFinite(difference) ? difference : Number.POSITIVE_INFINITY;
    if (error > worstError) {
      worstError = error;
      worstIndex = i;
    }
  }
  if (worstError <= tolerance) return undefined;
  return `${name}: worst at index ${worstIndex} of ${actual.length}: got ${actual[worstIndex]}, expected ${expected[worstIndex]} (error ${worstError.toExponential(2)}, allowed ${tolerance})`;
}

function defaults(op: OpDefinition): Record<string, number> {
  return Object.fromEntries(Object.entries(op.params ?? {}).map(([name, param]) => [name, param.default]));
}

function draw(
  how: Draw,
  random: Random,
  size: number,
  scalars: Scalars,
  drawn: Readonly<Record<string, Float64Array>>,
): ArrayLike<number> {
  if (typeof how === "function") return how(random, scalars, drawn);
  const centre = how === "near_one" ? 1 : 0;
  const scale = how === "near_one" ? 0.2 : 1;
  return Float64Array.from({ length: size }, () => centre + scale * random.normal());
}
