/** Compute pipelines, compiled asynchronously and cached by source text; compile errors carry op, entry and source line. */
import { DeviceError } from "../core/errors.js";

/** What a pipeline binds besides its uniform scalars at binding 0: storage buffers at bindings 1, 2, ... */
export type Access = "read" | "write";

/** A pipeline that may still be compiling. `ready` is undefined until `compiled` has resolved. */
export interface PipelineEntry {
  readonly id: number;
  readonly label: string;
  readonly layout: GPUBindGroupLayout;
  readonly code: string;
  readonly accesses: readonly Access[];
  readonly compiled: Promise<void>;
  ready: GPUComputePipeline | undefined;
}

/** Caches pipelines by (code, accesses). All of them start compiling at once when first asked for. */
export class PipelineCache {
  readonly #entries = new Map<string, PipelineEntry>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();

  constructor(readonly device: GPUDevice) {}

  get size(): number {
    return this.#entries.size;
  }

  /** Entries but the first ones, in the order in which they were asked for. */
  since(count: number): PipelineEntry[] {
    return [...this.#entries.values()].slice(count);
  }

  /**
   * @param label `op.entry`, named in errors and profiles
   * @param code full WGSL with entry point `main`
   * @param accesses storage bindings in order
   */
  get(label: string, code: string, accesses: readonly Access[]): PipelineEntry {
    const key = `${accesses.join(",")}\n${code}`;
    const known = this.#entries.get(key);
    if (known) return known;
    const layout = this.#layout(accesses);
    // what is wrong with the text is told by the pipeline's failure, with op and line; the device itself is well
    this.device.pushErrorScope("validation");
    const module = this.device.createShaderModule({ code, label });
    void this.device.popErrorScope().catch(() => {});
    const entry: PipelineEntry = {
      id: this.#entries.size,
      label,
      layout,
      code,
      accesses,
      ready: undefined,
      compiled: this.#compile(label, code, module, layout).then((pipeline) => {
        entry.ready = pipeline;
      }),
    };
    // awaited at the next flush; without this an early failure would be an unhandled rejection
    entry.compiled.catch(() => {});
    this.#entries.set(key, entry);
    return entry;
  }

  async #compile(
    label: string,
    code: string,
    module: GPUShaderModule,
    layout: GPUBindGroupLayout,
  ): Promise<GPUComputePipeline> {
    try {
      return await this.device.createComputePipelineAsync({
        label,
        layout: this.device.createPipelineLayout({ bindGroupLayouts: [layout], label }),
        compute: { module, entryPoint: "main" },
      });
    } catch (error) {
      const info = await module.getCompilationInfo();
      const first = info.messages.find((message) => message.type === "error");
      const line = first ? code.split("\n")[first.lineNum - 1]?.trim() : undefined;
      const detail = first
        ? `line ${first.lineNum}: ${first.message} in \`${line}\``
        : String((error as Error).message ?? error);
      throw new DeviceError(
        `[${label}] the shader did not compile: ${detail}. Report this with the output of \`uncouple doctor\`.`,
      );
    }
  }

  #layout(accesses: readonly Access[]): GPUBindGroupLayout {
    const key = accesses.join(",");
    const known = this.#layouts.get(key);
    if (known) return known;
    const visibility = GPUShaderStage.COMPUTE;
    const entries: GPUBindGroupLayoutEntry[] = [
      { binding: 0, visibility, buffer: { type: "uniform", hasDynamicOffset: true } },
    ];
    accesses.forEach((access, index) => {
      entries.push({
        binding: index + 1,
        visibility,
        buffer: { type: access === "read" ? "read-only-storage" : "storage" },
      });
    });
    const layout = this.device.createBindGroupLayout({ entries, label: key });
    this.#layouts.set(key, layout);
    return layout;
  }
}
