/** Keys and values of earlier tokens: one slot a sequence, one pair of arrays a layer. */
import type { MatrixStorage } from "../autograd/parameter_slots.js";
import { Tensor } from "../autograd/tensor.js";
import { checkHalf, type KernelFacts } from "../gpu/device_facts.js";
import type { Launcher } from "../kernels/index.js";
import type { Qwen2Config } from "./config.js";
import { headWidth } from "./parameters.js";

/** Positions are rounded up to a multiple of this, so that answers of slightly different length share a cache. */
const POSITIONS = 64;

export type CacheStorage = "f32" | "f16";

/** How a cache is stored beside matrices of that storage: as halves where they are short, and the device has halves. */
export function cacheStorage(matrices: MatrixStorage | undefined, { features }: KernelFacts): CacheStorage {
  return (matrices ?? "f32") !== "f32" && features.has("shader-f16") ? "f16" : "f32";
}

/** Grows to the largest call and is kept until `release`. */
export class KvCache {
  readonly #layers: { readonly key_cache: Tensor; readonly value_cache: Tensor }[] = [];
  #slots = 0;
  #positions = 0;

  constructor(
    readonly launcher: Launcher,
    readonly config: Qwen2Config,
    /** How keys and values are stored. */
    readonly storage: CacheStorage = "f32",
  ) {
    if (storage === "f16") checkHalf(launcher.facts);
  }

  /** Both caches of a layer, [slots, positions, Hkv * D]. */
  layer(layer: number): { readonly key_cache: Tensor; readonly value_cache: Tensor } {
    return this.#layers[layer];
  }

  /**
   * Room for that many sequences of that many tokens. When it grows, what it held is lost but for the slots in `kept`; it then
   * grows by half of what it had at least, so that growing texts are not copied at every turn.
   */
  reserve(slots: number, positions: number, kept: Iterable<number> = []): void {
    if (slots <= this.#slots && positions <= this.#positions) return;
    const before = { slots: this.#slots, positions: this.#positions };
    const wanted = [...kept].filter((slot) => slot < before.slots);
    const isLonger = positions > before.positions;
    const room = wanted.length > 0 && isLonger ? Math.max(positions, 1.5 * before.positions) : positions;
    const rounded = Math.ceil(room / POSITIONS) * POSITIONS;
    const S = Math.max(slots, before.slots);
    const T = Math.max(before.positions, Math.min(rounded, this.#mostPositions));
    const old = wanted.length > 0 ? this.#layers.splice(0) : [];
    this.release();
    this.#slots = S;
    this.#positions = T;
    const { config, launcher } = this;
    const shape = [S, T, this.#width];
    for (let layer = 0; layer < config.num_hidden_layers; layer++) {
      this.#layers.push({
        key_cache: Tensor.empty(launcher.runtime, shape, this.storage, "key cache"),
        value_cache: Tensor.empty(launcher.runtime, shape, this.storage, "value cache"),
      });
    }
    for (const [layer, { key_cache, value_cache }] of old.entries()) {
      this.#copy(key_cache, this.#layers[layer].key_cache, wanted, before.positions);
      this.#copy(value_cache, this.#layers[layer].value_cache, wanted, before.positions);
    }
  }

  release(): void {
    for (const { key_cache, value_cache } of this.#layers.splice(0)) {
      key_cache.release();
      value_cache.release();
    }
    this.#slots = 0;
    this.#positions = 0;
  }

  get #width(): number {
    return this.config.num_key_value_heads * headWidth(this.config);
  }

  /** Multiples of the rounding that hold the whole context. */
  get #mostPositions(): number {
    return Math.ceil(this.config.max_position_embeddings / POSITIONS) * POSITIONS;
  }

  /** Copies the places of some slots, and gives the old array back. */
  #copy(from: Tensor, to: Tensor, slots: readonly number[], positions: number): void {
    const width = this.#width;
    for (const slot of slots) {
      const source = from.view([positions, width], slot * positions * width);
      const target = to.view([positions, width], slot * this.#positions * width);
      this.launcher.runtime.copy(source.range, target.range);
      source.release();
      target.release();
    }
    from.release();
  }
}
