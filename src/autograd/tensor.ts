/** A shaped array on the GPU with reference-counted storage. */
import { ArgumentError } from "../core/errors.js";
import type { GpuBuffer } from "../gpu/buffers.js";
import type { BufferRange, Runtime } from "../gpu/runtime.js";
import { type ArrayView, byteLength, type DType } from "../kernels/op.js";

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

/**
 * Contents live on the GPU; reading them back is asynchronous. A tensor holds its storage until `release`.
 * `grad` is filled by `Tape.backward` for tensors with `requiresGrad`.
 */
export class Tensor implements ArrayView {
  grad: Tensor | undefined;
  #released = false;

  constructor(
    readonly storage: Storage,
    readonly range: BufferRange,
    readonly shape: readonly number[],
    readonly dtype: DType,
    readonly requiresGrad = false,
  ) {}

  get runtime(): Runtime {
    return this.storage.runtime;
  }

  get size(): number {
    return this.shape.reduce((product, size) => product * size, 1);
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
    const bytes = byteLength(shape);
    const buffer = runtime.buffers.acquire(bytes, label);
    return new Tensor(new Storage(runtime, buffer), { buffer, offset: 0, bytes }, shape, dtype, requiresGrad);
  }

  static zeros(runtime: Runtime, shape: readonly number[], label = "zeros"): Tensor {
    const tensor = Tensor.empty(runtime, shape, "f32", label);
    runtime.clear(tensor.range);
    return tensor;
  }

  /** @param data Float32Array for f32, Uint32Array for u32, row-major, as many values as the shape holds */
  static from(
    runtime: Runtime,
    data: Float32Array | Uint32Array,
    shape: readonly number[] = [data.length],
    options: { readonly label?: string; readonly requiresGrad?: boolean } = {},
  ): Tensor {
    const dtype = data instanceof Float32Array ? "f32" : "u32";
    if (byteLength(shape) !== data.byteLength) {
      throw new ArgumentError(
        `[tensor] data does not fit: got ${data.length} values, expected ${byteLength(shape) / 4} for shape [${shape}].`,
      );
    }
    const tensor = Tensor.empty(runtime, shape, dtype, options.label, options.requiresGrad);
    if (data.length > 0) runtime.upload(tensor.range, data);
    return tensor;
  }

  /** Another tensor over part of the same storage, which it holds too. @param offset in elements */
  view(shape: readonly number[], offset = 0, requiresGrad = this.requiresGrad): Tensor {
    if (this.#released)
      throw new ArgumentError("[tensor] view of a released tensor. Take it before the release.");
    const bytes = byteLength(shape);
    if (offset < 0 || offset * 4 + bytes > this.range.bytes) {
      throw new ArgumentError(
        `[tensor] view [${shape}] at element ${offset} does not fit in ${this.range.bytes / 4} elements.`,
      );
    }
    const range = { buffer: this.range.buffer, offset: this.range.offset + 4 * offset, bytes };
    return new Tensor(this.storage.retain(), range, shape, this.dtype, requiresGrad);
  }

  /** Values after all work appended so far. */
  async read(): Promise<Float32Array | Uint32Array> {
    const [bytes] = await this.runtime.read([this.range]);
    return this.dtype === "f32"
      ? new Float32Array(bytes as ArrayBuffer)
      : new Uint32Array(bytes as ArrayBuffer);
  }

  /** Overwrites the contents from the host. */
  upload(data: Float32Array | Uint32Array): void {
    this.runtime.upload(this.range, data);
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
