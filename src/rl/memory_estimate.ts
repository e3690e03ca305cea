/** How much GPU memory a run will need, before anything is allocated. Pure. */
import type { Qwen2Config } from "../model/config.js";
import { headWidth, parameterCount } from "../model/parameters.js";
import type { TrainConfig } from "./config.js";

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
/** Logits are made for a part of the tokens at a time: never more than this. */
const LOGITS_BYTES = 64 << 20;
const PROMPT_TOKENS = 512;
/** Sequences that the generator decodes side by side; more are served in turn. */
const SEQUENCES = 256;

/**
 * Values that one token leaves behind in one layer until backward has used them: outputs of both norms, queries, keys and
 * values before and after rotation, attention, its projection, two residual sums, gate, up and their product, the MLP's
 * output, and one number per norm and head.
 */
function layerActivations(model: Qwen2Config): number {
  const { hidden_size: C, intermediate_size: F, num_attention_heads: H } = model;
  const kv = model.num_key_value_heads * headWidth(model);
  return 9 * C + 3 * kv + 3 * F + H + 2;
}

/** Rows that are played at the same time: those of a GRPO iteration, or the episodes of an evaluation. */
function rolloutRows({ grpo, eval: evaluation }: TrainConfig): number {
  const training = grpo.max_steps > 0 ? grpo.num_generations * grpo.tasks_per_step : 0;
  return Math.min(SEQUENCES, Math.max(training, evaluation.episodes));
}

function rowsOf({ config, model, promptTokens = PROMPT_TOKENS }: MemoryRequest): MemoryRow[] {
  const parameters = parameterCount(model);
  const { tokens_per_micro_batch: N, beta, max_steps, max_completion_length } = config.grpo;
  const { hidden_size: C, num_hidden_layers: L, vocab_size: V } = model;
  const kv = model.num_key_value_heads * headWidth(model);
  const perLayer = layerActivations(model);
  const length = Math.min(model.max_position_embeddings, promptTokens + max_completion_length);
  const players = rolloutRows(config);
  const weights = `${parameters} parameters, float32`;
  const row = (name: string, values: number, note: string) => ({ name, bytes: values * FLOAT_BYTES, note });
  return [
    row("parameters", parameters, weights),
    row("gradients", parameters, weights),
    row("optimiser", 2 * parameters, "two AdamW moments for each parameter"),
    ...(beta > 0 && max_steps > 0 ? [row("reference policy", parameters, "kept because grpo.beta > 0")] : []),
    row("activations", N * (L * perLayer + 2 * C), `${N} tokens (grpo.tokens_per_micro_batch), ${L} layers`),
    row("activation gradients", N * (perLayer + 2 * C), "of one layer at a time"),
    row(
      "logits",
      Math.min(LOGITS_BYTES / FLOAT_BYTES, N * V),
      `vocabulary of ${V}, a part of the tokens at a time`,
    ),
    row(
      "KV cache",
      players * length * L * 2 * kv,
      `${players} episodes at a time, ${length} tokens (prompts of ${promptTokens} assumed)`,
    ),
  ];
}

function largestBuffer({ config, model }: MemoryRequest, rows: readonly MemoryRow[]): MemoryRow {
  const { hidden_size: C, intermediate_size: F, vocab_size: V, num_hidden_layers: L } = model;
  const N = config.grpo.tokens_per_micro_batch;
  const cache = rows.find(({ name }) => name === "KV cache")?.bytes ?? 0;
  const candidates: MemoryRow[] = [
    { name: "embedding", bytes: V * C * FLOAT_BYTES, note: `${V} x ${C}` },
    { name: "MLP activation", bytes: N * F * FLOAT_BYTES, note: `${N} x ${F}` },
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
