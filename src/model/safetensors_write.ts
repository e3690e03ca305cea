/** Writes safetensors: a header planned from shapes alone, then the data tensor by tensor, so nothing is held twice. */
import { ArgumentError, DataError } from "../core/errors.js";
import { toBfloat16Bits, toFloat16Bits } from "../core/half_floats.js";
import { elementCount, type ParameterShape } from "./parameters.js";
import { dtypeBytes, type FloatDtype, LENGTH_FIELD_BYTES } from "./safetensors.js";

/** A tensor to write. `data` may be a function, called once when its turn comes (a readback, for example). */
export interface TensorSource extends ParameterShape {
  readonly data: Float32Array | (() => Float32Array | Promise<Float32Array>);
}

/** A tensor whose values are at hand. */
export interface TensorValues extends ParameterShape {
  readonly data: Float32Array;
}

export interface SafetensorsWriteOptions {
  /** What the float32 values are rounded to. Default F32. */
  readonly dtype?: FloatDtype;
  /** Entries of `__metadata__` beside `format: "pt"`, which Hugging Face's loaders ask for. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Elements converted at a time: bounds what a big embedding needs beside itself. */
const CHUNK_ELEMENTS = 1 << 22;

function checkShapes(tensors: readonly ParameterShape[]): void {
  const seen = new Set<string>();
  for (const { name, shape } of tensors) {
    if (name === "__metadata__" || seen.has(name)) {
      throw new ArgumentError(
        `[safetensors] tensor name cannot be written: got "${name}", expected a name that is used once and is not ` +
          "__metadata__. Rename the tensor.",
      );
    }
    seen.add(name);
    if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
      throw new ArgumentError(
        `[safetensors] shape of "${name}" is wrong: got [${shape.join(", ")}], expected integers of 0 or more. Pass ` +
          "the tensor's shape.",
      );
    }
  }
}

const byCodeUnits = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

/** Tensors in the order in which their data is written: by name, so that the bytes do not depend on the caller's order. */
function inFileOrder<T extends ParameterShape>(tensors: readonly T[]): T[] {
  return tensors.slice().sort((a, b) => byCodeUnits(a.name, b.name));
}

/** Length field and header JSON, padded with spaces so that the data starts at a multiple of 8 bytes. */
function encodeHeader(ordered: readonly ParameterShape[], options: SafetensorsWriteOptions): Uint8Array {
  const dtype = options.dtype ?? "F32";
  const metadata = Object.entries({ ...options.metadata, format: "pt" });
  const header: [string, unknown][] = [
    ["__metadata__", Object.fromEntries(metadata.sort(([a], [b]) => byCodeUnits(a, b)))],
  ];
  let offset = 0;
  for (const { name, shape } of ordered) {
    const end = offset + elementCount(shape) * dtypeBytes(dtype);
    header.push([name, { dtype, shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  // joined by hand: an object would put names that look like integers first, ahead of the metadata
  const json = `{${header.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`;
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(LENGTH_FIELD_BYTES + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(text, LENGTH_FIELD_BYTES);
  return bytes;
}

/** A rounding that made an infinity of a finite number would ruin a checkpoint without a word. */
function checkRange(name: string, values: Float32Array, bits: Uint16Array, dtype: FloatDtype): void {
  const infinity = dtype === "F16" ? 0x7c00 : 0x7f80;
  for (let i = 0; i < bits.length; i++) {
    if ((bits[i] & 0x7fff) === infinity && Number.isFinite(values[i])) {
      throw new DataError(
        `[safetensors] "${name}" does not fit ${dtype}: got ${values[i]}, expected values within its range. Save as ` +
          `${dtype === "F16" ? "BF16 or F32" : "F32"}.`,
      );
    }
  }
}

/**
 * Little-endian bytes of float32 values in another dtype, rounded to nearest, ties to even. F32 is a view of `values`.
 * @param name tensor name for messages
 * @throws DataError when a finite value would become infinite
 */
function encodeTensor(name: string, values: Float32Array, dtype: FloatDtype): Uint8Array {
  if (dtype === "F32") return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const bits = dtype === "F16" ? toFloat16Bits(values) : toBfloat16Bits(values);
  checkRange(name, values, bits, dtype);
  return new Uint8Array(bits.buffer);
}

function checkLength({ name, shape }: ParameterShape, values: Float32Array): void {
  if (values.length !== elementCount(shape)) {
    throw new ArgumentError(
      `[safetensors] data of "${name}" does not fit its shape: got ${values.length} values, expected ` +
        `${elementCount(shape)} for [${shape.join(", ")}]. Pass the tensor's values with its shape.`,
    );
  }
}

function* dataChunks(tensor: ParameterShape, values: Float32Array, dtype: FloatDtype): Generator<Uint8Array> {
  checkLength(tensor, values);
  for (let start = 0; start < values.length; start += CHUNK_ELEMENTS) {
    yield encodeTensor(tensor.name, values.subarray(start, start + CHUNK_ELEMENTS), dtype);
  }
}

/**
 * The bytes of a file in pieces: the header, then the tensors in name order, each asked for when its turn comes. The
 * same tensors give the same bytes whatever their order.
 * @remarks an F32 piece is a view of the tensor's values: consume it before going on
 * @throws ArgumentError for a repeated name or data that does not fit its shape
 * @throws DataError when a value does not fit the dtype
 */
export async function* safetensorsChunks(
  tensors: readonly TensorSource[],
  options: SafetensorsWriteOptions = {},
): AsyncGenerator<Uint8Array> {
  checkShapes(tensors);
  const ordered = inFileOrder(tensors);
  yield encodeHeader(ordered, options);
  for (const tensor of ordered) {
    const values = typeof tensor.data === "function" ? await tensor.data() : tensor.data;
    yield* dataChunks(tensor, values, options.dtype ?? "F32");
  }
}

/** The bytes of a whole file at once: the same as `safetensorsChunks` gives, same errors. */
export function encodeSafetensors(
  tensors: readonly TensorValues[],
  options: SafetensorsWriteOptions = {},
): Uint8Array<ArrayBuffer> {
  checkShapes(tensors);
  const dtype = options.dtype ?? "F32";
  const ordered = inFileOrder(tensors);
  const header = encodeHeader(ordered, options);
  const dataBytes = ordered.reduce((sum, { shape }) => sum + elementCount(shape) * dtypeBytes(dtype), 0);
  const bytes = new Uint8Array(header.length + dataBytes);
  bytes.set(header);
  let offset = header.length;
  for (const tensor of ordered) {
    for (const chunk of dataChunks(tensor, tensor.data, dtype)) {
      bytes.set(chunk, offset);
      offset += chunk.length;
    }
  }
  return bytes;
}
