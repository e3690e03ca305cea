/** Batched sampling with a KV cache: sequences of different lengths side by side, finished ones dropped from the batch. */
import { Tape } from "../autograd/tape.js";
import type { Tensor } from "../autograd/tensor.js";
import { ArgumentError } from "../core/errors.js";
import { appendKv, attentionDecode, gatherRows, type KvAppend, linear, sample } from "../kernels/index.js";
import { checkSampling, checkTokens } from "./check_tokens.js";
import { type Conversation, Conversations } from "./conversations.js";
import { decode } from "./decode_loop.js";
import { DecodePace } from "./decode_pace.js";
import { type CacheStorage, KvCache } from "./kv_cache.js";
import { type PackedTokens, packSequences } from "./packing.js";
import { headWidth } from "./parameters.js";
import { type ExtensionPart, extensionParts, promptParts, type SharedPrompt } from "./prefill.js";
import type { Attend, DeviceBatch, Qwen2Model } from "./qwen2.js";
import { type RunningSequence, RunningSequences, type SequenceRows } from "./running_sequences.js";

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
  /** One of this generator's: only what the prompt has beyond the last one and its answer is computed. */
  readonly conversation?: Conversation | undefined;
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
  /** Decode steps between looks at the sampled tokens; default: by adapter and by how often sequences end. */
  readonly stepsPerSubmit?: number;
  /** How keys and values are kept. `f16` needs the adapter's f16. Default f32. */
  readonly cache?: CacheStorage;
  /** Most bytes of logits that exist at a time; those of 64 sequences always may. Default 64 MiB. */
  readonly logitBytes?: number;
  /** Awaited in each call when the prompts are on their way to the GPU and decoding begins: a profile waits for them there. */
  readonly onPrompts?: () => Promise<void>;
}

const LOGIT_BYTES = 64 << 20;
/** Rows of hidden states are taken in multiples of it, so that each part can be bound. */
const LOGIT_ROWS = 64;

/** Bytes of partial attention results of one pass over the new tokens of conversations. */
const PARTIAL_BYTES = 64 << 20;
/** Keys that one partial result is about; the kernels have as many or more. */
const PART_KEYS = 128;

/**
 * Generates with one model. Its cache grows to the largest call and is kept until `release`. Sequences that have ended while
 * others go on work on place 0 of their slot, so that place is computed anew when a conversation goes on.
 */
export class Generator {
  readonly #cache: KvCache;
  readonly #tokensPerBatch: number;
  readonly #maxSequences: number;
  readonly #stepsPerSubmit: number | undefined;
  readonly #logitBytes: number;
  readonly #onPrompts: (() => Promise<void>) | undefined;
  readonly #conversations = new Conversations();

  constructor(
    readonly model: Qwen2Model,
    options: GeneratorOptions = {},
  ) {
    this.#cache = new KvCache(model.launcher, model.config, options.cache);
    this.#tokensPerBatch = options.tokensPerBatch ?? 4096;
    this.#maxSequences = options.maxSequences ?? 256;
    this.#stepsPerSubmit = options.stepsPerSubmit;
    this.#logitBytes = options.logitBytes ?? LOGIT_BYTES;
    this.#onPrompts = options.onPrompts;
  }

  /**
   * @returns one generation per request, in order
   * @throws ArgumentError when a prompt is empty or does not fit the model's context
   */
  async generate(requests: readonly GenerationRequest[], options: SamplingOptions): Promise<Generation[]> {
    checkSampling(options, this.model.config.vocab_size);
    for (const [index, { prompt }] of requests.entries()) {
      checkTokens(prompt, this.model.config.vocab_size, `prompt ${index}`);
    }
    const results: Generation[] = [];
    for (let start = 0; start < requests.length; start += this.#maxSequences) {
      results.push(
        ...(await this.#generateGroup(requests.slice(start, start + this.#maxSequences), options)),
      );
    }
    return results;
  }

  /** Most tokens of a prompt and its answer together. */
  get maxTokens(): number {
    return this.model.config.max_position_embeddings;
  }

  /** Begins a text whose keys and values are kept between calls, until it is closed. */
  open(): Conversation {
    return this.#conversations.open();
  }

  release(): void {
    this.#cache.release();
  }

  async #generateGroup(
    requests: readonly GenerationRequest[],
    options: SamplingOptions,
  ): Promise<Generation[]> {
    const longest = this.#longest(requests, options);
    const all = this.#sequences(requests);
    const slots = all.reduce((most, { slot }) => Math.max(most, slot + 1), 0);
    this.#cache.reserve(slots, longest, this.#conversations.slots);
    this.model.reserve(longest);
    const parts = promptParts(
      all.filter(({ known }) => known === 0),
      this.#tokensPerBatch,
    );
    const extensions = extensionParts(
      all.filter(({ known }) => known > 0),
      Math.min(this.#tokensPerBatch, this.#rowsOfExtension(longest)),
    );
    const order = [...parts.flat(2), ...extensions.flatMap(({ complete }) => complete)];
    const { launcher } = this.model;
    const state = new RunningSequences(launcher, order.length, options.maxNewTokens, options.endTokens);
    try {
      state.load(order);
      let first = 0;
      for (const part of parts) {
        this.#prefill(part, state, first, options);
        first += part.flat().length;
        await launcher.runtime.flush();
      }
      for (const part of extensions) {
        this.#extend(part, state, first, options);
        first += part.complete.length;
        await launcher.runtime.flush();
      }
      await this.#onPrompts?.();
      const pace = new DecodePace(launcher.facts, this.#stepsPerSubmit);
      const { maxNewTokens, endTokens } = options;
      const step = (rows: number) => this.#decodeStep(rows, state, options);
      await decode({ state, pace, maxNewTokens, endTokens, step }, order);
    } finally {
      state.release();
    }
    requests.forEach(({ conversation, prompt }, index) => {
      // the last token was sampled and not read
      if (conversation)
        this.#conversations.remember(conversation, [...prompt, ...all[index].tokens.slice(0, -1)]);
    });
    return all.map(({ tokens, logProbs }) => ({
      tokens,
      logProbs,
      finished: options.endTokens.includes(tokens[tokens.length - 1]),
    }));
  }

  #sequences(requests: readonly GenerationRequest[]): RunningSequence[] {
    const free = this.#conversations.freeSlots(requests.length);
    const taken = new Set<number>();
    let used = 0;
    return requests.map(({ prompt, stream, conversation }) => {
      const place = conversation
        ? this.#conversations.find(conversation, prompt)
        : { slot: free[used++], known: 0 };
      if (taken.has(place.slot)) {
        throw new ArgumentError(
          "[generate] conversation twice in one call: expected one request for each. Ask for one answer after the other.",
        );
      }
      taken.add(place.slot);
      return { prompt, stream, ...place, tokens: [], logProbs: [], ended: false };
    });
  }

  /** Rows of new tokens whose partial results fit the memory set aside for them. */
  #rowsOfExtension(longest: number): number {
    const { num_attention_heads: heads } = this.model.config;
    const partial = 4 * Math.ceil((2 * longest) / PART_KEYS) * heads * headWidth(this.model.config);
    return Math.max(1, Math.floor(PARTIAL_BYTES / partial));
  }

  #longest(requests: readonly GenerationRequest[], { maxNewTokens }: SamplingOptions): number {
    const { max_position_embeddings: limit } = this.model.config;
    const longest = requests.reduce((most, { prompt }) => Math.max(most, prompt.length), 0) + maxNewTokens;
    if (longest > limit) {
      throw new ArgumentError(
        `[generate] prompt and answer too long: got ${longest} tokens, expected at most ${limit} (max_position_embeddings). Shorten the prompt or the answer.`,
      );
    }
    return longest;
  }

  /** Computes prompts side by side and samples the first tokens, of the rows of the state from `first` on. */
  #prefill(
    shared: readonly SharedPrompt[],
    state: RunningSequences,
    first: number,
    options: SamplingOptions,
  ): void {
    const tape = this.#tape();
    const packed = packSequences(shared.map(([{ prompt }]) => prompt));
    const batch = this.model.batch(tape, packed);
    const rows = tape.input(packed.offsets.slice(1).map((end) => end - 1));
    const attend = this.#fillingAttention(tape, batch, packed, shared);
    const hidden = this.model.hiddenBy(tape, batch, attend, { rows });
    const promptOf = Uint32Array.from(shared.flatMap((same, index) => same.map(() => index)));
    const last = tape.apply(gatherRows, { x: hidden, index: tape.input(promptOf) }).y;
    const stream = tape.input(Uint32Array.from(shared.flat(), ({ stream }) => stream));
    const counter = tape.input(new Uint32Array(promptOf.length));
    this.#sample(last, { stream, counter }, state, first, options);
    tape.release();
  }

  /** Computes the new tokens of conversations over what the cache holds, and samples for those that are complete. */
  #extend(part: ExtensionPart, state: RunningSequences, first: number, options: SamplingOptions): void {
    const tape = this.#tape();
    const input = (values: readonly number[]) => tape.input(Uint32Array.from(values));
    const attend = this.#cachedAttention(tape, { slot: input(part.slot), position: input(part.position) });
    const hidden = this.model.hiddenBy(tape, { token: input(part.token) }, attend);
    if (part.complete.length > 0) {
      const last = tape.apply(gatherRows, { x: hidden, index: input(part.lastRows) }).y;
      const stream = input(part.complete.map(({ stream }) => stream));
      const counter = input(part.complete.map(() => 0));
      this.#sample(last, { stream, counter }, state, first, options);
    }
    tape.release();
  }

  /** One further token for the first `rows` sequences of the state. */
  #decodeStep(rows: number, state: RunningSequences, options: SamplingOptions): void {
    const tape = this.#tape();
    const sequences = state.rows(tape, rows);
    const hidden = this.model.hiddenBy(tape, sequences, this.#cachedAttention(tape, sequences));
    this.#sample(hidden, sequences, state, 0, options);
    tape.release();
  }

  /** Draws from the distributions that hidden rows [B, C] give, for the rows of the state from `first` on. */
  #sample(
    hidden: Tensor,
    { stream, counter }: Pick<SequenceRows, "stream" | "counter">,
    state: RunningSequences,
    first: number,
    options: SamplingOptions,
  ): void {
    const { vocab_size: V, hidden_size: C } = this.model.config;
    const [B = 0] = hidden.shape;
    const most = Math.max(LOGIT_ROWS, Math.floor(this.#logitBytes / (4 * V) / LOGIT_ROWS) * LOGIT_ROWS);
    const params = {
      temperature: options.temperature,
      top_k: options.topK ?? 0,
      top_p: options.topP ?? 1,
      seed: options.seed >>> 0,
    };
    for (let row = 0; row < B; row += most) {
      // f32 whatever the activations are: log-probabilities of halves would be far from the trainer's
      const tape = new Tape(this.model.launcher, { record: false });
      const rows = Math.min(most, B - row);
      const cut = (tensor: Tensor, ...width: number[]) =>
        rows === B ? tensor : tape.own(tensor.view([rows, ...width], row * (width[0] ?? 1)));
      const x = cut(hidden, C);
      const logits = tape.apply(linear, { x, weight: this.model.headWeight }).y;
      const inputs = { logits, stream: cut(stream), counter: cut(counter) };
      const { token, log_prob } = tape.apply(sample, inputs, params);
      state.advance(token, log_prob, first + row);
      tape.release();
    }
  }

  #tape(): Tape {
    const { launcher, activations } = this.model;
    return new Tape(launcher, { record: false, activations });
  }

  /** Attention over packed prompts that leaves keys and values in the slots of all sequences with that prompt. */
  #fillingAttention(
    tape: Tape,
    batch: DeviceBatch,
    packed: PackedTokens,
    shared: readonly SharedPrompt[],
  ): Attend {
    const rows: number[] = [];
    const slots: number[] = [];
    shared.forEach((same, prompt) => {
      for (const { slot } of same) {
        for (let row = packed.offsets[prompt]; row < packed.offsets[prompt + 1]; row++) {
          rows.push(row);
          slots.push(slot);
        }
      }
    });
    const slot = tape.input(Uint32Array.from(slots));
    const position = tape.input(Uint32Array.from(rows, (row) => packed.position[row]));
    const source = rows.length > packed.tokens.length ? tape.input(Uint32Array.from(rows)) : undefined;
    const full = this.model.packedAttention(tape, batch);
    return (layer, qkv) => {
      this.#append(layer, { qkv, source, slot, position });
      return full(layer, qkv);
    };
  }

  /** Attention of rows over the cache, each to the places up to its own; their keys and values are added to it first. */
  #cachedAttention(tape: Tape, { slot, position }: Pick<SequenceRows, "slot" | "position">): Attend {
    const { num_attention_heads: heads, num_key_value_heads: kv_heads } = this.model.config;
    const table = this.model.ropeTable;
    return (layer, qkv) => {
      this.#append(layer, { qkv, slot, position });
      const inputs = { qkv, table, slot, position, ...this.#cache.layer(layer) };
      return tape.apply(attentionDecode, inputs, { heads, kv_heads }).y;
    };
  }

  #append(layer: number, entries: Pick<KvAppend, "qkv" | "source" | "slot" | "position">): void {
    const { launcher, config, ropeTable } = this.model;
    const { num_attention_heads: heads, num_key_value_heads: kv_heads } = config;
    appendKv(
      launcher,
      { ...entries, table: ropeTable as Tensor, ...this.#cache.layer(layer) },
      { heads, kv_heads },
    );
  }
}
