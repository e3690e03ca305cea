/** Weights of a model folder onto the GPU, a block of rows at a time: what the host holds does not grow with the model. */
import type { FlatParameters } from "../../autograd/flat_parameters.js";
import type { ParameterPart, StoredShape } from "../../autograd/parameter_slots.js";
import { DataError } from "../../core/errors.js";
import { elementCount, storedShapes } from "../../model/parameters.js";
import { notFinite } from "./finite.js";
import type { ModelFolder } from "./model_folder.js";

/** Elements that are on their way at a time. */
const BLOCK_ELEMENTS = 1 << 23;
/** Largest finite half. */
const LARGEST_HALF = 65504;

type Values = Float32Array | Uint16Array;
type Weights = Pick<ModelFolder, "path" | "config" | "tensors">;

/**
 * Reads all weights and uploads them as the parameters are stored; BF16 into bf16 as the bits that they are.
 * @param blockElements that are on their way at a time; a row at least
 * @throws DataError for values that are not finite, or become infinite as f16
 */
export async function loadWeights(
  parameters: FlatParameters,
  weights: Weights,
  blockElements = BLOCK_ELEMENTS,
): Promise<void> {
  for (const stored of storedShapes(weights.config)) {
    for (const { first, values } of blocksOf(stored, blockElements)) {
      parameters.loadRows(stored.name, first, await values(reader(parameters, weights, stored.name)));
      // uploads keep a copy until the GPU has taken them
      await parameters.runtime.finish();
    }
  }
}

/** Reads rows of a tensor of the folder, checked. */
type ReadRows = (part: Pick<ParameterPart, "name" | "shape">, first: number, rows: number) => Promise<Values>;

function reader(parameters: FlatParameters, { path, tensors }: Weights, stored: string): ReadRows {
  const { dtype } = parameters.get(stored);
  return async ({ name, shape }, first, rows) => {
    const width = elementCount(shape.slice(1));
    const isAsIs = dtype === "bf16" && tensors.tensors.get(name)?.dtype === "BF16";
    const read = isAsIs ? tensors.readBits : tensors.readElements;
    const values = await read(name, first * width, rows * width);
    const wrong = firstWrong(values, dtype === "f16" ? LARGEST_HALF : Number.MAX_VALUE);
    if (wrong === undefined) return values;
    const index = first * width + wrong.index;
    if (!Number.isFinite(wrong.value))
      throw notFinite(wrong.value, index, path, name, "Use another checkpoint");
    throw new DataError(
      `[${path}] tensor ${name} does not fit f16: got ${wrong.value} at element ${index}, expected at most ${LARGEST_HALF}. Store the model as bf16 or f32.`,
    );
  };
}

function firstWrong(values: Values, most: number): { index: number; value: number } | undefined {
  if (values instanceof Uint16Array) {
    // an exponent of ones: infinite, or no number
    for (let i = 0; i < values.length; i++)
      if ((values[i] & 0x7f80) === 0x7f80)
        return { index: i, value: (values[i] & 0x7f) === 0 ? Number.POSITIVE_INFINITY : Number.NaN };
    return undefined;
  }
  for (let i = 0; i < values.length; i++)
    if (!(Math.abs(values[i]) <= most)) return { index: i, value: values[i] };
  return undefined;
}

interface Block {
  /** Row of the stored tensor. */
  readonly first: number;
  readonly values: (read: ReadRows) => Promise<Values>;
}

/** A stored tensor in blocks of rows: of each of its parts that lie one after the other, or of all parts together that alternate. */
function* blocksOf({ name, shape, parts }: StoredShape, elements: number): Generator<Block> {
  const own = [{ name, shape, first: 0, stride: 1 }];
  const all = parts ?? own;
  const alternating = all.filter(({ stride }) => stride > 1);
  for (const part of all) {
    if (part.stride > 1) continue;
    for (const { first, rows } of blocks(part, elements))
      yield { first: part.first + first, values: (read) => read(part, first, rows) };
  }
  if (alternating.length === 0) return;
  const [{ stride }] = alternating;
  for (const { first, rows } of blocks(alternating[0], elements / stride))
    yield {
      first: first * stride,
      values: async (read) => {
        const values = await Promise.all(alternating.map((part) => read(part, first, rows)));
        return alternate(values, alternating, rows);
      },
    };
}

function blocks(
  { shape }: Pick<ParameterPart, "shape">,
  elements: number,
): { first: number; rows: number }[] {
  const [total = 0, ...rest] = shape;
  const most = Math.max(1, Math.floor(elements / elementCount(rest)));
  return Array.from({ length: Math.ceil(total / most) }, (_, index) => ({
    first: index * most,
    rows: Math.min(most, total - index * most),
  }));
}

/** Rows of several parts in turn: row r of a part becomes row r * stride + the part's first. */
function alternate(values: readonly Values[], parts: readonly ParameterPart[], rows: number): Values {
  const [one] = values;
  const width = one.length / rows;
  const length = one.length * parts.length;
  const joined = one instanceof Uint16Array ? new Uint16Array(length) : new Float32Array(length);
  parts.forEach(({ first, stride }, index) => {
    for (let row = 0; row < rows; row++)
      joined.set(values[index].subarray(row * width, (row + 1) * width), (row * stride + first) * width);
  });
  return joined;
}
