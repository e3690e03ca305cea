/** The Qwen2 decoder: packed tokens in, hidden states and log-probabilities out, differentiable through the tape. */
import type { FlatParameters } from "../autograd/flat_parameters.js";
import type { Tape } from "../autograd/tape.js";
import { Tensor } from "../autograd/tensor.js";
import { ArgumentError } from "../core/errors.js";
import type { Random } from "../core/random.js";
import {
  add,
  attention,
  embedding,
  embeddingSegments,
  gatherRows,
  type Launcher,
  linear,
  linearLogProb,
  rmsNorm,
  rope,
  ropeTable,
  swiglu,
} from "../kernels/index.js";
import type { Qwen2Config } from "./config.js";
import type { PackedTokens } from "./packing.js";
import { elementCount, headWidth, layerPrefix, parameterShapes } from "./parameters.js";

/** A packed batch on the GPU. Belongs to the tape that made it. */
export interface DeviceBatch {
  readonly count: number;
  readonly token: Tensor;
  readonly position: Tensor;
  readonly sequenceStart: Tensor;
  readonly sequenceEnd: Tensor;
  /** Distinct token ids, their places in the batch and the ranges of these: for the embedding gradient. */
  readonly segments:
    | { readonly order: Tensor; readonly id: Tensor; readonly segment_start: Tensor }
    | undefined;
}

/** Projections of one layer's attention, before heads attend: all [N, heads * D]. */
export interface Projections {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
}

/** How one layer's tokens attend: full packed attention, or a KV cache. Returns [N, H * D]. */
export type Attend = (layer: number, projections: Projections) => Tensor;

/** Log-probabilities of chosen tokens and entropies of their distributions, both [R], natural logarithm. */
export interface ScoredTokens {
  readonly log_prob: Tensor;
  readonly entropy: Tensor;
}

/**
 * Qwen2 as in Hugging Face transformers: RMSNorm before attention and MLP, rotary embedding in the half-split
 * convention, grouped-query attention with biases on q, k and v, SwiGLU, tied or untied head.
 * Parameters are leaf tensors of `parameters`, under their Hugging Face names.
 */
export class Qwen2Model {
  readonly launcher: Launcher;
  #table: Tensor | undefined;
  #tableRows = 0;

  constructor(
    launcher: Launcher,
    readonly config: Qwen2Config,
    readonly parameters: FlatParameters,
  ) {
    this.launcher = launcher;
    for (const { name, shape } of parameterShapes(config)) {
      const tensor = parameters.get(name);
      if (tensor.shape.join() !== shape.join()) {
        throw new ArgumentError(
          `[qwen2] parameter ${name} does not fit: got [${tensor.shape}], expected [${shape}]. Build the parameters from this config.`,
        );
      }
    }
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
    this.#growTable(packed.position.reduce((most, value) => Math.max(most, value + 1), 1));
    let segments: DeviceBatch["segments"];
    if (tape.record) {
      const { order, ids, starts } = embeddingSegments(packed.tokens);
      segments = { order: tape.input(order), id: tape.input(ids), segment_start: tape.input(starts) };
    }
    return {
      count: packed.tokens.length,
      token: tape.input(packed.tokens),
      position: tape.input(packed.position),
      sequenceStart: tape.input(packed.sequenceStart),
      sequenceEnd: tape.input(packed.sequenceEnd),
      segments,
    };
  }

  /** Final normalised hidden states [N, C]. */
  hidden(tape: Tape, batch: DeviceBatch, attend: Attend = this.packedAttention(tape, batch)): Tensor {
    const weight = this.parameters.get("model.embed_tokens.weight");
    let x = tape.apply(embedding, { token: batch.token, weight, ...batch.segments }).y;
    for (let layer = 0; layer < this.config.num_hidden_layers; layer++) {
      const before = x;
      x = tape.scope(() => this.#layer(tape, batch, before, layer, attend));
    }
    return this.#norm(tape, x, "model.norm.weight");
  }

  /**
   * Log-probability and entropy of chosen next tokens.
   * @param index R distinct token places whose hidden state predicts, see `PackedTokens`
   * @param target R token ids predicted there
   * @param temperature divides the logits
   */
  score(tape: Tape, hidden: Tensor, index: Uint32Array, target: Uint32Array, temperature = 1): ScoredTokens {
    const rows = tape.apply(gatherRows, { x: hidden, index: tape.input(index) }).y;
    return tape.apply(
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

  /** Causal attention inside each packed sequence. */
  packedAttention(tape: Tape, batch: DeviceBatch): Attend {
    const { num_attention_heads: heads, num_key_value_heads: kv_heads } = this.config;
    const { sequenceStart: sequence_start, sequenceEnd: sequence_end } = batch;
    return (_layer, { q, k, v }) =>
      tape.apply(attention, { q, k, v, sequence_start, sequence_end }, { heads, kv_heads }).y;
  }

  /** Releases what the model holds beside its parameters. */
  release(): void {
    this.#table?.release();
    this.#table = undefined;
    this.#tableRows = 0;
  }

  #layer(tape: Tape, batch: DeviceBatch, x: Tensor, layer: number, attend: Attend): Tensor {
    const prefix = layerPrefix(layer);
    const { num_attention_heads: heads, num_key_value_heads: kvHeads } = this.config;
    const normed = this.#norm(tape, x, `${prefix}input_layernorm.weight`);
    const q = this.#linear(tape, normed, `${prefix}self_attn.q_proj`, true);
    const k = this.#linear(tape, normed, `${prefix}self_attn.k_proj`, true);
    const v = this.#linear(tape, normed, `${prefix}self_attn.v_proj`, true);
    const rotate = (tensor: Tensor, count: number) =>
      tape.apply(rope, { x: tensor, position: batch.position, table: this.#table }, { heads: count }).y;
    const attended = attend(layer, { q: rotate(q, heads), k: rotate(k, kvHeads), v });
    const middle = tape.apply(add, {
      a: x,
      b: this.#linear(tape, attended, `${prefix}self_attn.o_proj`, false),
    }).y;
    const wide = this.#norm(tape, middle, `${prefix}post_attention_layernorm.weight`);
    const gate = this.#linear(tape, wide, `${prefix}mlp.gate_proj`, false);
    const up = this.#linear(tape, wide, `${prefix}mlp.up_proj`, false);
    const y = tape.apply(swiglu, { gate, up }).y;
    return tape.apply(add, { a: middle, b: this.#linear(tape, y, `${prefix}mlp.down_proj`, false) }).y;
  }

  #norm(tape: Tape, x: Tensor, name: string): Tensor {
    return tape.apply(rmsNorm, { x, gain: this.parameters.get(name) }, { eps: this.config.rms_norm_eps }).y;
  }

  #linear(tape: Tape, x: Tensor, name: string, hasBias: boolean): Tensor {
    const bias = hasBias ? this.parameters.get(`${name}.bias`) : undefined;
    return tape.apply(linear, { x, weight: this.parameters.get(`${name}.weight`), bias }).y;
  }

  /** Rotary angles for at least this many positions; grows by doubling so that steady batches reuse one table. */
  #growTable(rows: number): void {
    if (rows <= this.#tableRows) return;
    this.#tableRows = Math.min(
      this.config.max_position_embeddings,
      2 ** Math.ceil(Math.log2(Math.max(256, rows))),
    );
    this.#table?.release();
    const width = headWidth(this.config);
    const table = ropeTable(this.#tableRows, width, this.config.rope_theta);
    this.#table = Tensor.from(this.launcher.runtime, table, [this.#tableRows, width], {
      label: "rope table",
    });
  }
}
