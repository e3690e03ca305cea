/** Named parameters packed into a few flat buffers, so that clearing, norms and optimiser steps take few dispatches. */
import { ArgumentError } from "../core/errors.js";
import { checkHalf } from "../gpu/device_facts.js";
import type { BufferRange, Runtime } from "../gpu/runtime.js";
import { byteLength } from "../kernels/engine/op.js";
import { Tensor } from "./tensor.js";

/** Slots begin at multiples of 256 bytes, the largest storage offset alignment WebGPU allows. */
const SLOT_BYTES = 256;
const MAX_BUCKET_BYTES = 2 ** 30;

export interface NamedShape {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Rows of a matrix (or elements of a vector) that are a parameter of their own to checkpoints. */
export interface ParameterPart extends NamedShape {
  /** Its rows are `first`, `first + stride`, ... of the whole. */
  readonly first: number;
  readonly stride: number;
}

/** A tensor that kernels use whole; `parts`: what it is put together of, if it is. */
export interface StoredShape extends NamedShape {
  readonly parts?: readonly ParameterPart[];
}

/** Where a parameter lies: element `offset` of bucket number `bucket`. */
export interface ParameterSlot extends NamedShape {
  readonly bucket: number;
  readonly offset: number;
}

/** Some parameters in one flat array, and their gradient. The gaps between slots are zero in all and stay zero. */
export interface ParameterBucket {
  /** Whether weight decay applies: matrices yes, vectors (gains and biases) no. */
  readonly decayed: boolean;
  /** Length, gaps included; a multiple of 64. */
  readonly elements: number;
  /** What ops read: f16 for matrices in half precision, f32 else. */
  readonly value: Tensor;
  /** The f32 values that training keeps: `value` itself where that is f32. Absent when frozen in half precision. */
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
   * Mixed precision: ops read matrices as f16, rounded to nearest from f32 masters that the optimiser steps. Vectors and
   * gradients stay f32, and frozen parameters have no masters. Default false.
   */
  readonly half?: boolean;
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
  /** Whether ops read matrices as f16. */
  readonly half: boolean;
  readonly #leaves = new Map<string, Tensor>();
  readonly #masters = new Map<string, Tensor>();
  readonly #parts = new Map<string, { readonly whole: string; readonly part: ParameterPart }>();
  #version = 0;

  /**
   * Allocates every bucket, filled with zeros.
   * @throws ArgumentError when a name comes twice, a shape is empty, or one tensor exceeds the largest binding
   * @throws AdapterError for half precision on an adapter without f16
   */
  constructor(
    readonly runtime: Runtime,
    parameters: readonly StoredShape[],
    options: FlatParametersOptions = {},
  ) {
    const { requiresGrad = true } = options;
    const trains = typeof requiresGrad === "function" ? requiresGrad : () => requiresGrad;
    this.requiresGrad = parameters.some(({ name }) => trains(name));
    this.half = options.half ?? false;
    if (this.half) checkHalf(runtime.facts);
    const limit = Math.min(
      options.maxBucketBytes ?? MAX_BUCKET_BYTES,
      MAX_BUCKET_BYTES,
      runtime.facts.maxBindingBytes,
    );
    const slotElements = SLOT_BYTES / (this.half ? 2 : 4);
    const { slots, sizes } = packSlots(
      parameters,
      trains,
      slotElements,
      limit,
      runtime.facts.maxBindingBytes,
    );
    this.slots = slots;
    this.buckets = sizes.map((size, index) => this.#allocate(size, index));
    for (const { name, shape, bucket: index, offset } of slots.values()) {
      const { value, master, gradient } = this.buckets[index] as ParameterBucket;
      const leaf = value.view(shape, offset, gradient !== undefined);
      leaf.parameter = name;
      leaf.grad = gradient?.view(shape, offset, false);
      this.#leaves.set(name, leaf);
      if (master && master !== value) this.#masters.set(name, master.view(shape, offset, false));
    }
    for (const { name: whole, parts = [] } of parameters)
      for (const part of parts) this.#parts.set(part.name, { whole, part });
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
  async readLike(flat: readonly (Tensor | undefined)[], name: string): Promise<Float32Array> {
    const { whole, part } = this.#within(flat, name);
    const values = await this.#readRows(whole, part);
    whole.release();
    return values;
  }

  /** Overwrites what belongs to one parameter, or one part. */
  loadLike(flat: readonly (Tensor | undefined)[], name: string, values: Float32Array): void {
    const { whole, part } = this.#within(flat, name);
    this.#writeRows(whole, part, values);
    whole.release();
  }

  #within(
    flat: readonly (Tensor | undefined)[],
    name: string,
  ): { whole: Tensor; part: ParameterPart | undefined } {
    const found = this.#parts.get(name);
    const slot = this.slots.get(found?.whole ?? name);
    if (!slot) throw new ArgumentError(`[parameters] no parameter of this name: got "${name}".`);
    const whole = (flat[slot.bucket] as Tensor).view(slot.shape, slot.offset, false);
    return { whole, part: found?.part };
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
    const rows = Tensor.empty(this.runtime, part.shape, whole.dtype, part.name);
    rows.upload(values);
    this.#copyRows(whole, part, (inWhole, inRows) => this.runtime.copy(within(rows, inRows), inWhole));
    rows.release();
  }

  async #readRows(whole: Tensor, part: ParameterPart | undefined): Promise<Float32Array> {
    if (!part) return (await whole.read()) as Float32Array;
    const rows = Tensor.empty(this.runtime, part.shape, whole.dtype, part.name);
    this.#copyRows(whole, part, (inWhole, inRows) => this.runtime.copy(inWhole, within(rows, inRows)));
    const values = (await rows.read()) as Float32Array;
    rows.release();
    return values;
  }

  /** Calls back with the ranges of runs of a part: one run where its rows lie together, else one a row. */
  #copyRows(
    whole: Tensor,
    { shape, first, stride }: ParameterPart,
    copy: (inWhole: BufferRange, inRows: { readonly offset: number; readonly bytes: number }) => void,
  ): void {
    const [rows = 0, ...rest] = shape;
    const rowBytes = byteLength(rest, whole.dtype);
    const runs = stride === 1 ? 1 : rows;
    const bytes = (rows / runs) * rowBytes;
    for (let run = 0; run < runs; run++) {
      const offset = (first + run * stride) * rowBytes;
      copy(within(whole, { offset, bytes }), { offset: run * bytes, bytes });
    }
  }

  /** Gives all memory back; idempotent. */
  release(): void {
    for (const view of [...this.#leaves.values(), ...this.#masters.values()]) view.release();
    for (const { value, master, gradient } of this.buckets) {
      for (const tensor of [value, master, gradient]) tensor?.release();
    }
  }

  #allocate({ decayed, trains, elements }: BucketSize, index: number): ParameterBucket {
    const zeros = (label: string, dtype: "f32" | "f16" = "f32") =>
      Tensor.zeros(this.runtime, [elements], `${label} ${index}`, dtype);
    const isHalf = this.half && decayed;
    const value = zeros("parameters", isHalf ? "f16" : "f32");
    const master = isHalf ? (trains ? zeros("masters") : undefined) : value;
    const gradient = trains ? zeros("gradients") : undefined;
    return { decayed, elements, value, master, gradient };
  }
}

function within(
  { range }: Tensor,
  { offset, bytes }: { readonly offset: number; readonly bytes: number },
): BufferRange {
  return { buffer: range.buffer, offset: range.offset + offset, bytes };
}

interface BucketSize {
  readonly decayed: boolean;
  readonly trains: boolean;
  elements: number;
}

/** Fills buckets in the order given, decayed and other parameters apart, and frozen ones from others; a bucket that is full is never reopened. */
function packSlots(
  parameters: readonly NamedShape[],
  trainsByName: (name: string) => boolean,
  slotElements: number,
  limitBytes: number,
  bindingBytes: number,
): { slots: Map<string, ParameterSlot>; sizes: BucketSize[] } {
  const slots = new Map<string, ParameterSlot>();
  const sizes: BucketSize[] = [];
  const open = new Map<string, number>();
  for (const { name, shape } of parameters) {
    if (slots.has(name))
      throw new ArgumentError(`[parameters] two parameters are called "${name}". Names must differ.`);
    const elements = Math.ceil(elementCount(shape) / slotElements) * slotElements;
    if (elements === 0 || !Number.isInteger(elements)) {
      throw new ArgumentError(
        `[parameters] ${name} holds nothing: got shape [${shape}], expected positive sizes. Leave it out.`,
      );
    }
    if (4 * elements > bindingBytes) {
      throw new ArgumentError(
        `[parameters] ${name} is too large for one binding: got ${4 * elements} bytes, expected at most ${bindingBytes} (the adapter's maxStorageBufferBindingSize). Use a smaller vocabulary or width, or an adapter with a larger limit.`,
      );
    }
    const decayed = shape.length > 1;
    const trains = trainsByName(name);
    const kind = `${decayed} ${trains}`;
    let bucket = open.get(kind);
    if (bucket === undefined || 4 * ((sizes[bucket] as BucketSize).elements + elements) > limitBytes) {
      bucket = sizes.push({ decayed, trains, elements: 0 }) - 1;
      open.set(kind, bucket);
    }
    const size = sizes[bucket] as BucketSize;
    slots.set(name, { name, shape, bucket, offset: size.elements });
    size.elements += elements;
  }
  return { slots, sizes };
}

function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
