/** GPU time of each kernel by timestamp queries, one compute pass a dispatch while it is on. */

/** Time spent in one kernel. */
export interface KernelTime {
  readonly label: string;
  readonly nanoseconds: number;
}

const CAPACITY = 2048;

/** Off unless `start` was called; needs the `timestamp-query` feature and quantisation switched off in Dawn. */
export class Profiler {
  #labels: string[] | undefined;
  #resolved = 0;
  #querySet: GPUQuerySet | undefined;
  #times: GPUBuffer | undefined;

  constructor(readonly device: GPUDevice) {}

  get available(): boolean {
    return this.device.features.has("timestamp-query");
  }

  /** Begins to time every dispatch, up to 2,048 of them. */
  start(): void {
    this.#querySet ??= this.device.createQuerySet({
      type: "timestamp",
      count: 2 * CAPACITY,
      label: "profiler",
    });
    this.#times ??= this.device.createBuffer({
      size: 16 * CAPACITY,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
      label: "profiler",
    });
    this.#labels = [];
    this.#resolved = 0;
  }

  /** For the runtime: where the next dispatch writes its times, or undefined while off or full. */
  next(label: string): GPUComputePassTimestampWrites | undefined {
    if (!this.#labels || this.#labels.length >= CAPACITY || !this.#querySet) return undefined;
    const index = this.#labels.length;
    this.#labels.push(label);
    return {
      querySet: this.#querySet,
      beginningOfPassWriteIndex: 2 * index,
      endOfPassWriteIndex: 2 * index + 1,
    };
  }

  /** For the runtime: resolves the queries written since the last call into the times buffer. */
  resolve(encoder: GPUCommandEncoder): void {
    if (!this.#labels || !this.#querySet || !this.#times) return;
    const count = this.#labels.length - this.#resolved;
    if (count === 0) return;
    // resolve offsets must be multiples of 256, so all queries since the start are resolved again
    encoder.resolveQuerySet(this.#querySet, 0, 2 * this.#labels.length, this.#times, 0);
    this.#resolved = this.#labels.length;
  }

  /** Stops and returns the times of every dispatch since `start`, in order. The runtime must have been finished. */
  async stop(): Promise<KernelTime[]> {
    const labels = this.#labels ?? [];
    this.#labels = undefined;
    if (labels.length === 0 || !this.#times) return [];
    const bytes = 16 * labels.length;
    const staging = this.device.createBuffer({
      size: bytes,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(this.#times, 0, staging, 0, bytes);
    this.device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const ticks = new BigUint64Array(staging.getMappedRange().slice(0));
    staging.destroy();
    return labels.map((label, index) => ({
      label,
      nanoseconds: Number((ticks[2 * index + 1] as bigint) - (ticks[2 * index] as bigint)),
    }));
  }

  destroy(): void {
    this.#querySet?.destroy();
    this.#times?.destroy();
  }
}
