/** Brings requests of episodes that are ready into one batch for the sampler. */
import type { Timer } from "../../core/timer.js";
import type { Generation, GenerationRequest, SamplingOptions } from "../../model/generate.js";
import type { ActionSampler } from "./sampler.js";

/** How long the first request of a batch waits for others. */
export interface Patience {
  readonly milliseconds: number;
  readonly timer: Timer;
}

interface Waiting {
  /** Requests of a batch are in ascending order of it, however they came in. */
  readonly order: number;
  readonly request: GenerationRequest;
  resolve(generation: Generation): void;
  reject(error: unknown): void;
}

/**
 * A batch begins when every running episode waits for one: episodes play in step, and batches are the same in every run. With
 * patience it begins without those that have not come when that ends; they join a later one. One batch runs at a time.
 */
export class Batching {
  readonly #waiting: Waiting[] = [];
  #players = 0;
  #isBusy = false;
  #callOff: (() => void) | undefined;

  /** @param patience absent: batches wait for every running episode */
  constructor(
    readonly sampler: ActionSampler,
    readonly options: SamplingOptions,
    readonly patience?: Patience,
  ) {}

  /** One more that will ask, again and again, until `leave`. */
  join(): void {
    this.#players++;
  }

  leave(): void {
    this.#players--;
    this.#consider();
  }

  /** @throws what the sampler throws */
  ask(order: number, request: GenerationRequest): Promise<Generation> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ order, request, resolve, reject });
      this.#consider();
    });
  }

  #consider(): void {
    if (this.#isBusy || this.#waiting.length === 0) return;
    if (this.#waiting.length >= this.#players) void this.#run();
    else if (this.patience) {
      this.#callOff ??= this.patience.timer(this.patience.milliseconds, () => void this.#run());
    }
  }

  async #run(): Promise<void> {
    this.#callOff?.();
    this.#callOff = undefined;
    this.#isBusy = true;
    const batch = this.#waiting.splice(0).sort((a, b) => a.order - b.order);
    try {
      const generations = await this.sampler.generate(
        batch.map(({ request }) => request),
        this.options,
      );
      batch.forEach(({ resolve }, index) => {
        resolve(generations[index]);
      });
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
    this.#isBusy = false;
    this.#consider();
  }
}
