/** The device and everything that touches it: command list, buffers, pipelines, bind groups, readback, timing, errors. */
import { ArgumentError, DeviceError } from "../core/errors.js";
import type { Logger } from "../core/logger.js";
import { BufferPool, type GpuBuffer } from "./buffers.js";
import { type Access, PipelineCache, type PipelineEntry } from "./pipelines.js";
import { Profiler } from "./profiler.js";

/** A range of a buffer. */
export interface BufferRange {
  readonly buffer: GpuBuffer;
  /** Byte offset, a multiple of the device's storage offset alignment when bound to a kernel. */
  readonly offset: number;
  readonly bytes: number;
}

/** One kernel launch. */
export interface Dispatch {
  readonly pipeline: PipelineEntry;
  readonly bindings: readonly BufferRange[];
  /** Uniform scalars, little endian words; at most `SCALAR_BYTES`. */
  readonly scalars: Uint32Array;
  readonly workgroups: number;
}

type Command =
  | { readonly kind: "dispatch"; readonly dispatch: Dispatch }
  | { readonly kind: "copy"; readonly from: BufferRange; readonly to: BufferRange }
  | { readonly kind: "clear"; readonly range: BufferRange }
  | { readonly kind: "upload"; readonly to: BufferRange; readonly data: Uint8Array<ArrayBuffer> };

/** Facts about the adapter that kernels choose variants by. */
export interface DeviceFacts {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** Runs on the CPU (lavapipe, SwiftShader): kernels use register tiles and no barriers. */
  readonly isSoftware: boolean;
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  readonly features: ReadonlySet<string>;
  readonly maxBindingBytes: number;
  readonly maxWorkgroupInvocations: number;
  readonly maxWorkgroupBytes: number;
  readonly maxStorageBuffers: number;
  readonly storageOffsetAlignment: number;
}

/** Largest uniform block of one dispatch in bytes. */
export const SCALAR_BYTES = 256;
const MAX_WORKGROUPS = 65_535;
const DISPATCHES_PER_SUBMIT = 1024;

const WANTED_FEATURES: readonly string[] = [
  "shader-f16",
  "subgroups",
  "subgroup-size-control",
  "timestamp-query",
  "chromium-experimental-subgroup-matrix",
];
const WANTED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
] as const;

export interface RuntimeOptions {
  readonly logger?: Logger;
  /** Overrides for tests, for example to run the GPU kernel family on a software adapter. */
  readonly facts?: Partial<DeviceFacts>;
}

/**
 * Owns a GPUDevice. Kernels are appended to a command list and reach the GPU at `flush` or `read`; pipelines that the
 * list needs compile in parallel meanwhile. Work is executed in the order of the calls, uploads included.
 */
export class Runtime {
  readonly buffers: BufferPool;
  readonly pipelines: PipelineCache;
  readonly profiler: Profiler;
  #commands: Command[] = [];
  #listSerial = 0;
  #bindGroups = new Map<string, GPUBindGroup>();
  #bindGroupsCreated = 0;
  #submits = 0;
  #dispatches = 0;
  #staging: GPUBuffer | undefined;
  #stagingBusy = false;
  #failure: DeviceError | undefined;
  #disposed = false;
  readonly #arena: GPUBuffer;
  readonly #arenaWords: Uint32Array<ArrayBuffer>;
  readonly #slotBytes: number;

  private constructor(
    /** Held because a device whose GPU object is garbage collected crashes in Dawn. */
    readonly gpu: GPU,
    readonly device: GPUDevice,
    readonly facts: DeviceFacts,
    readonly logger: Logger | undefined,
  ) {
    this.buffers = new BufferPool(device, facts.maxBindingBytes);
    this.pipelines = new PipelineCache(device);
    this.profiler = new Profiler(device);
    const alignment = device.limits.minUniformBufferOffsetAlignment;
    this.#slotBytes = Math.ceil(SCALAR_BYTES / alignment) * alignment;
    const arenaBytes = this.#slotBytes * DISPATCHES_PER_SUBMIT;
    this.#arena = device.createBuffer({
      size: arenaBytes,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
      label: "scalars",
    });
    this.#arenaWords = new Uint32Array(arenaBytes / 4);
    device.addEventListener("uncapturederror", (event) => {
      this.#fail(`GPU error: ${(event as GPUUncapturedErrorEvent).error.message}`);
    });
    void device.lost.then((lost) => {
      if (!this.#disposed) this.#fail(`the GPU device was lost (${lost.reason}): ${lost.message}`);
    });
  }

  /**
   * Opens a device with every useful feature and limit the adapter offers.
   * @throws DeviceError when the adapter refuses
   */
  static async create(
    { gpu, adapter }: { readonly gpu: GPU; readonly adapter: GPUAdapter },
    options: RuntimeOptions = {},
  ): Promise<Runtime> {
    const requiredFeatures = WANTED_FEATURES.filter((name) => adapter.features.has(name)) as GPUFeatureName[];
    const requiredLimits: Record<string, number> = {};
    for (const name of WANTED_LIMITS) requiredLimits[name] = adapter.limits[name];
    let device: GPUDevice;
    try {
      device = await adapter.requestDevice({ requiredFeatures, requiredLimits, label: "uncouple" });
    } catch (error) {
      throw new DeviceError(
        `[device] the adapter refused a device: ${(error as Error).message}. Run \`uncouple doctor\`.`,
      );
    }
    return new Runtime(gpu, device, { ...deviceFacts(adapter, device), ...options.facts }, options.logger);
  }

  /** Counters for tests and the progress line. */
  get counters(): { submits: number; dispatches: number; bindGroupsCreated: number; pipelines: number } {
    return {
      submits: this.#submits,
      dispatches: this.#dispatches,
      bindGroupsCreated: this.#bindGroupsCreated,
      pipelines: this.pipelines.size,
    };
  }

  /** Appends a kernel launch. */
  dispatch(dispatch: Dispatch): void {
    if (dispatch.workgroups <= 0) return;
    for (const range of dispatch.bindings) range.buffer.lastUse = this.#listSerial;
    this.#commands.push({ kind: "dispatch", dispatch });
  }

  /** Appends a copy of `to.bytes` bytes. */
  copy(from: BufferRange, to: BufferRange): void {
    from.buffer.lastUse = this.#listSerial;
    to.buffer.lastUse = this.#listSerial;
    this.#commands.push({ kind: "copy", from, to });
  }

  /** Appends filling a range with zero bytes. */
  clear(range: BufferRange): void {
    range.buffer.lastUse = this.#listSerial;
    this.#commands.push({ kind: "clear", range });
  }

  /** Writes host data before everything appended after this call and after everything appended before it. */
  upload(to: BufferRange, data: ArrayBufferView<ArrayBufferLike>): void {
    this.#throwIfFailed();
    if (data.byteLength > to.bytes || data.byteLength % 4 !== 0) {
      throw new ArgumentError(
        `[upload] ${data.byteLength} bytes do not fit a range of ${to.bytes}, or are not whole words.`,
      );
    }
    if (to.buffer.lastUse === this.#listSerial) {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      this.#commands.push({ kind: "upload", to, data: bytes.slice() });
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
   * Sends everything appended so far to the GPU; resolves once it is submitted (not executed).
   * @throws DeviceError for shader, validation, memory and device failures, naming op and entry
   */
  async flush(): Promise<void> {
    await this.#compilePending();
    this.#throwIfFailed();
    this.#submitPending();
  }

  /** Resolves when everything appended so far has been executed. */
  async finish(): Promise<void> {
    await this.flush();
    await this.#orFailure(this.device.queue.onSubmittedWorkDone());
    this.#throwIfFailed();
  }

  /** Bytes of several ranges, in one readback, after everything appended so far. */
  async read(ranges: readonly BufferRange[]): Promise<ArrayBuffer[]> {
    const total = ranges.reduce((sum, range) => sum + alignWord(range.bytes), 0);
    if (total === 0) return ranges.map(() => new ArrayBuffer(0));
    const staging = this.#takeStaging(total);
    await this.flush();
    const encoder = this.device.createCommandEncoder({ label: "readback" });
    let at = 0;
    for (const range of ranges) {
      if (range.bytes > 0)
        encoder.copyBufferToBuffer(range.buffer.raw, range.offset, staging, at, alignWord(range.bytes));
      at += alignWord(range.bytes);
    }
    this.device.queue.submit([encoder.finish()]);
    await this.#orFailure(staging.mapAsync(GPUMapMode.READ, 0, total));
    this.#throwIfFailed();
    const mapped = staging.getMappedRange(0, total);
    at = 0;
    const results = ranges.map((range) => {
      const bytes = mapped.slice(at, at + range.bytes);
      at += alignWord(range.bytes);
      return bytes;
    });
    staging.unmap();
    this.#giveStaging(staging);
    return results;
  }

  /** Frees recyclable memory on the device. */
  async trim(): Promise<void> {
    await this.finish();
    if (this.buffers.trim().length > 0) this.#bindGroups.clear();
  }

  /** Waits for the GPU and destroys the device. Safe to call twice. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#commands = [];
    if (!this.#failure) await this.device.queue.onSubmittedWorkDone().catch(() => {});
    this.profiler.destroy();
    this.#staging?.destroy();
    this.buffers.destroy();
    this.#arena.destroy();
    this.device.destroy();
  }

  async #compilePending(): Promise<void> {
    const waiting = new Set<Promise<void>>();
    for (const command of this.#commands) {
      if (command.kind === "dispatch" && !command.dispatch.pipeline.ready)
        waiting.add(command.dispatch.pipeline.compiled);
    }
    if (waiting.size > 0) await Promise.all(waiting);
  }

  /** Encodes and submits the command list; every pipeline in it must be compiled. Uploads split it into several submits. */
  #submitPending(): void {
    const commands = this.#commands;
    this.#commands = [];
    this.#listSerial++;
    let start = 0;
    for (let end = 0; end <= commands.length; end++) {
      const command = commands[end];
      if (command && command.kind !== "upload" && end - start < DISPATCHES_PER_SUBMIT) continue;
      if (end > start) this.#submit(commands.slice(start, end));
      start = end;
      if (command?.kind === "upload") {
        this.device.queue.writeBuffer(command.to.buffer.raw, command.to.offset, command.data);
        start = end + 1;
      }
    }
  }

  #submit(commands: readonly Command[]): void {
    const encoder = this.device.createCommandEncoder({ label: "commands" });
    let pass: GPUComputePassEncoder | undefined;
    let slot = 0;
    const endPass = () => {
      pass?.end();
      pass = undefined;
    };
    for (const command of commands) {
      if (command.kind === "dispatch") {
        const { dispatch } = command;
        const timestampWrites = this.profiler.next(dispatch.pipeline.label);
        if (timestampWrites) endPass();
        pass ??= encoder.beginComputePass({ label: dispatch.pipeline.label, timestampWrites });
        this.#encode(pass, dispatch, slot++);
        if (timestampWrites) endPass();
      } else if (command.kind === "copy") {
        endPass();
        const { from, to } = command;
        encoder.copyBufferToBuffer(
          from.buffer.raw,
          from.offset,
          to.buffer.raw,
          to.offset,
          alignWord(to.bytes),
        );
      } else if (command.kind === "clear") {
        endPass();
        encoder.clearBuffer(command.range.buffer.raw, command.range.offset, alignWord(command.range.bytes));
      }
    }
    endPass();
    if (slot > 0)
      this.device.queue.writeBuffer(this.#arena, 0, this.#arenaWords, 0, (slot * this.#slotBytes) / 4);
    this.profiler.resolve(encoder);
    this.device.queue.submit([encoder.finish()]);
    this.#submits++;
  }

  #encode(pass: GPUComputePassEncoder, dispatch: Dispatch, slot: number): void {
    const { pipeline, scalars, workgroups } = dispatch;
    if (!pipeline.ready) {
      throw new DeviceError(
        `[${pipeline.label}] used before it was compiled. Await \`flush()\` before uploading into a pending tensor.`,
      );
    }
    this.#arenaWords.set(scalars, (slot * this.#slotBytes) / 4);
    pass.setPipeline(pipeline.ready);
    pass.setBindGroup(0, this.#bindGroup(dispatch), [slot * this.#slotBytes]);
    if (workgroups <= MAX_WORKGROUPS) {
      pass.dispatchWorkgroups(workgroups);
    } else {
      // shaders rebuild the flat index and skip the surplus of the last row
      const rows = Math.ceil(workgroups / MAX_WORKGROUPS);
      pass.dispatchWorkgroups(Math.ceil(workgroups / rows), rows);
    }
    this.#dispatches++;
  }

  #bindGroup(dispatch: Dispatch): GPUBindGroup {
    let key = `${dispatch.pipeline.id}`;
    for (const range of dispatch.bindings) key += `,${range.buffer.id}+${range.offset}:${range.bytes}`;
    const known = this.#bindGroups.get(key);
    if (known) return known;
    const entries: GPUBindGroupEntry[] = [
      { binding: 0, resource: { buffer: this.#arena, size: SCALAR_BYTES } },
    ];
    dispatch.bindings.forEach((range, index) => {
      entries.push({
        binding: index + 1,
        resource: { buffer: range.buffer.raw, offset: range.offset, size: alignWord(range.bytes) },
      });
    });
    const group = this.device.createBindGroup({
      layout: dispatch.pipeline.layout,
      entries,
      label: dispatch.pipeline.label,
    });
    this.#bindGroups.set(key, group);
    this.#bindGroupsCreated++;
    return group;
  }

  #takeStaging(bytes: number): GPUBuffer {
    if (this.#staging && !this.#stagingBusy && this.#staging.size >= bytes) {
      this.#stagingBusy = true;
      return this.#staging;
    }
    const size = Math.max(65_536, 2 ** Math.ceil(Math.log2(bytes)));
    return this.device.createBuffer({
      size,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      label: "staging",
    });
  }

  #giveStaging(staging: GPUBuffer): void {
    if (staging === this.#staging) {
      this.#stagingBusy = false;
    } else if (!this.#staging || (!this.#stagingBusy && staging.size > this.#staging.size)) {
      this.#staging?.destroy();
      this.#staging = staging;
      this.#stagingBusy = false;
    } else {
      staging.destroy();
    }
  }

  async #orFailure(work: Promise<unknown>): Promise<void> {
    try {
      await work;
    } catch (error) {
      // a lost device rejects what was pending; its own reason arrives with device.lost
      await Promise.resolve();
      throw (
        this.#failure ?? new DeviceError(`[device] ${(error as Error).message}. Run \`uncouple doctor\`.`)
      );
    }
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

function alignWord(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

function deviceFacts(adapter: GPUAdapter, device: GPUDevice): DeviceFacts {
  const info = adapter.info as GPUAdapterInfo & { subgroupMinSize: number; subgroupMaxSize: number };
  const text = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`.toLowerCase();
  return {
    vendor: info.vendor,
    architecture: info.architecture,
    device: info.device,
    description: info.description,
    isSoftware: /llvmpipe|lavapipe|swiftshader|basic render|warp/.test(text),
    subgroupMinSize: device.features.has("subgroups") ? info.subgroupMinSize : 0,
    subgroupMaxSize: device.features.has("subgroups") ? info.subgroupMaxSize : 0,
    features: new Set(device.features as unknown as Iterable<string>),
    maxBindingBytes: Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize),
    maxWorkgroupInvocations: device.limits.maxComputeInvocationsPerWorkgroup,
    maxWorkgroupBytes: device.limits.maxComputeWorkgroupStorageSize,
    maxStorageBuffers: device.limits.maxStorageBuffersPerShaderStage,
    storageOffsetAlignment: device.limits.minStorageBufferOffsetAlignment,
  };
}

export type { Access, PipelineEntry };
