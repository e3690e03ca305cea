/** A shaped array on the GPU with reference-counted storage. */
import { ArgumentError } from "../core/errors.js";
import { fromBfloat16Bits, fromFloat16Bits, toBfloat16Bits, toFloat16Bits } from "../core/half_floats.js";
import type { GpuBuffer } from "../gpu/buffers.js";
import type { BufferRange, Runtime } from "../gpu/runtime.js";
import {
  type ArrayView,
  byteLength,
  type DType,
  elementCount,
  piecesOf,
  type RowPiece,
} from "../kernels/engine/array_view.js";
import type { PlanContext } from "../kernels/engine/op.js";
import type { ProductGradient } from "../kernels/engine/weight_gradient.js";

/** Pooled memory shared by tensors that view it; returned to the pool when the last one is released. */
export class Storage {
  #holders = 1;

  constructor(
    readonly runtime: Runtime,
    readonly buffer: GpuBuffer,
  ) {}

  get holders(): number {
    return this.#holders;
  }

  retain(): this {
    this.#holders++;
    return this;
  }

  release(): void {
    if (--this.#holders === 0) this.runtime.buffers.release(this.buffer);
  }
}

/** What a weight is computed of, outside of the tape: parameters, to which its gradient is handed on. */
export interface WeightSource {
  readonly parameters: readonly Tensor[];
  /**
   * Launches what turns the factors of the weight's gradient into those of its parameters' gradients.
   * @param give called once for each parameter, with factors that stay as they are until it returns
   */
  handOn(
    context: PlanContext,
    factors: ProductGradient,
    give: (parameter: Tensor, factors: ProductGradient) => void,
  ): void;
}

/** Told by its name: an array may come from another realm, where `instanceof` does not hold. */
function isFloats(data: Float32Array | Uint32Array): data is Float32Array {
  return data[Symbol.toStringTag] === "Float32Array";
}

/**
 * Contents live on the GPU; reading them back is asynchronous. A tensor holds its storage until `release`.
 * `grad` is filled by `Tape.backward` for tensors with `requiresGrad`.
 */
export class Tensor implements ArrayView {
  grad: Tensor | undefined;
  /** Of the leaf of a parameter: its name. */
  parameter: string | undefined;
  /** Of a leaf that is no parameter but computed of some: it has no gradient memory of its own. */
  source: WeightSource | undefined;
  #released = false;

  constructor(
    readonly storage: Storage,
    readonly range: BufferRange,
    readonly shape: readonly number[],
    readonly dtype: DType,
    readonly requiresGrad = false,
    readonly pieces?: readonly RowPiece[],
  ) {}

  get runtime(): Runtime {
    return this.storage.runtime;
  }

  get size(): number {
    return elementCount(this.shape);
  }

  get released(): boolean {
    return this.#released;
  }

  /** Uninitialised tensor. */
  static empty(
    runtime: Runtime,
    shape: readonly number[],
    dtype: DType = "f32",
    label = "tensor",
    requiresGrad = false,
  ): Tensor {
    const bytes = byteLength(shape, dtype);
    const buffer = runtime.buffers.acquire(bytes, label);
    const range = { buffer, offset: 0, bytes, isWhole: true };
    return new Tensor(new Storage(runtime, buffer), range, shape, dtype, requiresGrad);
  }

  static zeros(runtime: Runtime, shape: readonly number[], label = "zeros", dtype: DType = "f32"): Tensor {
    const tensor = Tensor.empty(runtime, shape, dtype, label);
    runtime.clear(tensor.range);
    return tensor;
  }

  /** Zeros that are held for as long as a model or an optimiser: in memory of just their size. */
  static kept(runtime: Runtime, shape: readonly number[], label: string, dtype: DType = "f32"): Tensor {
    const bytes = byteLength(shape, dtype);
    const buffer = runtime.buffers.acquire(bytes, label, true);
    const range = { buffer, offset: 0, bytes, isWhole: true };
    runtime.clear(range);
    return new Tensor(new Storage(runtime, buffer), range, shape, dtype);
  }

  /**
   * @param data Float32Array for f32 and f16, Uint32Array for u32, row-major, as many values as the shape holds
   * @param options `dtype`: f16 rounds to the nearest half; default by the data
   */
  static from(
    runtime: Runtime,
    data: Float32Array | Uint32Array,
    shape: readonly number[] = [data.length],
    options: { readonly label?: string; readonly requiresGrad?: boolean; readonly dtype?: "f16" } = {},
  ): Tensor {
    const dtype = options.dtype ?? (isFloats(data) ? "f32" : "u32");
    if (byteLength(shape) !== data.byteLength) {
      throw new ArgumentError(
        `[tensor] data does not fit: got ${data.length} values, expected ${byteLength(shape) / 4} for shape [${shape}].`,
      );
    }
    const tensor = Tensor.empty(runtime, shape, dtype, options.label, options.requiresGrad);
    if (data.length > 0) tensor.upload(data);
    return tensor;
  }

  /** Another tensor over part of the same storage, which it holds too. @param offset in elements */
  view(shape: readonly number[], offset = 0, requiresGrad = this.requiresGrad): Tensor {
    if (this.#released)
      throw new ArgumentError("[tensor] view of a released tensor. Take it before the release.");
    if (this.pieces) throw new ArgumentError("[tensor] view of a matrix in pieces. Take its rows by rowsOf.");
    const bytes = byteLength(shape, this.dtype);
    const elementBytes = byteLength([], this.dtype);
    if (offset < 0 || offset * elementBytes + bytes > this.range.bytes) {
      throw new ArgumentError(
        `[tensor] view [${shape}] at element ${offset} does not fit in ${this.range.bytes / elementBytes} elements.`,
      );
    }
    const { range: own } = this;
    const range =
      offset === 0
        ? { ...own, bytes }
        : { buffer: own.buffer, offset: own.offset + elementBytes * offset, bytes };
    return new Tensor(this.storage.retain(), range, shape, this.dtype, requiresGrad);
  }

  /** Values after all work appended so far; those of 16 bits widened to f32. */
  async read(): Promise<Float32Array | Uint32Array> {
    if (this.dtype === "u32") return new Uint32Array(await this.#readBytes(this.range));
    if (!this.pieces) return this.#floats(await this.#readBytes(this.range), this.size);
    const values = new Float32Array(this.size);
    for (const { first, view } of piecesOf(this)) {
      const width = this.size / (this.shape[0] as number);
      const bytes = await this.#readBytes(view.range);
      values.set(this.#floats(bytes, width * (view.shape[0] as number)), first * width);
    }
    return values;
  }

  async #readBytes(range: BufferRange): Promise<ArrayBuffer> {
    const [bytes] = (await this.runtime.read([range])) as [ArrayBuffer];
    return bytes;
  }

  #floats(bytes: ArrayBuffer, count: number): Float32Array {
    if (this.dtype === "f32") return new Float32Array(bytes);
    const bits = new Uint16Array(bytes, 0, count);
    return this.dtype === "f16" ? fromFloat16Bits(bits) : fromBfloat16Bits(bits);
  }

  /** Overwrites the contents from the host; 16 bits round to nearest. An odd number of them also clears the next. */
  upload(data: Float32Array | Uint32Array): void {
    uploadInto(this.runtime, this, data);
  }

  /** Gives the storage back; idempotent. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.grad?.release();
    this.grad = undefined;
    this.storage.release();
  }
}

/** What memory is filled from; 16-bit words are the bits of bf16 values. */
export type UploadValues = Float32Array | Uint32Array | Uint16Array;

/** Overwrites an array, in pieces where it lies in several. Same rounding as `Tensor.upload`. */
export function uploadInto(runtime: Runtime, view: ArrayView, data: UploadValues): void {
  const { dtype } = view;
  for (const { first, rows, view: piece } of piecesOf(view)) {
    const width = data.length / (view.shape[0] as number);
    const part = view.pieces ? data.subarray(first * width, (first + rows) * width) : data;
    if (dtype === "u32" || dtype === "f32") {
      runtime.upload(piece.range, part);
      continue;
    }
    const bits = bitsOf(part, dtype);
    const words = bits.length % 2 === 0 ? bits : new Uint16Array(bits.length + 1);
    if (words !== bits) words.set(bits);
    runtime.upload({ ...piece.range, bytes: words.byteLength }, words);
  }
}

/** Whether values are the bits of halves; those of another realm too. */
export function areBits(values: UploadValues): values is Uint16Array {
  return values[Symbol.toStringTag] === "Uint16Array";
}

function bitsOf(data: UploadValues, dtype: "f16" | "bf16"): Uint16Array {
  if (areBits(data)) return data;
  return (dtype === "f16" ? toFloat16Bits : toBfloat16Bits)(data as Float32Array);
}
