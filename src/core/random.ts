/** Seeded randomness on the host: xoroshiro128+ (pure-rand) behind a small class whose state can be saved. */
import { uniformFloat64 } from "pure-rand/distribution/uniformFloat64";
import { uniformInt } from "pure-rand/distribution/uniformInt";
import { xoroshiro128plus, xoroshiro128plusFromState } from "pure-rand/generator/xoroshiro128plus";
import { hashText } from "./hash.js";

/** A seeded stream of random numbers. The same seed gives the same stream on every machine. */
export class Random {
  #generator: ReturnType<typeof xoroshiro128plus>;
  #spare: number | undefined;

  /** @param seed integer or the `state` of another stream */
  constructor(seed: number | readonly number[]) {
    this.#generator = typeof seed === "number" ? xoroshiro128plus(seed | 0) : xoroshiro128plusFromState(seed);
  }

  /** An independent stream named by a label: the same seed and label always give the same stream. */
  static of(seed: number, ...labels: (string | number)[]): Random {
    return new Random(hashText([seed, ...labels].join("\u0001")) | 0);
  }

  /** Generator words; `new Random(state)` goes on exactly here (a pending half of a `normal()` pair is dropped). */
  get state(): readonly number[] {
    return this.#generator.getState();
  }

  /** Uniform in [0, 1), 53 bits. */
  uniform(): number {
    return uniformFloat64(this.#generator);
  }

  /** Uniform integer in [0, count). */
  integer(count: number): number {
    return uniformInt(this.#generator, 0, count - 1);
  }

  /** Standard normal (Box-Muller). */
  normal(): number {
    if (this.#spare !== undefined) {
      const value = this.#spare;
      this.#spare = undefined;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.#spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** One item, each equally likely. */
  pick<T>(items: readonly T[]): T {
    return items[this.integer(items.length)] as T;
  }

  /** A shuffled copy. */
  shuffle<T>(items: readonly T[]): T[] {
    const result = items.slice();
    for (let i = result.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [result[i], result[j]] = [result[j] as T, result[i] as T];
    }
    return result;
  }
}
