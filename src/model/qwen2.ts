/** The Qwen2 decoder: packed tokens in, hidden states and log-probabilities out, differentiable through the tape. */
import type { FlatParameters } from "../autograd/flat_parameters.js";
import type { NamedShape, StoredShape } from "../autograd/parameter_slots.js";
import type { Tape } from "../autograd/tape.js";
import { Tensor } from "../autograd/tensor.js";
import { applyUnfused } from "../autograd/unfused.js";
import { ArgumentError } from "../core/errors.js";
import type { Random } from "../core/random.js";
import {
  attention,
  embedding,
  embeddingSegments,
  gatedMlp,
  gatherRows,
  type Launcher,
  linear,
  linearLogProb,
  normLinear,
  rmsNorm,
  ropeTable,
} from "../kernels/index.js";
import type { Qwen2Config } from "./config.js";
import type { LoraAdapter } from "./lora.js";
import { layerBeside } from "./lora_beside.js";
import type { PackedTokens } from "./packing.js";
import { elementCount, headWidth, layerPrefix, parameterShapes, storedShapes } from "./parameters.js";

/** Token ids on the GPU, [N]. */
export interface DeviceTokens {
  readonly token: Tensor;
  /** Distinct token ids, their places in the batch and the ranges of these: for the embedding gradient. */
  readonly segments?:
    | { readonly order: Tensor; readonly id: Tensor; readonly segment_start: Tensor }
    | undefined;
}

/** A packed batch on the GPU. Belongs to the tape that made it. */
export interface DeviceBatch extends DeviceTokens {
  readonly count: number;
  readonly position: Tensor;
  readonly sequenceStart: Tensor;
  readonly sequenceEnd: Tensor;
}

/**
 * How one layer's tokens attend: full packed attention, or a KV cache. `qkv` [N, (H + 2 Hkv) D] holds query heads, key heads
 * and value heads, not rotated. Returns [N, H * D].
 */
export type Attend = (layer: number, qkv: Tensor) => Tensor;

/** What a pass over layers may be told. */
export interface PassOptions {
  /** Of the masks of an adapter with dropout; without it nothing is left out. */
  readonly dropoutSeed?: number | undefined;
  /** u32 [R], distinct places of tokens: the last layer computes no others after its attention, and the result is [R, C]. */
  readonly rows?: Tensor | undefined;
}

/** What a layer is computed with beside its input. */
interface LayerCall extends PassOptions {
  readonly layer: number;
  readonly attend: Attend;
}

/** Share of a batch's tokens up to which it pays to pick them before the last layer ends: picking moves two rows for each. */
const ROWS_WORTH = 0.75;

/** Names of rows for observers of a tape: packed tokens, and those of them whose next token is scored. */
export const TOKEN_ROWS = "tokens";
export const SCORED_ROWS = "scored";

/** Log-probabilities of chosen tokens and entropies of their distributions, both [R], natural logarithm. */
export interface ScoredTokens {
  readonly log_prob: Tensor;
  readonly entropy: Tensor;
}

export interface Qwen2ModelOptions {
  /**
   * false: layers and head by plain ops one after the other, every intermediate value a tensor of the tape: for debugging and
   * for changes that no fused kernel knows. Decoding keeps its own attention over the cache. Default true.
   */
  readonly fused?: boolean;
  /** Changes weights of the model, whose own parameters are frozen. It belongs to the model, which releases it. */
  readonly adapter?: LoraAdapter | undefined;
  /** Tapes that train the model keep of each layer its result alone, and compute the layer again in backward. Default false. */
  readonly recompute?: boolean | undefined;
}

/**
 * Qwen2 as in Hugging Face transformers: RMSNorm before attention and MLP, rotary embedding in the half-split
 * convention, grouped-query attention with biases on q, k and v, SwiGLU, tied or untied head.
 * Parameters are leaf tensors of `parameters` as `storedShapes` lays them out.
 */
export class Qwen2Model {
  readonly launcher: Launcher;
  /** Whether layers are made of fused ops. */
  readonly fused: boolean;
  readonly adapter: LoraAdapter | undefined;
  readonly recompute: boolean;
  readonly #apply: typeof applyUnfused;
  #table: Tensor | undefined;
  /** Tables that were replaced: kept until the model is released. */
  readonly #outgrown: Tensor[] = [];
  #tableRows = 0;

  constructor(
    launcher: Launcher,
    readonly config: Qwen2Config,
    readonly parameters: FlatParameters,
    options: Qwen2ModelOptions = {},
  ) {
    this.launcher = launcher;
    this.fused = options.fused ?? true;
    this.adapter = options.adapter;
    this.recompute = options.recompute ?? false;
    this.#apply = this.fused ? (tape, ...call) => tape.apply(...call) : applyUnfused;
    for (const { name, shape } of storedShapes(config)) {
      const tensor = parameters.get(name);
      if (tensor.shape.join() !== shape.join()) {
        throw new ArgumentError(
          `[qwen2] parameter ${name} does not fit: got [${tensor.shape}], expected [${shape}]. Build the parameters from this config.`,
        );
      }
    }
  }

  /** How tapes for this model store activations: as its parameters store matrices. */
  get activations(): "f32" | "f16" {
    return this.parameters.half ? "f16" : "f32";
  }

  /** The same model with an adapter, which shares its parameters. */
  withAdapter(adapter: LoraAdapter): Qwen2Model {
    const { launcher, config, parameters, fused, recompute } = this;
    return new Qwen2Model(launcher, config, parameters, { fused, recompute, adapter });
  }

  /** What training moves: the factors of the adapter, or else the parameters. */
  get trained(): FlatParameters {
    return this.adapter?.parameters ?? this.parameters;
  }

  /** Names and shapes of `trained` as kernels use them, see `storedShapes`. */
  get trainedShapes(): readonly StoredShape[] {
    return this.adapter ? [...this.adapter.parameters.slots.values()] : storedShapes(this.config);
  }

  /** Tensors that a checkpoint of what is trained holds: Hugging Face's names, or PEFT's. */
  get checkpointShapes(): readonly NamedShape[] {
    return this.adapter ? this.adapter.parameters.named : parameterShapes(this.config);
  }

  /** Values of a Hugging Face tensor, the adapter's changes included. The caller owns them. */
  read(name: string): Promise<Float32Array> {
    return this.adapter ? this.adapter.read(name) : this.parameters.read(name);
  }

  /** Fresh weights: normal with `initializer_range`, gains 1, biases 0. */
  initialise(random: Random): void {
    for (const { name, shape } of parameterShapes(this.config)) {
      const data = new Float32Array(elementCount(shape));
      if (shape.length === 1) data.fill(name.endsWith("bias") ? 0 : 1);
      else for (let i = 0; i < data.length; i++) data[i] = this.config.initializer_range * random.normal();
      this.parameters.load(name, data);
    }
  }

  /** Uploads a packed batch. @throws ArgumentError for a token id outside the vocabulary or a sequence beyond the context */
  batch(tape: Tape, packed: PackedTokens): DeviceBatch {
    const { vocab_size: V, max_position_embeddings: limit } = this.config;
    for (let n = 0; n < packed.tokens.length; n++) {
      if (packed.tokens[n] >= V) {
        throw new ArgumentError(
          `[qwen2] token id out of range: got ${packed.tokens[n]}, expected below ${V}. Use the model's own tokenizer.`,
        );
      }
      if (packed.position[n] >= limit) {
        throw new ArgumentError(
          `[qwen2] sequence too long: got ${packed.position[n] + 1} tokens, expected at most ${limit} (max_position_embeddings). Shorten the prompt.`,
        );
      }
    }
    this.reserve(packed.position.reduce((most, value) => Math.max(most, value + 1), 1));
    let segments: DeviceBatch["segments"];
    if (tape.record) {
      const { order, ids, starts } = embeddingSegments(packed.tokens);
      segments = { order: tape.input(order), id: tape.input(ids), segment_start: tape.input(starts) };
    }
    return {
      count: packed.tokens.length,
      token: tape.nameRows(tape.input(packed.tokens), TOKEN_ROWS),
      position: tape.input(packed.position),
      sequenceStart: tape.input(packed.sequenceStart),
      sequenceEnd: tape.input(packed.sequenceEnd),
      segments,
    };
  }

  /** Final normalised hidden states of whole sequences, [N, C], or of those of their tokens that are asked for. */
  hidden(tape: Tape, batch: DeviceBatch, options?: PassOptions): Tensor {
    return this.hiddenBy(tape, batch, this.packedAttention(tape, batch), options);
  }

  /** The same with attention of the caller's. */
  hiddenBy(tape: Tape, batch: DeviceTokens, attend: Attend, { dropoutSeed, rows }: PassOptions = {}): Tensor {
    this.adapter?.refresh();
    const weight = this.parameters.get("model.embed_tokens.weight");
    let x = tape.apply(embedding, { token: batch.token, weight, ...batch.segments }).y;
    const layers = this.config.num_hidden_layers;
    for (let layer = 0; layer < layers; layer++) {
      const before = x;
      const call = { layer, attend, dropoutSeed, rows: layer === layers - 1 ? rows : undefined };
      x = tape.scope(() => this.#layer(tape, before, call));
    }
    const gain = this.parameters.get("model.norm.weight");
    return tape.apply(rmsNorm, { x, gain }, { eps: this.config.rms_norm_eps }).y;
  }

  /**
   * Hidden states from which answers are predicted, where the other tokens of a batch are many without computing all of theirs.
   * @param index R distinct token places
   * @returns the states and the places in them
   */
  predicting(
    tape: Tape,
    packed: PackedTokens,
    index: Uint32Array,
    dropoutSeed?: number,
  ): { readonly hidden: Tensor; readonly index: Uint32Array } {
    const batch = this.batch(tape, packed);
    if (index.length > ROWS_WORTH * packed.tokens.length)
      return { hidden: this.hidden(tape, batch, { dropoutSeed }), index };
    const hidden = this.hidden(tape, batch, { dropoutSeed, rows: tape.input(index) });
    return { hidden, index: index.map((_, row) => row) };
  }

  /**
   * Log-probability and entropy of chosen next tokens.
   * @param index R distinct token places whose hidden state predicts, see `PackedTokens`
   * @param target R token ids predicted there
   * @param temperature divides the logits
   */
  score(tape: Tape, hidden: Tensor, index: Uint32Array, target: Uint32Array, temperature = 1): ScoredTokens {
    const places = tape.nameRows(tape.input(index), SCORED_ROWS);
    const rows = tape.apply(gatherRows, { x: hidden, index: places }).y;
    return this.#apply(
      tape,
      linearLogProb,
      { hidden: rows, weight: this.headWeight, target: tape.input(target) },
      { temperature },
    );
  }

  /** Weight of the vocabulary head, [V, C]. */
  get headWeight(): Tensor {
    const name = this.config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    return this.parameters.get(name);
  }

  /** Rotary angles for at least this many positions; grows by doubling so that steady batches reuse one table. */
  reserve(rows: number): void {
    if (rows <= this.#tableRows) return;
    this.#tableRows = Math.min(
      this.config.max_position_embeddings,
      2 ** Math.ceil(Math.log2(Math.max(256, rows))),
    );
    // a recorded tape may still need the old table; tables double, so all of them together are at most twice the newest
    if (this.#table) this.#outgrown.push(this.#table);
    const width = headWidth(this.config);
    const table = ropeTable(this.#tableRows, width, this.config.rope_theta);
    this.#table = Tensor.from(this.launcher.runtime, table, [this.#tableRows, width], {
      label: "rope table",
    });
  }

  /** Cosines and sines of the rotary embedding, [positions, D]: for as many positions as were ever reserved or used. */
  get ropeTable(): Tensor | undefined {
    return this.#table;
  }

  /** Causal attention inside each packed sequence. */
  packedAttention(tape: Tape, batch: DeviceBatch): Attend {
    const { num_attention_heads: heads, num_key_value_heads: kv_heads } = this.config;
    const { position, sequenceStart: sequence_start, sequenceEnd: sequence_end } = batch;
    const inputs = { position, table: this.ropeTable, sequence_start, sequence_end };
    return (_layer, qkv) => this.#apply(tape, attention, { qkv, ...inputs }, { heads, kv_heads }).y;
  }

  /** Releases what the model holds beside its parameters. */
  release(): void {
    this.adapter?.release();
    for (const table of this.#outgrown.splice(0)) table.release();
    this.#table?.release();
    this.#table = undefined;
    this.#tableRows = 0;
  }

  #layer(tape: Tape, x: Tensor, { layer, attend, dropoutSeed: seed, rows }: LayerCall): Tensor {
    const picked = (all: Tensor) => (rows ? tape.apply(gatherRows, { x: all, index: rows }).y : all);
    const { adapter } = this;
    if (adapter && (!adapter.isMerged || (adapter.lora.dropout > 0 && seed !== undefined))) {
      const { parameters, config } = this;
      const call = { layer, attend: (qkv: Tensor) => attend(layer, qkv), seed };
      return picked(layerBeside(tape, { parameters, config, adapter }, x, call));
    }
    const prefix = layerPrefix(layer);
    const parameter = (name: string) =>
      this.adapter?.weight(prefix + name) ?? this.parameters.get(prefix + name);
    const eps = this.config.rms_norm_eps;
    const projection = {
      gain: parameter("input_layernorm.weight"),
      weight: parameter("self_attn.qkv_proj.weight"),
      bias: parameter("self_attn.qkv_proj.bias"),
    };
    const qkv = this.#apply(tape, normLinear, { x, ...projection }, { eps }).y;
    const weight = parameter("self_attn.o_proj.weight");
    const mixed = picked(attend(layer, qkv));
    const middle = this.#apply(tape, linear, { x: mixed, weight, residual: picked(x) }).y;
    const mlp = {
      gain: parameter("post_attention_layernorm.weight"),
      gate_up: parameter("mlp.gate_up_proj.weight"),
      down: parameter("mlp.down_proj.weight"),
    };
    return this.#apply(tape, gatedMlp, { x: middle, ...mlp }, { eps }).y;
  }
}
