/** Named parameters packed into a few flat buffers, so that clearing, norms and optimiser steps take few dispatches. */
import { ArgumentError } from "../core/errors.js";
import { checkHalf } from "../gpu/device_facts.js";
import type { Runtime } from "../gpu/runtime.js";
import {
  type ArrayView,
  byteLength,
  elementCount,
  piecesOf,
  type RowPiece,
  rowsOf,
} from "../kernels/engine/array_view.js";
import {
  type BucketSize,
  type MatrixStorage,
  type NamedShape,
  type ParameterPart,
  type ParameterSlot,
  packSlots,
  type StoredShape,
} from "./parameter_slots.js";
import { areBits, Tensor, uploadInto } from "./tensor.js";

const MAX_BUCKET_BYTES = 2 ** 30;
/** Memory that rows of a part go through on their way to and from the whole. */
const STAGED_BYTES = 2 ** 24;

/** Some parameters in one flat array, and their gradient. The gaps between slots are zero in all and stay zero. */
export interface ParameterBucket {
  /** Whether weight decay applies: matrices yes, vectors (gains and biases) no. */
  readonly decayed: boolean;
  /** Length, gaps included; a multiple of 64. */
  readonly elements: number;
  /** What ops read. */
  readonly value: Tensor;
  /** The f32 values that training keeps: `value` itself where that is f32. Absent when frozen in 16 bits. */
  readonly master: Tensor | undefined;
  /** f32; absent when the parameters are frozen. */
  readonly gradient: Tensor | undefined;
}

export interface FlatParametersOptions {
  /**
   * false: frozen parameters without gradient memory (a reference policy, the base below LoRA); or which of the stored
   * tensors are trainable, by name. Default true.
   */
  readonly requiresGrad?: boolean | ((name: string) => boolean);
  /**
   * How matrices are stored; vectors and gradients are f32. `f16`: mixed precision, ops read matrices rounded to nearest from
   * f32 masters that the optimiser steps; frozen ones have no masters. `bf16`: frozen matrices as checkpoints have them, widened
   * by the kernels; trainable ones are f32. Default f32.
   */
  readonly storage?: MatrixStorage;
  /** Upper bound of one bucket in bytes. Default: the adapter's binding limit, at most 1 GiB. */
  readonly maxBucketBytes?: number;
}

/**
 * Owns the values (and gradients) of a set of parameters. `get(name)` is a leaf for the tape whose `grad` is a slot of
 * the flat gradient: backward adds into it, so call `clearGradients` before each accumulation.
 */
export class FlatParameters {
  readonly slots: ReadonlyMap<string, ParameterSlot>;
  readonly buckets: readonly ParameterBucket[];
  /** Whether any of them is trainable. */
  readonly requiresGrad: boolean;
  readonly storage: MatrixStorage;
  readonly #leaves = new Map<string, Tensor>();
  readonly #masters = new Map<string, Tensor>();
  readonly #parts = new Map<string, { readonly whole: string; readonly part: ParameterPart }>();
  #version = 0;

  /**
   * Allocates every bucket, filled with zeros.
   * @throws ArgumentError when a name comes twice, a shape is empty, or a few rows of a tensor exceed the largest binding
   * @throws AdapterError for f16 on an adapter without it
   */
  constructor(
    readonly runtime: Runtime,
    parameters: readonly StoredShape[],
    options: FlatParametersOptions = {},
  ) {
    const { requiresGrad = true } = options;
    const trains = typeof requiresGrad === "function" ? requiresGrad : () => requiresGrad;
    this.requiresGrad = parameters.some(({ name }) => trains(name));
    this.storage = options.storage ?? "f32";
    if (this.storage === "f16") checkHalf(runtime.facts);
    const bindingBytes = runtime.facts.maxBindingBytes;
    const bucketBytes = Math.min(options.maxBucketBytes ?? MAX_BUCKET_BYTES, MAX_BUCKET_BYTES, bindingBytes);
    const { slots, sizes } = packSlots(parameters, {
      trains,
      storage: this.storage,
      bucketBytes,
      bindingBytes,
    });
    this.slots = slots;
    this.buckets = sizes.map((size, index) => this.#allocate(size, index));
    const all = (key: "value" | "master" | "gradient"): Flat => this.buckets.map((bucket) => bucket[key]);
    const [values, masters, gradients] = [all("value"), all("master"), all("gradient")];
    for (const slot of slots.values()) {
      const { name, bucket: index } = slot;
      const { value, master, gradient } = this.buckets[index] as ParameterBucket;
      const leaf = viewOf(values, slot, gradient !== undefined);
      leaf.parameter = name;
      leaf.grad = gradient && viewOf(gradients, slot);
      this.#leaves.set(name, leaf);
      if (master && master !== value) this.#masters.set(name, viewOf(masters, slot));
    }
    for (const { name: whole, parts = [] } of parameters)
      for (const part of parts) this.#parts.set(part.name, { whole, part });
  }

  /** Whether ops read matrices as f16, and activations are stored so. */
  get half(): boolean {
    return this.storage === "f16";
  }

  /** Number of values, gaps not counted. */
  get count(): number {
    let sum = 0;
    for (const slot of this.slots.values()) sum += elementCount(slot.shape);
    return sum;
  }

  /** Grows with every change of values: whoever computes something of them knows by it when to do so again. */
  get version(): number {
    return this.#version;
  }

  /** To be called by whoever writes values otherwise than by `load`. */
  changed(): void {
    this.#version++;
  }

  /** Whether one parameter, or one part, has a gradient. @throws ArgumentError when there is none of that name */
  isTrainable(name: string): boolean {
    return this.#find(name).leaf.requiresGrad;
  }

  has(name: string): boolean {
    return this.slots.has(name);
  }

  /** The leaf of one parameter (no part); owned by this object. @throws ArgumentError when there is none of that name */
  get(name: string): Tensor {
    const leaf = this.#leaves.get(name);
    if (!leaf) {
      throw new ArgumentError(
        `[parameters] no parameter of this name: got "${name}", expected one of ${this.slots.size} names such as "${[...this.slots.keys()][0] ?? ""}". Check the model's configuration.`,
      );
    }
    return leaf;
  }

  /** Appends filling every gradient with zeros. */
  clearGradients(): void {
    for (const { gradient } of this.buckets) if (gradient) this.runtime.clear(gradient.range);
  }

  /** Overwrites one parameter, or one part, and its f16 copy. @param values row-major, exactly as many as its shape holds */
  load(name: string, values: Float32Array): void {
    const { leaf, kept, part, shape } = this.#find(name);
    const size = elementCount(shape);
    if (values.length !== size) {
      throw new ArgumentError(
        `[parameters] values of ${name} do not fit: got ${values.length}, expected ${size} for shape [${shape}]. Load a checkpoint of the same configuration.`,
      );
    }
    for (const whole of new Set([leaf, kept])) this.#writeRows(whole, part, values);
    this.changed();
  }

  /**
   * Overwrites some rows of one stored tensor, no part, and of its f16 copy.
   * @param values as many rows as follow from their number: floats, or the bits of bf16 for matrices that are stored so
   * @throws ArgumentError when they are no whole rows, are too many, or are bits for another storage
   */
  loadRows(name: string, first: number, values: Float32Array | Uint16Array): void {
    const { leaf, kept, shape } = this.#find(name);
    const width = elementCount(shape.slice(1));
    const rows = values.length / width;
    const isBits = areBits(values);
    const fits = Number.isInteger(rows) && rows > 0 && first >= 0 && first + rows <= (shape[0] as number);
    if (!fits || (isBits && leaf.dtype !== "bf16")) {
      throw new ArgumentError(
        `[parameters] rows of ${name} do not fit: got ${values.length} values from row ${first} on, as ${isBits ? "bf16" : "floats"}, expected rows of ${width} values within shape [${shape}] stored as ${leaf.dtype}. Load a checkpoint of the same configuration.`,
      );
    }
    for (const whole of new Set([leaf, kept])) uploadInto(this.runtime, rowsOf(whole, first, rows), values);
    this.changed();
  }

  /** Values of one parameter, or one part (the f32 ones, where there are) after all work appended so far; the caller owns them. */
  async read(name: string): Promise<Float32Array> {
    const { kept, part } = this.#find(name);
    return this.#readRows(kept, part);
  }

  /** Gradient of one parameter, or one part, after all work appended so far. @throws ArgumentError when the parameters are frozen */
  async readGradient(name: string): Promise<Float32Array> {
    const { leaf, part } = this.#find(name);
    const { grad } = leaf;
    if (!grad) {
      throw new ArgumentError(
        `[parameters] ${name} has no gradient: it was made with requiresGrad false. Make it trainable.`,
      );
    }
    return this.#readRows(grad, part);
  }

  /** Every parameter by the name that checkpoints use: the parts of a tensor that is put together of some. */
  get named(): NamedShape[] {
    const wholes = new Set([...this.#parts.values()].map(({ whole }) => whole));
    return [
      ...[...this.slots.values()].filter(({ name }) => !wholes.has(name)),
      ...[...this.#parts.values()].map(({ part }) => part),
    ].map(({ name, shape }) => ({ name, shape }));
  }

  /**
   * What belongs to one parameter, or one part, of values that lie as the parameters do.
   * @param flat one array a bucket, as long as the bucket (moments of an optimiser, for example); only the one that is meant
   * must be there
   */
  async readLike(flat: Flat, name: string): Promise<Float32Array> {
    const { whole, part } = this.#within(flat, name);
    const values = await this.#readRows(whole, part);
    whole.release();
    return values;
  }

  /** Overwrites what belongs to one parameter, or one part. */
  loadLike(flat: Flat, name: string, values: Float32Array): void {
    const { whole, part } = this.#within(flat, name);
    this.#writeRows(whole, part, values);
    whole.release();
  }

  #within(flat: Flat, name: string): { whole: Tensor; part: ParameterPart | undefined } {
    const found = this.#parts.get(name);
    const slot = this.slots.get(found?.whole ?? name);
    if (!slot) throw new ArgumentError(`[parameters] no parameter of this name: got "${name}".`);
    return { whole: viewOf(flat, slot), part: found?.part };
  }

  /** `kept`: where the values are exact. */
  #find(name: string): {
    leaf: Tensor;
    kept: Tensor;
    part: ParameterPart | undefined;
    shape: readonly number[];
  } {
    const found = this.#parts.get(name);
    const stored = found?.whole ?? name;
    const leaf = this.get(stored);
    const kept = this.#masters.get(stored) ?? leaf;
    return { leaf, kept, part: found?.part, shape: found?.part.shape ?? leaf.shape };
  }

  #writeRows(whole: Tensor, part: ParameterPart | undefined, values: Float32Array): void {
    if (!part) {
      whole.upload(values);
      return;
    }
    const width = elementCount(part.shape.slice(1));
    for (const { first, count } of stages(part, whole)) {
      const rows = Tensor.empty(this.runtime, [count, ...part.shape.slice(1)], whole.dtype, part.name);
      rows.upload(values.subarray(first * width, (first + count) * width));
      eachRun(part, first, count, (inWhole, inRows, run) =>
        copyRows(this.runtime, rowsOf(rows, inRows, run), rowsOf(whole, inWhole, run)),
      );
      rows.release();
    }
  }

  async #readRows(whole: Tensor, part: ParameterPart | undefined): Promise<Float32Array> {
    if (!part) return (await whole.read()) as Float32Array;
    const width = elementCount(part.shape.slice(1));
    const values = new Float32Array(elementCount(part.shape));
    for (const { first, count } of stages(part, whole)) {
      const rows = Tensor.empty(this.runtime, [count, ...part.shape.slice(1)], whole.dtype, part.name);
      eachRun(part, first, count, (inWhole, inRows, run) =>
        copyRows(this.runtime, rowsOf(whole, inWhole, run), rowsOf(rows, inRows, run)),
      );
      values.set((await rows.read()) as Float32Array, first * width);
      rows.release();
    }
    return values;
  }

  /** Appends copying one parameter as ops read it from another set of the same storage. */
  copyFrom(other: FlatParameters, name: string): void {
    copyRows(this.runtime, other.get(name), this.get(name));
  }

  /** Gives all memory back; idempotent. */
  release(): void {
    for (const view of [...this.#leaves.values(), ...this.#masters.values()]) view.release();
    for (const { value, master, gradient } of this.buckets) {
      for (const tensor of [value, master, gradient]) tensor?.release();
    }
  }

  #allocate({ decayed, trains, elements }: BucketSize, index: number): ParameterBucket {
    const zeros = (label: string, dtype: MatrixStorage = "f32") =>
      Tensor.kept(this.runtime, [elements], `${label} ${index}`, dtype);
    const isShort = this.storage === "f16" || (this.storage === "bf16" && !trains);
    const value = zeros("parameters", decayed && isShort ? this.storage : "f32");
    const master = value.dtype === "f32" ? value : trains ? zeros("masters") : undefined;
    const gradient = trains ? zeros("gradients") : undefined;
    return { decayed, elements, value, master, gradient };
  }
}

/** One array a bucket; those that nobody asks for may be absent. */
type Flat = readonly (Tensor | undefined)[];

/** What belongs to a parameter of arrays that lie as the parameters do. */
function viewOf(flat: Flat, { shape, bucket, offset, pieces }: ParameterSlot, requiresGrad = false): Tensor {
  const first = flat[bucket] as Tensor;
  if (!pieces) return first.view(shape, offset, requiresGrad);
  const width = elementCount(shape.slice(1));
  const found = pieces.map(({ first: row, rows, bucket: index, offset: start }): RowPiece => {
    const view = (flat[index] as Tensor).view([rows, width], start, false);
    view.release();
    return { first: row, rows, range: view.range };
  });
  const [{ range }] = found as [RowPiece];
  // the buckets, which outlive their views, hold the memory of the other pieces
  return new Tensor(first.storage.retain(), range, shape, first.dtype, requiresGrad, found);
}

/** The rows of a part, as many at a time as go through the memory set aside for them. */
function stages(
  { shape: [total = 0, ...rest] }: ParameterPart,
  { dtype, runtime }: Tensor,
): { readonly first: number; readonly count: number }[] {
  const bytes = Math.min(STAGED_BYTES, runtime.facts.maxBindingBytes);
  const most = Math.max(1, Math.floor(bytes / byteLength(rest, dtype)));
  return Array.from({ length: Math.ceil(total / most) }, (_, index) => ({
    first: index * most,
    count: Math.min(most, total - index * most),
  }));
}

/** Calls back with runs of some rows of a part: one where its rows lie together, else one a row. */
function eachRun(
  { first, stride }: ParameterPart,
  firstRow: number,
  rows: number,
  run: (inWhole: number, inRows: number, count: number) => void,
): void {
  if (stride === 1) run(first + firstRow, 0, rows);
  else for (let row = 0; row < rows; row++) run(first + (firstRow + row) * stride, row, 1);
}

/** Appends copying a matrix into another of the same shape, whatever pieces they are in. */
function copyRows(runtime: Runtime, from: ArrayView, to: ArrayView): void {
  for (const target of piecesOf(to))
    for (const source of piecesOf(rowsOf(from, target.first, target.rows))) {
      const place = rowsOf(target.view, source.first, source.rows);
      runtime.copy(source.view.range, place.range);
    }
}
