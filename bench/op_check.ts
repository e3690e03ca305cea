/** Checks an op's results against its float64 reference: whole, or a few entries of the token axis where these stand alone. */
import { Random } from "../src/core/random.js";
import type { OpDefinition, ReferenceArrays, Scalars } from "../src/kernels/engine/op.js";
import { normals } from "./draws.js";
import type { OpShape } from "./op_shapes.js";
import { inputScalars, type OpenOp, type OpInputs } from "./open_op.js";

/** The entries of axis N that the reference computes, in ascending order; all when undefined. */
export interface CheckedPart {
  readonly arrays: ReferenceArrays;
  readonly rows: readonly number[] | undefined;
  readonly params: Scalars;
  readonly sizes: Scalars;
}

/** Rows that stand alone and are checked; references are loops in JavaScript, real shapes would take minutes. */
const ROWS = 4;

/** Chooses what to check: random rows, the first and the last among them, or one whole sequence. */
export function checkedPart(
  op: OpDefinition,
  shape: OpShape,
  { arrays, sizes, params }: OpInputs,
): CheckedPart {
  const rows = checkedRows(op, shape);
  if (!rows) return { arrays, rows, params, sizes };
  const taken: Record<string, Float64Array> = {};
  for (const [name, values] of Object.entries(arrays)) {
    const spec = op.inputs[name];
    if (spec.axes[0] !== "N") {
      taken[name] = values;
      continue;
    }
    const part = takeRows(values, sizes.N, rows);
    // integers per token of a sequence are places in axis N
    taken[name] = shape.sequence && spec.dtype === "u32" ? part.map((place) => place - rows[0]) : part;
  }
  return { arrays: taken, rows, params, sizes: { ...sizes, N: rows.length } };
}

function checkedRows(op: OpDefinition, { sizes, sequence, rowsApart }: OpShape): number[] | undefined {
  const { N } = sizes;
  const random = Random.of(17, "rows", op.name);
  if (sequence && sequence < N) {
    const start = sequence * random.integer(Math.floor(N / sequence));
    return Array.from({ length: sequence }, (_, t) => start + t);
  }
  if (!rowsApart || N <= ROWS) return undefined;
  const drawn = new Set([0, N - 1]);
  while (drawn.size < ROWS) drawn.add(random.integer(N));
  return [...drawn].sort((a, b) => a - b);
}

function takeRows(values: Float64Array, N: number, rows: readonly number[]): Float64Array {
  const width = values.length / N;
  const part = new Float64Array(rows.length * width);
  rows.forEach((row, index) => {
    part.set(values.subarray(row * width, (row + 1) * width), index * width);
  });
  return part;
}

/** Worst float output, as a sentence, or undefined when all are within 2e-3 of the reference, relative to 1 + its size. */
export async function forwardMismatch(
  op: OpDefinition,
  open: OpenOp,
  part: CheckedPart,
): Promise<string | undefined> {
  const expected = op.reference(part.arrays, scalarsOf(op, open, part));
  for (const [name, spec] of Object.entries(op.outputs)) {
    if (spec.dtype !== "f32" || (part.rows && spec.axes[0] !== "N")) continue;
    const whole = (await open.read(name)) ?? new Float64Array();
    const actual = part.rows ? takeRows(whole, open.scalars.N, part.rows) : whole;
    for (let i = 0; i < actual.length; i++) {
      if (!(Math.abs(actual[i] - expected[name][i]) <= 2e-3 * (1 + Math.abs(expected[name][i]))))
        return `wrong result: got ${name}[${i}] = ${actual[i]}, expected ${expected[name][i]}`;
    }
  }
  return undefined;
}

/**
 * Runs backward and compares each gradient along one random direction with central differences of the reference. Where
 * only some rows are checked, backward starts from these rows alone: the sums over all rows then hold nothing else.
 */
export async function backwardMismatch(
  op: OpDefinition,
  open: OpenOp,
  part: CheckedPart,
): Promise<string | undefined> {
  const upstream: Record<string, Float64Array> = {};
  for (const [name, values] of Object.entries(open.upstream)) {
    upstream[name] = part.rows ? takeRows(values, open.scalars.N, part.rows) : values;
    if (part.rows) open.setUpstream(name, onlyRows(values, open.scalars.N, part.rows));
  }
  await open.backward?.run(1);
  const error = await gradientMismatch(op, open, part, upstream);
  if (part.rows) for (const [name, values] of Object.entries(open.upstream)) open.setUpstream(name, values);
  return error;
}

async function gradientMismatch(
  op: OpDefinition,
  open: OpenOp,
  part: CheckedPart,
  upstream: ReferenceArrays,
): Promise<string | undefined> {
  const scalars = scalarsOf(op, open, part);
  const step = 1e-4;
  const loss = (inputs: ReferenceArrays) => {
    const outputs = op.reference(inputs, scalars);
    let sum = 0;
    for (const [name, weights] of Object.entries(upstream)) {
      for (let i = 0; i < weights.length; i++) sum += weights[i] * outputs[name][i];
    }
    return sum;
  };
  for (const [name, values] of Object.entries(part.arrays)) {
    const whole = await open.read(`d_${name}`);
    if (!whole) continue;
    const byRows = part.rows && op.inputs[name].axes[0] === "N";
    const gradient = byRows ? takeRows(whole, open.scalars.N, part.rows) : whole;
    const direction = normals(`direction ${op.name} ${name}`, values.length);
    const moved = (sign: number) => {
      const input = values.slice();
      for (let i = 0; i < input.length; i++) input[i] += sign * step * direction[i];
      return loss({ ...part.arrays, [name]: input });
    };
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

function onlyRows(values: Float64Array, N: number, rows: readonly number[]): Float64Array {
  const width = values.length / N;
  const masked = new Float64Array(values.length);
  for (const row of rows) masked.set(values.subarray(row * width, (row + 1) * width), row * width);
  return masked;
}

/** Sizes that follow from the checked part. */
function scalarsOf(op: OpDefinition, open: OpenOp, part: CheckedPart): Scalars {
  return part.rows ? inputScalars(op, part, open.facts) : open.scalars;
}
