/** Batched sampling with a KV cache: sequences of different lengths side by side, finished ones dropped from the batch. */
import { Tape } from "../autograd/tape.js";
import { Tensor } from "../autograd/tensor.js";
import { ArgumentError } from "../core/errors.js";
import { appendKv, attentionDecode, gatherRows, linear, rope, sample } from "../kernels/index.js";
import { type PackedTokens, packSequences } from "./packing.js";
import { headWidth } from "./parameters.js";
import type { Attend, DeviceBatch, Qwen2Model } from "./qwen2.js";

export interface SamplingOptions {
  /** Divides the logits; 0 takes the most likely token. */
  readonly temperature: number;
  /** Sample among the k most likely tokens only; 0 = all. */
  readonly topK?: number;
  /** Sample among the most likely tokens that together hold this mass; 1 = all. */
  readonly topP?: number;
  /** Most tokens sampled per sequence, the end token included. */
  readonly maxNewTokens: number;
  /** Ids that end a sequence. */
  readonly endTokens: readonly number[];
  readonly seed: number;
}

/** One prompt and the identity of its random stream: the same seed, stream and prompt give the same tokens in any batch. */
export interface GenerationRequest {
  readonly prompt: readonly number[];
  readonly stream: number;
}

export interface Generation {
  /** Sampled tokens, the end token included when it came. */
  readonly tokens: readonly number[];
  /** Log-probability of each sampled token under the temperature-scaled, untruncated distribution. */
  readonly logProbs: readonly number[];
  /** The end token came before `maxNewTokens` did. */
  readonly finished: boolean;
}

export interface GeneratorOptions {
  /** Prompt tokens computed at once. */
  readonly tokensPerBatch?: number;
  /** Sequences decoded side by side; more requests are served in turn. */
  readonly maxSequences?: number;
}

interface Active {
  readonly request: number;
  readonly slot: number;
  length: number;
  last: number;
  readonly tokens: number[];
  readonly logProbs: number[];
}

/** Generates with one model. Its cache grows to the largest call and is kept until `release`. */
export class Generator {
  #keys: Tensor[] = [];
  #values: Tensor[] = [];
  #slots = 0;
  #capacity = 0;
  readonly #tokensPerBatch: number;
  readonly #maxSequences: number;

  constructor(
    readonly model: Qwen2Model,
    options: GeneratorOptions = {},
  ) {
    this.#tokensPerBatch = options.tokensPerBatch ?? 4096;
    this.#maxSequences = options.maxSequences ?? 256;
  }

  /**
   * @returns one generation per request, in order
   * @throws ArgumentError when a prompt is empty or does not fit the model's context
   */
  async generate(requests: readonly GenerationRequest[], options: SamplingOptions): Promise<Generation[]> {
    const results: Generation[] = [];
    for (let start = 0; start < requests.length; start += this.#maxSequences) {
      results.push(
        ...(await this.#generateGroup(requests.slice(start, start + this.#maxSequences), options)),
      );
    }
    return results;
  }

  release(): void {
    for (const tensor of [...this.#keys, ...this.#values]) tensor.release();
    this.#keys = [];
    this.#values = [];
    this.#slots = 0;
    this.#capacity = 0;
  }

  async #generateGroup(
    requests: readonly GenerationRequest[],
    options: SamplingOptions,
  ): Promise<Generation[]> {
    const longest =
      requests.reduce((most, { prompt }) => Math.max(most, prompt.length), 0) + options.maxNewTokens;
    if (longest > this.model.config.max_position_embeddings) {
      throw new ArgumentError(
        `[generate] prompt and answer too long: got ${longest} tokens, expected at most ${this.model.config.max_position_embeddings} (max_position_embeddings). Shorten the prompt or the answer.`,
      );
    }
    this.#grow(requests.length, longest);
    const all = requests.map(
      ({ prompt }, index): Active => ({
        request: index,
        slot: index,
        length: prompt.length,
        last: -1,
        tokens: [],
        logProbs: [],
      }),
    );
    await this.#prefill(requests, all, options);
    let active = all.filter((one) => !isFinished(one, options));
    while (active.length > 0) {
      await this.#decode(requests, active, options);
      active = active.filter((one) => !isFinished(one, options));
    }
    return all.map(({ tokens, logProbs }) => ({
      tokens,
      logProbs,
      finished: options.endTokens.includes(tokens[tokens.length - 1]),
    }));
  }

  /** Computes the prompts, each different one once and several at a time up to the token budget, and samples first tokens. */
  async #prefill(
    requests: readonly GenerationRequest[],
    all: readonly Active[],
    options: SamplingOptions,
  ): Promise<void> {
    const piles = [...pilesOfEqualPrompts(requests, all).values()];
    let start = 0;
    while (start < piles.length) {
      let end = start;
      let tokens = 0;
      while (end < piles.length && (end === start || tokens + piles[end][0].length <= this.#tokensPerBatch))
        tokens += piles[end++][0].length;
      const part = piles.slice(start, end);
      const packed = packSequences(part.map(([{ request }]) => requests[request].prompt));
      const active = part.flat();
      const promptOf = part.flatMap((pile, index) => pile.map(() => index));
      await this.#step(requests, active, options, (tape) => {
        const batch = this.model.batch(tape, packed);
        const attend = this.#fillingAttention(tape, batch, packed, active, promptOf);
        const hidden = this.model.hidden(tape, batch, attend);
        const lastRows = Uint32Array.from(promptOf, (index) => packed.offsets[index + 1] - 1);
        return tape.apply(gatherRows, { x: hidden, index: tape.input(lastRows) }).y;
      });
      start = end;
    }
  }

  /** One more token for each sequence. */
  async #decode(
    requests: readonly GenerationRequest[],
    active: readonly Active[],
    options: SamplingOptions,
  ): Promise<void> {
    const packed = singleTokens(active);
    for (const one of active) one.length++;
    await this.#step(requests, active, options, (tape) => {
      const batch = this.model.batch(tape, packed);
      return this.model.hidden(tape, batch, this.#cachedAttention(tape, batch, active));
    });
  }

  /** One forward pass and one sampled token for each active sequence. @param forward gives a hidden row for each of them */
  async #step(
    requests: readonly GenerationRequest[],
    active: readonly Active[],
    options: SamplingOptions,
    forward: (tape: Tape) => Tensor,
  ): Promise<void> {
    const { model } = this;
    const tape = new Tape(model.launcher, { record: false, activations: model.activations });
    const logits = tape.apply(linear, { x: forward(tape), weight: model.headWeight }).y;
    const stream = tape.input(Uint32Array.from(active, ({ request }) => requests[request].stream));
    const counter = tape.input(Uint32Array.from(active, ({ tokens }) => tokens.length));
    const { token, log_prob } = tape.apply(
      sample,
      { logits, stream, counter },
      {
        temperature: options.temperature,
        top_k: options.topK ?? 0,
        top_p: options.topP ?? 1,
        seed: options.seed >>> 0,
      },
    );
    const [tokenBytes, logProbBytes] = await model.launcher.runtime.read([token.range, log_prob.range]);
    tape.release();
    const tokens = new Uint32Array(tokenBytes);
    const logProbs = new Float32Array(logProbBytes);
    active.forEach((one, index) => {
      one.last = tokens[index];
      one.tokens.push(tokens[index]);
      one.logProbs.push(logProbs[index]);
    });
  }

  /** Attention over packed prompts that leaves keys and values in the slots of all sequences with that prompt. */
  #fillingAttention(
    tape: Tape,
    batch: DeviceBatch,
    packed: PackedTokens,
    active: readonly Active[],
    promptOf: readonly number[],
  ): Attend {
    const rows: number[] = [];
    const slots: number[] = [];
    active.forEach(({ slot }, index) => {
      const prompt = promptOf[index];
      for (let row = packed.offsets[prompt]; row < packed.offsets[prompt + 1]; row++) {
        rows.push(row);
        slots.push(slot);
      }
    });
    const slot = tape.input(Uint32Array.from(slots));
    const position = tape.input(Uint32Array.from(rows, (row) => packed.position[row]));
    const index = active.length > packed.offsets.length - 1 ? tape.input(Uint32Array.from(rows)) : undefined;
    const spread = (x: Tensor) => (index ? tape.apply(gatherRows, { x, index }).y : x);
    const full = this.model.packedAttention(tape, batch);
    return (layer, qkv) => {
      const { k, v } = this.#split(tape, qkv, batch.position);
      this.#append(layer, spread(k), spread(v), slot, position);
      return full(layer, qkv);
    };
  }

  #cachedAttention(tape: Tape, batch: DeviceBatch, active: readonly Active[]): Attend {
    const { num_attention_heads: heads, num_key_value_heads: kv_heads } = this.model.config;
    const slot = tape.input(Uint32Array.from(active, (one) => one.slot));
    const length = tape.input(Uint32Array.from(active, (one) => one.length));
    return (layer, qkv) => {
      const { q, k, v } = this.#split(tape, qkv, batch.position);
      this.#append(layer, k, v, slot, batch.position);
      const caches = { key_cache: this.#keys[layer], value_cache: this.#values[layer] };
      return tape.apply(attentionDecode, { q, ...caches, slot, length }, { heads, kv_heads }).y;
    };
  }

  /** Query, key and value columns of a packed projection, queries and keys rotated. */
  #split(tape: Tape, qkv: Tensor, position: Tensor): { q: Tensor; k: Tensor; v: Tensor } {
    const { config, ropeTable: table } = this.model;
    const { num_attention_heads: H, num_key_value_heads: kvHeads } = config;
    const D = headWidth(config);
    const N = qkv.shape[0] as number;
    const rows = tape.reshape(qkv, [N * (H + 2 * kvHeads), D]);
    const pick = (first: number, heads: number) => {
      const index = Uint32Array.from(
        { length: N * heads },
        (_, at) => Math.floor(at / heads) * (H + 2 * kvHeads) + first + (at % heads),
      );
      const picked = tape.apply(gatherRows, { x: rows, index: tape.input(index) }).y;
      return tape.reshape(picked, [N, heads * D]);
    };
    const rotate = (x: Tensor, heads: number) => tape.apply(rope, { x, position, table }, { heads }).y;
    return { q: rotate(pick(0, H), H), k: rotate(pick(H, kvHeads), kvHeads), v: pick(H + kvHeads, kvHeads) };
  }

  #append(layer: number, k: Tensor, v: Tensor, slot: Tensor, position: Tensor): void {
    appendKv(this.model.launcher, {
      k,
      v,
      slot,
      position,
      key_cache: this.#keys[layer],
      value_cache: this.#values[layer],
    });
  }

  #grow(slots: number, capacity: number): void {
    if (slots <= this.#slots && capacity <= this.#capacity) return;
    const S = Math.max(slots, this.#slots);
    const T = Math.max(this.#capacity, Math.ceil(capacity / 64) * 64);
    this.release();
    this.#slots = S;
    this.#capacity = T;
    const { config, launcher } = this.model;
    const shape = [S, T, config.num_key_value_heads * headWidth(config)];
    for (let layer = 0; layer < config.num_hidden_layers; layer++) {
      this.#keys.push(Tensor.empty(launcher.runtime, shape, "f32", "key cache"));
      this.#values.push(Tensor.empty(launcher.runtime, shape, "f32", "value cache"));
    }
  }
}

function isFinished({ tokens }: Active, { endTokens, maxNewTokens }: SamplingOptions): boolean {
  return tokens.length >= maxNewTokens || endTokens.includes(tokens[tokens.length - 1]);
}

function pilesOfEqualPrompts(
  requests: readonly GenerationRequest[],
  all: readonly Active[],
): Map<string, [Active, ...Active[]]> {
  const piles = new Map<string, [Active, ...Active[]]>();
  for (const one of all) {
    const key = requests[one.request].prompt.join();
    const pile = piles.get(key);
    if (pile) pile.push(one);
    else piles.set(key, [one]);
  }
  return piles;
}

/** The last sampled token of each sequence as a packed batch of one-token rows at their true positions. */
function singleTokens(active: readonly Active[]): PackedTokens {
  const index = Uint32Array.from(active, (_, n) => n);
  return {
    tokens: Uint32Array.from(active, ({ last }) => last),
    position: Uint32Array.from(active, ({ length }) => length),
    sequenceStart: index,
    sequenceEnd: index.map((n) => n + 1),
    offsets: Uint32Array.from({ length: active.length + 1 }, (_, n) => n),
  };
}
