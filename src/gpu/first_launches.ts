/**
 * First launches of pipelines, shared among devices. Mesa's lavapipe makes machine code of a pipeline when it is first launched,
 * in the one thread of its device, and keeps it in a cache on disk, where other devices of the process find it. So what a
 * command list needs for the first time is launched with no workgroups beforehand, on several devices at once.
 */
import { SCALAR_BYTES } from "./command_list.js";
import { openDevice } from "./device_facts.js";
import { PipelineCache, type PipelineEntry } from "./pipelines.js";

/** Resolves or rejects as `work` does. */
export type Wait = <T>(work: Promise<T>) => Promise<T>;

/** Devices that may be opened beside a runtime's own. */
export interface Beside {
  readonly devices: number;
  /** The runtime's adapter anew: an adapter makes one device. @returns undefined when it is not there any more */
  readonly open: () => Promise<GPUAdapter | undefined>;
}

/** Who launched how many pipelines, and whether the cache had the one that was tried first. */
export interface FirstLaunchReport {
  readonly own: number;
  readonly beside: number;
  readonly wasCached: boolean;
}

/** Pipelines that are new at once, below which devices are not opened. */
const FEWEST = 4;
/** Of a storage buffer that stands for any other; no kernel binds types of a fixed size above it. */
const STORAGE_BYTES = 4096;

/**
 * Whether a first launch found its machine code in the cache.
 * @param ms that it took: on lavapipe 2 to 15 with the code, without it 50 microseconds for each character and more
 * @param characters of its text
 */
export const isFromCache = (ms: number, characters: number): boolean => ms < 20 + 0.01 * characters;

export class FirstLaunches {
  #looked = 0;

  constructor(
    readonly pipelines: PipelineCache,
    readonly beside: Beside,
    readonly wait: Wait,
    readonly wasCached = isFromCache,
  ) {}

  /**
   * Launches all pipelines that are compiled since the last call, unless there are few of them or the cache has them; resolves
   * when that is done. What goes wrong beside the first device is left to the first device.
   */
  async share(): Promise<FirstLaunchReport> {
    const fresh = this.pipelines.since(this.#looked).filter(({ ready }) => ready);
    this.#looked = this.pipelines.size;
    if (fresh.length < FEWEST) return { own: 0, beside: 0, wasCached: true };
    // the longest first, so that none of them is left to the end; of those in the middle one is tried
    fresh.sort((a, b) => b.code.length - a.code.length);
    const [tried] = fresh.splice(fresh.length >> 1, 1);
    const start = performance.now();
    const launches = new EmptyLaunches(this.pipelines.device, this.wait);
    try {
      await launches.launch(tried);
      if (this.wasCached(performance.now() - start, tried.code.length))
        return { own: 1, beside: 0, wasCached: true };
      const counts = await Promise.all([
        this.#work(fresh, launches, async (entry) => entry),
        ...Array.from({ length: this.beside.devices }, () => this.#workBeside(fresh)),
      ]);
      const beside = counts.slice(1).reduce((total, count) => total + count, 0);
      return { own: 1 + counts[0], beside, wasCached: false };
    } finally {
      launches.destroy();
    }
  }

  /** Launches one entry after the other of a list that others take from, too. @returns how many */
  async #work(
    left: PipelineEntry[],
    launches: EmptyLaunches,
    onDevice: (entry: PipelineEntry) => Promise<PipelineEntry>,
  ): Promise<number> {
    let count = 0;
    for (let entry = left.shift(); entry; entry = left.shift()) {
      await launches.launch(await onDevice(entry));
      count++;
    }
    return count;
  }

  async #workBeside(left: PipelineEntry[]): Promise<number> {
    let device: GPUDevice | undefined;
    try {
      const adapter = await this.beside.open();
      if (!adapter) return 0;
      device = await openDevice(adapter);
      // an error there takes nothing but time
      device.addEventListener("uncapturederror", preventDefault);
      const pipelines = new PipelineCache(device);
      return await this.#work(
        left,
        new EmptyLaunches(device, this.wait),
        async ({ label, code, accesses }) => {
          const entry = pipelines.get(label, code, accesses);
          await this.wait(entry.compiled);
          return entry;
        },
      );
    } catch {
      return 0;
    } finally {
      // see Runtime.dispose
      device?.removeEventListener("uncapturederror", preventDefault);
      device?.destroy();
    }
  }
}

const preventDefault = (event: Event): void => event.preventDefault();

/** Launches pipelines with no workgroups, on buffers that stand for any others. */
class EmptyLaunches {
  readonly #scalars: GPUBuffer;
  /** Three zeros; a driver leaves out a launch of which the host says that it is empty. */
  readonly #workgroups: GPUBuffer;
  readonly #storage: GPUBuffer[] = [];

  constructor(
    readonly device: GPUDevice,
    readonly wait: Wait,
  ) {
    this.#scalars = device.createBuffer({ size: SCALAR_BYTES, usage: GPUBufferUsage.UNIFORM });
    this.#workgroups = device.createBuffer({ size: 16, usage: GPUBufferUsage.INDIRECT });
  }

  /** Resolves when it is executed. */
  async launch({ ready, layout, accesses }: PipelineEntry): Promise<void> {
    if (!ready) return;
    const { device } = this;
    // nothing that is wrong here may end the work of a device
    device.pushErrorScope("validation");
    while (this.#storage.length < accesses.length)
      this.#storage.push(device.createBuffer({ size: STORAGE_BYTES, usage: GPUBufferUsage.STORAGE }));
    const buffers = accesses.map((_, index) => this.#storage[index]);
    const entries = [
      { binding: 0, resource: { buffer: this.#scalars, size: SCALAR_BYTES } },
      ...buffers.map((buffer, index) => ({ binding: index + 1, resource: { buffer } })),
    ];
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(ready);
    pass.setBindGroup(0, device.createBindGroup({ layout, entries }), [0]);
    pass.dispatchWorkgroupsIndirect(this.#workgroups, 0);
    pass.end();
    device.queue.submit([encoder.finish()]);
    device.popErrorScope().catch(() => {});
    await this.wait(device.queue.onSubmittedWorkDone());
  }

  destroy(): void {
    for (const buffer of [this.#scalars, this.#workgroups, ...this.#storage]) buffer.destroy();
  }
}
