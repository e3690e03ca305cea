/** Which parameter lies where: slots of flat buckets, and pieces of tensors that no kernel could bind whole. */
import { ArgumentError } from "../core/errors.js";
import { elementCount } from "../kernels/engine/array_view.js";

/** Slots begin at multiples of 256 bytes, the largest storage offset alignment WebGPU allows. */
const SLOT_BYTES = 256;
/** Rows of a piece are a multiple of this, so that columns of a result that belong to it can be bound. */
const PIECE_ROWS = 256;

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

/** Element `offset` of bucket number `bucket`. */
export interface Place {
  readonly bucket: number;
  readonly offset: number;
}

/** Where a parameter lies, or the first of its pieces. */
export interface ParameterSlot extends NamedShape, Place {
  /** Rows `first` to `first + rows` of a matrix that is larger than the adapter's largest binding. */
  readonly pieces?: readonly (Place & { readonly first: number; readonly rows: number })[];
}

/** How matrices are stored. */
export type MatrixStorage = "f32" | "f16" | "bf16";

export interface BucketSize {
  /** Whether it holds matrices. */
  readonly decayed: boolean;
  readonly trains: boolean;
  elements: number;
}

export interface PackOptions {
  readonly trains: (name: string) => boolean;
  readonly storage: MatrixStorage;
  /** Largest bucket, unless one tensor is larger. */
  readonly bucketBytes: number;
  readonly bindingBytes: number;
}

/**
 * Fills buckets in the order given, decayed and other parameters apart, and frozen ones from others; a bucket that is full is
 * never reopened.
 * @throws ArgumentError when a name comes twice, a shape is empty, or 256 rows of a tensor exceed the largest binding
 */
export function packSlots(
  parameters: readonly NamedShape[],
  { trains, storage, bucketBytes, bindingBytes }: PackOptions,
): { slots: Map<string, ParameterSlot>; sizes: BucketSize[] } {
  const slotElements = SLOT_BYTES / (storage === "f32" ? 4 : 2);
  const slots = new Map<string, ParameterSlot>();
  const sizes: BucketSize[] = [];
  const open = new Map<string, number>();
  const place = (name: string, count: number, decayed: boolean, bytesEach: number): Place => {
    const elements = Math.ceil(count / slotElements) * slotElements;
    const kind = `${decayed} ${trains(name)}`;
    let bucket = open.get(kind);
    if (
      bucket === undefined ||
      bytesEach * ((sizes[bucket] as BucketSize).elements + elements) > bucketBytes
    ) {
      bucket = sizes.push({ decayed, trains: trains(name), elements: 0 }) - 1;
      open.set(kind, bucket);
    }
    const size = sizes[bucket] as BucketSize;
    const offset = size.elements;
    size.elements += elements;
    return { bucket, offset };
  };
  for (const { name, shape } of parameters) {
    if (slots.has(name))
      throw new ArgumentError(`[parameters] two parameters are called "${name}". Names must differ.`);
    const count = elementCount(shape);
    if (!(count > 0) || !Number.isInteger(count)) {
      throw new ArgumentError(
        `[parameters] ${name} holds nothing: got shape [${shape}], expected positive sizes. Leave it out.`,
      );
    }
    const decayed = shape.length > 1;
    // gradients and masters are f32
    const bytesEach = decayed && storage !== "f32" && !trains(name) ? 2 : 4;
    const pieces = rowPieces({ name, shape }, bytesEach, bindingBytes).map(({ first, rows }) => ({
      first,
      rows,
      ...place(name, (count / (shape[0] as number)) * rows, decayed, bytesEach),
    }));
    const [{ bucket, offset }] = pieces as [(typeof pieces)[number]];
    slots.set(name, { name, shape, bucket, offset, ...(pieces.length > 1 && { pieces }) });
  }
  return { slots, sizes };
}

/** Rows of a tensor in pieces of nearly equal size that can be bound; one piece where all of it can. */
function rowPieces(
  { name, shape }: NamedShape,
  bytesEach: number,
  bindingBytes: number,
): { readonly first: number; readonly rows: number }[] {
  const total = shape[0] as number;
  const bytes = bytesEach * elementCount(shape);
  if (bytes <= bindingBytes) return [{ first: 0, rows: total }];
  const rowBytes = bytes / total;
  const most = Math.floor(bindingBytes / rowBytes / PIECE_ROWS) * PIECE_ROWS;
  if (shape.length !== 2 || most === 0) {
    throw new ArgumentError(
      `[parameters] ${name} is too large for one binding: got ${bytes} bytes, expected at most ${bindingBytes} (the adapter's maxStorageBufferBindingSize), or a matrix of which ${PIECE_ROWS} rows fit. Use a smaller width, or an adapter with a larger limit.`,
    );
  }
  const rows = Math.ceil(total / Math.ceil(total / most) / PIECE_ROWS) * PIECE_ROWS;
  return Array.from({ length: Math.ceil(total / rows) }, (_, index) => ({
    first: index * rows,
    rows: Math.min(rows, total - index * rows),
  }));
}
