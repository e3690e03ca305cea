/** The device and everything that touches it: commands, buffers, pipelines, readback, timing, errors. */
import { ArgumentError, DeviceError } from "../core/errors.js";
import type { Logger } from "../core/logger.js";
import { BufferPool, type BufferRange } from "./buffers.js";
import { CommandList, type Dispatch, SCALAR_BYTES } from "./command_list.js";
import {
  deviceFacts,
  type KernelFacts,
  type MatmulPrecision,
  openDevice,
  type Tuning,
} from "./device_facts.js";
import { type Beside, FirstLaunches, type Wait } from "./first_launches.js";
import { type Access, PipelineCache, type PipelineEntry } from "./pipelines.js";
import { Profiler } from "./profiler.js";
import { Readback } from "./readback.js";

/** An adapter, and the GPU object that it came from. */
export interface OpenAdapter {
  readonly gpu: GPU;
  readonly adapter: GPUAdapter;
  /** How the host waits for the device; default: by the promise alone. */
  readonly wait?: Wait;
  /** Where first launches cost a device's thread much time, devices that share them; default: none. */
  readonly beside?: Beside;
}

export interface RuntimeOptions {
  readonly logger?: Logger;
  /** Default `f32`. Drivers may compute wrong products by matrix hardware: ask `checkedPrecision` (host) first. */
  readonly matmulPrecision?: MatmulPrecision;
  /** Default: none, all kernels as shipped. */
  readonly tuning?: Tuning;
  /** Overrides for tests, for example to run the GPU kernel family on a software adapter. */
  readonly facts?: Partial<KernelFacts>;
}

/**
 * Owns a GPUDevice. Kernels are appended to a command list and reach the GPU at `flush` or `read`; pipelines that the
 * list needs compile in parallel meanwhile. Work is executed in the order of the calls, uploads included.
 */
export class Runtime {
  readonly buffers: BufferPool;
  readonly pipelines: PipelineCache;
  readonly profiler: Profiler;
  readonly #commands: CommandList;
  readonly #readback: Readback;
  readonly #firstLaunches: FirstLaunches | undefined;
  #failure: DeviceError | undefined;
  #disposed = false;
  readonly #onError = (event: Event) =>
    this.#fail(`GPU error: ${(event as GPUUncapturedErrorEvent).error.message}`);
  #isRepeating = false;

  private constructor(
    /** Held because a device whose GPU object is garbage collected crashes in Dawn. */
    readonly gpu: GPU,
    readonly device: GPUDevice,
    readonly facts: KernelFacts,
    readonly logger: Logger | undefined,
    readonly wait: Wait,
    beside: Beside | undefined,
  ) {
    this.buffers = new BufferPool(device, facts.maxBindingBytes);
    this.pipelines = new PipelineCache(device);
    this.profiler = new Profiler(device);
    this.#commands = new CommandList(device, this.profiler);
    this.#readback = new Readback(device);
    this.#firstLaunches = beside && new FirstLaunches(this.pipelines, beside, wait);
    device.addEventListener("uncapturederror", this.#onError);
    void device.lost.then((lost) => {
      if (!this.#disposed) this.#fail(`the GPU device was lost (${lost.reason}): ${lost.message}`);
    });
  }

  /**
   * Opens a device with every useful feature and limit the adapter offers.
   * @throws DeviceError when the adapter refuses
   */
  static async create(
    { gpu, adapter, wait = (work) => work, beside }: OpenAdapter,
    options: RuntimeOptions = {},
  ): Promise<Runtime> {
    const device = await openDevice(adapter);
    const facts = {
      ...deviceFacts(adapter, device),
      ...(options.matmulPrecision && { matmulPrecision: options.matmulPrecision }),
      ...(options.tuning && { tuning: options.tuning }),
      ...options.facts,
    };
    return new Runtime(gpu, device, facts, options.logger, wait, beside);
  }

  /** Counters for tests and the progress line. */
  get counters(): { submits: number; dispatches: number; bindGroupsCreated: number; pipelines: number } {
    return { ...this.#commands.counters, pipelines: this.pipelines.size };
  }

  /** Appends a kernel launch. */
  dispatch(dispatch: Dispatch): void {
    this.#commands.dispatch(dispatch);
  }

  /** Appends a copy of `to.bytes` bytes. */
  copy(from: BufferRange, to: BufferRange): void {
    this.#commands.copy(from, to);
  }

  /** Appends filling a range with zero bytes. */
  clear(range: BufferRange): void {
    this.#commands.clear(range);
  }

  /**
   * Appends the work of `body` `times` times (at least once), for the host work of one: kernels that advance their own
   * inputs, as in the steps of a generation. Memory that `body` returns to the pool serves all times.
   * @throws ArgumentError when `body` uploads: it would happen once only
   */
  repeat(times: number, body: () => void): void {
    this.#isRepeating = true;
    try {
      this.#commands.repeat(times, body);
    } finally {
      this.#isRepeating = false;
    }
  }

  /** Writes host data before everything appended after this call and after everything appended before it. */
  upload(to: BufferRange, data: ArrayBufferView<ArrayBufferLike>): void {
    this.#throwIfFailed();
    if (this.#isRepeating) throw new ArgumentError("[upload] inside of repeated work. Upload before it.");
    if (data.byteLength > to.bytes || data.byteLength % 4 !== 0) {
      throw new ArgumentError(
        `[upload] ${data.byteLength} bytes do not fit a range of ${to.bytes}, or are not whole words.`,
      );
    }
    if (this.#commands.uses(to.buffer)) {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      this.#commands.upload(to, bytes.slice());
    } else {
      this.device.queue.writeBuffer(
        to.buffer.raw,
        to.offset,
        data.buffer as ArrayBuffer,
        data.byteOffset,
        data.byteLength,
      );
    }
  }

  /**
   * Sends everything appended so far to the GPU; resolves once it is submitted (not executed). When a shader does not
   * compile, nothing of it is sent and all of it is forgotten.
   * @throws DeviceError for shader, validation, memory and device failures, naming op and entry
   */
  async flush(): Promise<void> {
    try {
      await this.wait(this.#commands.compile());
      if (this.#firstLaunches) {
        // a device that fails is told below
        await this.#firstLaunches.share().catch(() => {});
        // meanwhile others may have appended
        await this.wait(this.#commands.compile());
      }
    } catch (error) {
      this.#commands.drop();
      throw error;
    }
    this.#throwIfFailed();
    this.#commands.submit();
  }

  /** Resolves when everything appended so far has been executed. */
  async finish(): Promise<void> {
    await this.flush();
    await this.#settle(this.device.queue.onSubmittedWorkDone());
  }

  /**
   * Bytes of several ranges, in one readback, after everything appended so far.
   * @throws DeviceError when the runtime was disposed, or the device has failed
   */
  async read(ranges: readonly BufferRange[]): Promise<ArrayBuffer[]> {
    if (this.#disposed) {
      throw new DeviceError(
        "[device] read after the end: got a runtime that was disposed, expected a living one. Read before dispose().",
      );
    }
    return this.#readback.read(
      ranges,
      () => this.flush(),
      (work) => this.#settle(work),
    );
  }

  /** Frees recyclable memory on the device. */
  async trim(): Promise<void> {
    await this.finish();
    if (this.buffers.trim().length > 0) this.#commands.forgetBindGroups();
  }

  /** Waits for the GPU and destroys the device. Safe to call twice. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#commands.drop();
    if (!this.#failure) await this.device.queue.onSubmittedWorkDone().catch(() => {});
    this.profiler.destroy();
    this.#readback.destroy();
    this.buffers.destroy();
    this.#commands.destroy();
    // a device that somebody listens to is never freed, nor are the threads of its driver
    this.device.removeEventListener("uncapturederror", this.#onError);
    this.device.destroy();
  }

  /** Waits for a promise of the device. @throws DeviceError when it is rejected, or the device has failed by then */
  async #settle(work: Promise<unknown>): Promise<void> {
    try {
      await this.wait(work);
    } catch (error) {
      // a lost device rejects what was pending; its own reason arrives with device.lost
      await Promise.resolve();
      throw (
        this.#failure ?? new DeviceError(`[device] ${(error as Error).message}. Run \`uncouple doctor\`.`)
      );
    }
    this.#throwIfFailed();
  }

  #fail(message: string): void {
    if (this.#failure) return;
    this.#failure = new DeviceError(
      `[device] ${message.trim()}. Try a smaller batch or another adapter; see \`uncouple doctor\`.`,
    );
    this.logger?.warn(this.#failure.message);
  }

  #throwIfFailed(): void {
    if (this.#failure) throw this.#failure;
  }
}

export type {
  Access,
  Beside,
  BufferRange,
  Dispatch,
  KernelFacts,
  MatmulPrecision,
  PipelineEntry,
  Tuning,
  Wait,
};
export { SCALAR_BYTES };
