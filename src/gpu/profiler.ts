/** GPU time of each dispatch by timestamp queries, one compute pass a dispatch while it is on. */

/** A kernel of a dispatch, as profiles name it. */
export interface LaunchedKernel {
  readonly op: string;
  readonly entry: string;
  /** Sizes and scalar arguments by name. */
  readonly sizes: Readonly<Record<string, number>>;
  /** What it is launched for: one object for all kernels of one application of an op. Absent for kernels of no op. */
  readonly application?: OpApplication | undefined;
}

/** One direction of an op at certain sizes. */
export interface OpApplication {
  readonly op: string;
  readonly direction: "forward" | "backward";
  readonly sizes: Readonly<Record<string, number>>;
}

/** What was dispatched: the kernels that share the dispatch, and the bytes of all arrays bound to it. */
export interface ProfiledDispatch {
  readonly label: string;
  readonly kernels: readonly LaunchedKernel[];
  readonly bytes: number;
}

/** Time spent in one dispatch. */
export interface KernelTime extends ProfiledDispatch {
  readonly nanoseconds: number;
}

/** Dispatches of one query set; WebGPU allows 4,096 queries in one, two for each dispatch. */
const CAPACITY = 2048;
const QUERY_BYTES = 8;

/** Queries of up to 2,048 dispatches, and where they are resolved to. */
interface Queries {
  readonly set: GPUQuerySet;
  readonly times: GPUBuffer;
  resolved: number;
}

/** Off unless `start` was called; needs the `timestamp-query` feature and quantisation switched off in Dawn. */
export class Profiler {
  #dispatches: ProfiledDispatch[] | undefined;
  readonly #queries: Queries[] = [];

  constructor(readonly device: GPUDevice) {}

  get available(): boolean {
    return this.device.features.has("timestamp-query");
  }

  /** Begins to time every dispatch. */
  start(): void {
    this.#dispatches = [];
    for (const queries of this.#queries) queries.resolved = 0;
  }

  /** For the runtime: where the next dispatch writes its times, or undefined while off. @param describe called while on */
  next(describe: () => ProfiledDispatch): GPUComputePassTimestampWrites | undefined {
    if (!this.#dispatches) return undefined;
    const index = this.#dispatches.length;
    this.#dispatches.push(describe());
    const place = Math.floor(index / CAPACITY);
    if (place === this.#queries.length) this.#queries.push(this.#makeQueries());
    const first = 2 * (index % CAPACITY);
    return {
      querySet: (this.#queries[place] as Queries).set,
      beginningOfPassWriteIndex: first,
      endOfPassWriteIndex: first + 1,
    };
  }

  /** For the runtime: resolves the queries written since the last call into the times buffers. */
  resolve(encoder: GPUCommandEncoder): void {
    if (!this.#dispatches) return;
    for (const [queries, count] of this.#used(this.#dispatches.length)) {
      if (count === queries.resolved) continue;
      // resolve offsets must be multiples of 256, so all queries of the set are resolved again
      encoder.resolveQuerySet(queries.set, 0, 2 * count, queries.times, 0);
      queries.resolved = count;
    }
  }

  /** Stops and returns the times of every dispatch since `start`, in order. The runtime must have been finished. */
  async stop(): Promise<KernelTime[]> {
    const dispatches = this.#dispatches ?? [];
    this.#dispatches = undefined;
    const ticks: bigint[] = [];
    for (const [{ times }, count] of this.#used(dispatches.length))
      ticks.push(...(await this.#read(times, 2 * count)));
    return dispatches.map((dispatch, index) => ({
      ...dispatch,
      nanoseconds: Number((ticks[2 * index + 1] as bigint) - (ticks[2 * index] as bigint)),
    }));
  }

  destroy(): void {
    for (const { set, times } of this.#queries.splice(0)) {
      set.destroy();
      times.destroy();
    }
  }

  /** Query sets that a number of dispatches fills, and how many of them each holds. */
  #used(dispatches: number): [Queries, number][] {
    return this.#queries.flatMap((queries, place): [Queries, number][] => {
      const count = Math.min(CAPACITY, dispatches - place * CAPACITY);
      return count > 0 ? [[queries, count]] : [];
    });
  }

  #makeQueries(): Queries {
    const label = "profiler";
    return {
      set: this.device.createQuerySet({ type: "timestamp", count: 2 * CAPACITY, label }),
      times: this.device.createBuffer({
        size: 2 * CAPACITY * QUERY_BYTES,
        usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
        label,
      }),
      resolved: 0,
    };
  }

  async #read(times: GPUBuffer, count: number): Promise<BigUint64Array> {
    const size = count * QUERY_BYTES;
    const staging = this.device.createBuffer({
      size,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(times, 0, staging, 0, size);
    this.device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const ticks = new BigUint64Array(staging.getMappedRange().slice(0));
    staging.destroy();
    return ticks;
  }
}
