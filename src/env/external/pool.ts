/** Keeps what is slow to start: processes of worlds, started when first needed and used again. */
import { WorldError } from "../../core/errors.js";
import type { Running, Source } from "./session.js";

/**
 * Hands out running things one at a time. It sets no limit of its own: as many run as are in use at once, and at most
 * `kept` wait for their next use.
 */
export class Pool<T extends Running> implements Source<T> {
  readonly #idle: T[] = [];
  readonly #used = new Set<T>();
  #closed = false;

  /** @param start starts one
   *  @param kept most that stay idle */
  constructor(
    readonly start: () => Promise<T>,
    readonly kept: number,
  ) {}

  /** @throws WorldError when one cannot be started or the pool is closed */
  async acquire(): Promise<T> {
    let one = this.#idle.pop();
    while (one !== undefined && !one.alive) {
      await one.close();
      one = this.#idle.pop();
    }
    if (one === undefined) {
      this.#refuseClosed();
      one = await this.start();
      if (this.#closed) {
        await one.close();
        this.#refuseClosed();
      }
    }
    this.#used.add(one);
    return one;
  }

  async release(one: T): Promise<void> {
    this.#used.delete(one);
    if (one.alive && !this.#closed && this.#idle.length < this.kept) this.#idle.push(one);
    else await one.close();
  }

  async discard(one: T): Promise<void> {
    this.#used.delete(one);
    await one.close();
  }

  /** Ends all, those in use too. */
  async close(): Promise<void> {
    this.#closed = true;
    const all = [...this.#idle.splice(0), ...this.#used];
    this.#used.clear();
    await Promise.all(all.map((one) => one.close()));
  }

  #refuseClosed(): void {
    if (this.#closed)
      throw new WorldError(
        "[world] the world is closed: got a new episode, expected none. Open the world again.",
      );
  }
}
