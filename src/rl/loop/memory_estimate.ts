/** How much GPU memory a run will need, before anything is allocated. Pure. */

import type { TrainConfig } from "../../config/schema.js";
import type { Qwen2Config } from "../../model/config.js";
import {
  elementCount,
  headWidth,
  parameterCount,
  parameterShapes,
  projectionWidth,
} from "../../model/parameters.js";

/** One part of the memory. */
export interface MemoryRow {
  readonly name: string;
  readonly bytes: number;
  /** What the number is made of. */
  readonly note: string;
}

/** Limits of an adapter, where they are known. */
export interface MemoryLimits {
  /** Bytes of one buffer. */
  readonly maxBufferSize?: number;
  /** Bytes of one buffer that a kernel sees. */
  readonly maxStorageBufferBindingSize?: number;
  /** Bytes of the device; WebGPU does not tell. */
  readonly deviceBytes?: number;
}

export interface MemoryEstimate {
  readonly rows: readonly MemoryRow[];
  /** Everything at the same time: an upper estimate, since rollout and update share pooled buffers. */
  readonly totalBytes: number;
  /** The largest single buffer. */
  readonly largest: MemoryRow;
  /** One sentence for each limit that is passed. */
  readonly warnings: readonly string[];
}

export interface MemoryRequest {
  readonly config: TrainConfig;
  readonly model: Qwen2Config;
  /** T, tokens of the longest prompt; default 512. */
  readonly promptTokens?: number;
  readonly limits?: MemoryLimits;
}

const FLOAT_BYTES = 4;
const HALF_BYTES = 2;
/** Logits are made for a part of the tokens at a time: never more than this. */
const LOGITS_BYTES = 64 << 20;
const PROMPT_TOKENS = 512;
/** What a world says to one command, in tokens: an assumption. */
const OBSERVATION_TOKENS = 32;
/** Sequences that the generator decodes side by side; more are served in turn. */
const SEQUENCES = 256;

/** Bytes of what a policy stores as f16 in mixed precision, and of its parameters. */
function storage({ config, model }: MemoryRequest) {
  const isMixed = config.model.precision === "mixed";
  const parameters = parameterCount(model);
  const matrices = parameterShapes(model)
    .filter(({ shape }) => shape.length > 1)
    .reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const halves = isMixed ? HALF_BYTES * matrices : 0;
  const frozen = isMixed ? halves + FLOAT_BYTES * (parameters - matrices) : FLOAT_BYTES * parameters;
  return { isMixed, parameters, halves, frozen, activation: isMixed ? HALF_BYTES : FLOAT_BYTES };
}

/**
 * Values that one token leaves behind in one layer until backward has used them: the packed projection (queries, keys and
 * values), attention, both residual sums, gate and up, and their gated product. Beside them, always f32, one number per norm
 * and head. By plain ops also: normalised rows, projections taken apart and joined again once rotated, products before their
 * sums, gate and up apart.
 */
function layerActivations(
  model: Qwen2Config,
  isFused: boolean,
): { readonly values: number; readonly statistics: number } {
  const { hidden_size: C, intermediate_size: F, num_attention_heads: H, num_key_value_heads: Hkv } = model;
  const W = projectionWidth(model);
  const fused = W + 3 * C + 3 * F;
  const parts = 2 * W + (H + Hkv) * headWidth(model) + 4 * C + 2 * F;
  return { values: isFused ? fused : fused + parts, statistics: H + 2 };
}

/** Rows that are played at the same time: those of a GRPO iteration, or the episodes of an evaluation. */
function rolloutRows({ grpo, eval: evaluation }: TrainConfig): number {
  const training = grpo.max_steps > 0 ? grpo.num_generations * grpo.tasks_per_step : 0;
  return Math.min(SEQUENCES, Math.max(training, evaluation.episodes));
}

/** Tokens of the longest text with its answer: a prompt by itself, or a whole episode. */
function textTokens({ config }: MemoryRequest, promptTokens: number): number {
  const { context, max_tokens } = config.prompt;
  const answer = config.grpo.max_completion_length;
  const grown =
    context === "episode"
      ? promptTokens + config.world.max_steps * (answer + OBSERVATION_TOKENS)
      : promptTokens;
  return Math.min(grown, max_tokens ?? grown) + answer;
}

function rowsOf(request: MemoryRequest): MemoryRow[] {
  const { config, model, promptTokens = PROMPT_TOKENS } = request;
  const { isMixed, parameters, halves, frozen, activation } = storage(request);
  const { tokens_per_micro_batch: N, beta, max_steps } = config.grpo;
  const { hidden_size: C, num_hidden_layers: L, vocab_size: V } = model;
  const kv = model.num_key_value_heads * headWidth(model);
  const { fused } = config.model;
  const layer = layerActivations(model, fused);
  const layerBytes = layer.values * activation + layer.statistics * FLOAT_BYTES;
  const length = Math.min(model.max_position_embeddings, textTokens(request, promptTokens));
  const players = rolloutRows(config);
  const weights = `${parameters} parameters, float32`;
  const row = (name: string, bytes: number, note: string) => ({ name, bytes, note });
  return [
    row("parameters", FLOAT_BYTES * parameters, weights),
    ...(isMixed ? [row("half copy", halves, "matrices as f16, which kernels read")] : []),
    row("gradients", FLOAT_BYTES * parameters, weights),
    row("optimiser", 2 * FLOAT_BYTES * parameters, "two AdamW moments for each parameter"),
    ...(beta > 0 && max_steps > 0 ? [row("reference policy", frozen, "kept because grpo.beta > 0")] : []),
    row(
      "activations",
      N * (L * layerBytes + 2 * C * activation),
      `${N} tokens (grpo.tokens_per_micro_batch), ${L} layers`,
    ),
    row("activation gradients", N * (layerBytes + 2 * C * activation), "of one layer at a time"),
    row(
      "logits",
      fused ? Math.min(LOGITS_BYTES, FLOAT_BYTES * N * V) : 2 * FLOAT_BYTES * N * V,
      fused
        ? `vocabulary of ${V}, a part of the tokens at a time`
        : `vocabulary of ${V}, of all tokens, and their gradient (model.fused: false)`,
    ),
    row(
      "KV cache",
      FLOAT_BYTES * players * length * L * 2 * kv,
      `${players} episodes at a time, ${length} tokens (prompts of ${promptTokens} assumed)`,
    ),
  ];
}

function largestBuffer(request: MemoryRequest, rows: readonly MemoryRow[]): MemoryRow {
  const { config, model } = request;
  const { hidden_size: C, intermediate_size: F, vocab_size: V, num_hidden_layers: L } = model;
  const N = config.grpo.tokens_per_micro_batch;
  const cache = rows.find(({ name }) => name === "KV cache")?.bytes ?? 0;
  const candidates: MemoryRow[] = [
    { name: "embedding", bytes: V * C * FLOAT_BYTES, note: `${V} x ${C}` },
    { name: "MLP activation", bytes: N * 2 * F * storage(request).activation, note: `${N} x ${2 * F}` },
    { name: "keys of one layer", bytes: cache / (2 * L), note: "KV cache" },
  ];
  return candidates.reduce((largest, one) => (one.bytes > largest.bytes ? one : largest));
}

function warningsOf(total: number, largest: MemoryRow, limits: MemoryLimits): string[] {
  const warnings: string[] = [];
  const { maxBufferSize, maxStorageBufferBindingSize, deviceBytes } = limits;
  const buffer = Math.min(maxBufferSize ?? Infinity, maxStorageBufferBindingSize ?? Infinity);
  if (largest.bytes > buffer) {
    warnings.push(`${largest.name} needs a buffer of ${largest.bytes} bytes, the adapter gives ${buffer}`);
  }
  if (deviceBytes !== undefined && total > deviceBytes) {
    warnings.push(`the run needs about ${total} bytes, the device has ${deviceBytes}`);
  }
  return warnings;
}

/**
 * Estimates the GPU memory of a run from shapes alone; fragmentation and the driver's own memory come on top.
 * @returns parts in bytes, their sum, the largest buffer, and what does not fit
 */
export function estimateMemory(request: MemoryRequest): MemoryEstimate {
  const rows = rowsOf(request);
  const totalBytes = rows.reduce((sum, { bytes }) => sum + bytes, 0);
  const largest = largestBuffer(request, rows);
  return { rows, totalBytes, largest, warnings: warningsOf(totalBytes, largest, request.limits ?? {}) };
}
