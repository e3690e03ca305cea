/** Work for the GPU in the order of the calls: collected, then encoded and submitted at once. */
import { DeviceError } from "../core/errors.js";
import { alignWord, type BufferRange, type GpuBuffer } from "./buffers.js";
import type { PipelineEntry } from "./pipelines.js";
import type { LaunchedKernel, Profiler } from "./profiler.js";

/** One launch, of one kernel or of several that share it. */
export interface Dispatch {
  readonly pipeline: PipelineEntry;
  readonly bindings: readonly BufferRange[];
  /** Uniform scalars, little endian words; at most `SCALAR_BYTES`. */
  readonly scalars: Uint32Array;
  readonly workgroups: number;
  /** What it consists of, for profiles. */
  readonly kernels?: readonly LaunchedKernel[];
}

type Command =
  | { readonly kind: "dispatch"; readonly dispatch: Dispatch }
  | { readonly kind: "copy"; readonly from: BufferRange; readonly to: BufferRange }
  | { readonly kind: "clear"; readonly range: BufferRange }
  | { readonly kind: "upload"; readonly to: BufferRange; readonly data: Uint8Array<ArrayBuffer> };

/** Largest uniform block of one dispatch in bytes. */
export const SCALAR_BYTES = 256;
const MAX_WORKGROUPS = 65_535;
const DISPATCHES_PER_SUBMIT = 1024;
/** Bind groups kept; more than the steps of a training ever use, so that sizes without end do not fill the memory. */
const MOST_BIND_GROUPS = 20_000;

/** Owns the uniform buffer of all dispatches and the cached bind groups. */
export class CommandList {
  #commands: Command[] = [];
  #serial = 0;
  #bindGroups = new Map<string, GPUBindGroup>();
  #bindGroupsCreated = 0;
  #submits = 0;
  #dispatches = 0;
  readonly #arena: GPUBuffer;
  readonly #arenaWords: Uint32Array<ArrayBuffer>;
  readonly #slotBytes: number;

  constructor(
    readonly device: GPUDevice,
    readonly profiler: Profiler,
  ) {
    const alignment = device.limits.minUniformBufferOffsetAlignment;
    this.#slotBytes = Math.ceil(SCALAR_BYTES / alignment) * alignment;
    const arenaBytes = this.#slotBytes * DISPATCHES_PER_SUBMIT;
    this.#arena = device.createBuffer({
      size: arenaBytes,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
      label: "scalars",
    });
    this.#arenaWords = new Uint32Array(arenaBytes / 4);
  }

  get counters(): { submits: number; dispatches: number; bindGroupsCreated: number } {
    return {
      submits: this.#submits,
      dispatches: this.#dispatches,
      bindGroupsCreated: this.#bindGroupsCreated,
    };
  }

  /** Whether something that was appended and not submitted yet uses a buffer. */
  uses(buffer: GpuBuffer): boolean {
    return buffer.lastUse === this.#serial;
  }

  dispatch(dispatch: Dispatch): void {
    if (dispatch.workgroups <= 0) return;
    for (const range of dispatch.bindings) range.buffer.lastUse = this.#serial;
    this.#commands.push({ kind: "dispatch", dispatch });
  }

  /** Copies `to.bytes` bytes. */
  copy(from: BufferRange, to: BufferRange): void {
    from.buffer.lastUse = this.#serial;
    to.buffer.lastUse = this.#serial;
    this.#commands.push({ kind: "copy", from, to });
  }

  /** Fills a range with zero bytes. */
  clear(range: BufferRange): void {
    range.buffer.lastUse = this.#serial;
    this.#commands.push({ kind: "clear", range });
  }

  /** Writes host data, which is kept until then. */
  upload(to: BufferRange, data: Uint8Array<ArrayBuffer>): void {
    this.#commands.push({ kind: "upload", to, data });
  }

  /** Appends what `body` appends, `times` times over. */
  repeat(times: number, body: () => void): void {
    const start = this.#commands.length;
    body();
    const added = this.#commands.slice(start);
    for (let time = 1; time < times; time++) this.#commands.push(...added);
  }

  /** Resolves when every pipeline of the list is compiled. @throws DeviceError of the first that cannot be */
  async compile(): Promise<void> {
    for (;;) {
      const waiting = new Set<Promise<void>>();
      for (const command of this.#commands) {
        if (command.kind === "dispatch" && !command.dispatch.pipeline.ready)
          waiting.add(command.dispatch.pipeline.compiled);
      }
      if (waiting.size === 0) return;
      // meanwhile others may append
      await Promise.all(waiting);
    }
  }

  /**
   * Encodes and submits the list, and begins a new one. Uploads split it into several submits.
   * @throws DeviceError when a pipeline in it is not compiled
   */
  submit(): void {
    const commands = this.#commands;
    this.#commands = [];
    this.#serial++;
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

  /** Forgets what was appended and not submitted. */
  drop(): void {
    this.#commands = [];
  }

  /** Forgets cached bind groups, after buffers were destroyed. */
  forgetBindGroups(): void {
    this.#bindGroups.clear();
  }

  destroy(): void {
    this.#arena.destroy();
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
        const timestampWrites = this.profiler.next(() => profiled(dispatch));
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
    for (const range of dispatch.bindings) key += keyOf(range);
    const known = this.#bindGroups.get(key);
    if (known) return known;
    if (this.#bindGroups.size >= MOST_BIND_GROUPS) this.forgetBindGroups();
    const entries: GPUBindGroupEntry[] = [
      { binding: 0, resource: { buffer: this.#arena, size: SCALAR_BYTES } },
    ];
    dispatch.bindings.forEach((range, index) => {
      entries.push({
        binding: index + 1,
        resource: { buffer: range.buffer.raw, offset: range.offset, size: boundBytes(range) },
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
}

const profiled = ({ pipeline: { label }, bindings, kernels = [] }: Dispatch) => ({
  label,
  kernels,
  bytes: bindings.reduce((sum, { bytes }) => sum + bytes, 0),
});

const boundBytes = ({ buffer, bytes, isWhole }: BufferRange): number =>
  isWhole ? buffer.bytes : alignWord(bytes);

function keyOf(range: BufferRange): string {
  if (range.isWhole) return range.buffer.key;
  range.key ??= `${range.buffer.key}+${range.offset}:${range.bytes}`;
  return range.key;
}
