/** Pool of storage buffers with live-byte and peak counters. The only place that creates and destroys GPU buffers. */
import { ArgumentError } from "../core/errors.js";

/** One pooled GPU buffer. Owned by whoever acquired it until `BufferPool.release`. */
export class GpuBuffer {
  /** Serial number of the list of commands that last used it; kept by `CommandList`. */
  lastUse = -1;
  inUse = true;
  /** Identity of the whole buffer as a binding. */
  readonly key: string;

  /**
   * @param raw the buffer itself
   * @param id unique in its pool; bind groups are cached by it
   * @param bytes capacity
   */
  constructor(
    readonly raw: GPUBuffer,
    readonly id: number,
    readonly bytes: number,
  ) {
    this.key = `,${id}`;
  }
}

/** A range of a buffer. */
export interface BufferRange {
  readonly buffer: GpuBuffer;
  /** Byte offset, a multiple of the device's storage offset alignment when bound to a kernel. */
  readonly offset: number;
  readonly bytes: number;
  /** The buffer was acquired for this range: binding all of it lets sizes that share a buffer share bind groups too. */
  readonly isWhole?: boolean;
  /** Identity of what is bound, for the cache of bind groups; set there. */
  key?: string;
}

/** Is told of every buffer that is handed out and given back, with its label. */
export interface PoolObserver {
  acquired(buffer: GpuBuffer, label: string): void;
  released(buffer: GpuBuffer): void;
}

/** Bytes up to whole words, as copies and bindings want them. */
export function alignWord(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

/** Bytes a request is rounded up to: four steps an octave, so that batches of slightly different size share buffers. */
function sizeClass(bytes: number): number {
  if (bytes <= 1024) return Math.max(256, Math.ceil(bytes / 256) * 256);
  const step = 2 ** (Math.floor(Math.log2(bytes - 1)) - 2);
  return Math.ceil(bytes / step) * step;
}

/**
 * Recycles buffers by size class. The free buffer with the lowest id is handed out first, so a step that asks for the
 * same sizes in the same order gets the same buffers, and its cached bind groups fit again.
 */
export class BufferPool {
  /** For measurements of who holds how much. */
  observer: PoolObserver | undefined;
  readonly #free = new Map<number, GpuBuffer[]>();
  readonly #all = new Set<GpuBuffer>();
  #nextId = 0;
  #liveBytes = 0;
  #peakBytes = 0;
  #heldBytes = 0;
  #created = 0;

  /**
   * @param device owner of all buffers
   * @param maxBindingBytes largest storage binding the device allows
   */
  constructor(
    readonly device: GPUDevice,
    readonly maxBindingBytes: number,
  ) {}

  /** Bytes handed out and not yet released. */
  get liveBytes(): number {
    return this.#liveBytes;
  }

  /** Highest `liveBytes` since the start or the last `resetPeak`. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  /** Bytes held on the device: live plus recyclable. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Buffers created so far: constant in a steady state. */
  get created(): number {
    return this.#created;
  }

  resetPeak(): void {
    this.#peakBytes = this.#liveBytes;
  }

  /**
   * A buffer of at least `bytes`, contents undefined.
   * @param isKept it will be held for long: it is no larger than it must be, and hardly fits others afterwards
   * @throws ArgumentError when it could not be bound whole on this adapter
   */
  acquire(bytes: number, label: string, isKept = false): GpuBuffer {
    if (bytes > this.maxBindingBytes) {
      throw new ArgumentError(
        `[${label}] tensor too large for one binding: got ${bytes} bytes, expected at most ${this.maxBindingBytes} (the adapter's maxStorageBufferBindingSize). Use a smaller batch or model, or an adapter with a larger limit.`,
      );
    }
    const rounded = isKept ? alignWord(bytes) : sizeClass(bytes);
    const capacity = Math.min(rounded, Math.floor(this.maxBindingBytes / 4) * 4);
    const buffer = this.#takeFree(capacity) ?? this.#create(capacity);
    buffer.inUse = true;
    this.#liveBytes += capacity;
    this.#peakBytes = Math.max(this.#peakBytes, this.#liveBytes);
    this.observer?.acquired(buffer, label);
    return buffer;
  }

  /** Hands a buffer back for reuse by later commands. */
  release(buffer: GpuBuffer): void {
    if (!buffer.inUse)
      throw new ArgumentError(`[buffers] buffer ${buffer.id} was released twice. Release each buffer once.`);
    buffer.inUse = false;
    this.#liveBytes -= buffer.bytes;
    this.observer?.released(buffer);
    const list = this.#free.get(buffer.bytes);
    if (!list) {
      this.#free.set(buffer.bytes, [buffer]);
      return;
    }
    // descending by id: the lowest id is popped first
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((list[middle] as GpuBuffer).id > buffer.id) low = middle + 1;
      else high = middle;
    }
    list.splice(low, 0, buffer);
  }

  /** Destroys buffers nobody holds; returns their ids so that bind groups over them can be dropped. Nothing may be pending. */
  trim(): number[] {
    const ids: number[] = [];
    for (const list of this.#free.values()) {
      for (const buffer of list) {
        ids.push(buffer.id);
        this.#destroy(buffer);
      }
    }
    this.#free.clear();
    return ids;
  }

  destroy(): void {
    for (const buffer of [...this.#all]) this.#destroy(buffer);
    this.#free.clear();
    this.#liveBytes = 0;
  }

  #takeFree(capacity: number): GpuBuffer | undefined {
    return this.#free.get(capacity)?.pop();
  }

  #create(capacity: number): GpuBuffer {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const raw = this.device.createBuffer({ size: capacity, usage, label: `pool ${capacity}` });
    const buffer = new GpuBuffer(raw, this.#nextId++, capacity);
    this.#all.add(buffer);
    this.#heldBytes += capacity;
    this.#created++;
    return buffer;
  }

  #destroy(buffer: GpuBuffer): void {
    buffer.raw.destroy();
    this.#all.delete(buffer);
    this.#heldBytes -= buffer.bytes;
  }
}
