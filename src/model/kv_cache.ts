/** Keys and values of earlier tokens: one slot a sequence, one pair of arrays a layer. */
import { Tensor } from "../autograd/tensor.js";
import type { Launcher } from "../kernels/index.js";
import type { Qwen2Config } from "./config.js";
import { headWidth } from "./parameters.js";

/** Positions are rounded up to a multiple of this, so that answers of slightly different length share a cache. */
const POSITIONS = 64;

/** Grows to the largest call and is kept until `release`. */
export class KvCache {
  readonly #layers: { readonly key_cache: Tensor; readonly value_cache: Tensor }[] = [];
  #slots = 0;
  #positions = 0;

  constructor(
    readonly launcher: Launcher,
    readonly config: Qwen2Config,
  ) {}

  /** Both caches of a layer, [slots, positions, Hkv * D]. */
  layer(layer: number): { readonly key_cache: Tensor; readonly value_cache: Tensor } {
    return this.#layers[layer];
  }

  /** Room for that many sequences of that many tokens. What it held is lost when it grows. */
  reserve(slots: number, positions: number): void {
    if (slots <= this.#slots && positions <= this.#positions) return;
    const S = Math.max(slots, this.#slots);
    const T = Math.max(this.#positions, Math.ceil(positions / POSITIONS) * POSITIONS);
    this.release();
    this.#slots = S;
    this.#positions = T;
    const { config, launcher } = this;
    const shape = [S, T, config.num_key_value_heads * headWidth(config)];
    for (let layer = 0; layer < config.num_hidden_layers; layer++) {
      this.#layers.push({
        key_cache: Tensor.empty(launcher.runtime, shape, "f32", "key cache"),
        value_cache: Tensor.empty(launcher.runtime, shape, "f32", "value cache"),
      });
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
}
