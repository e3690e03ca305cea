/** The shape of a Qwen2 policy: config.json in and out, presets by one dial, and the tensors a checkpoint must hold. */
import { z } from "zod";
import { ArgumentError, ConfigError, DataError } from "../core/errors.js";
import { shown } from "../core/shown.js";
import { ARCHITECTURE, isObject, unsupported, withDefaults } from "./config_rules.js";

/**
 * The fields of a Hugging Face `config.json` that decide a Qwen2 model, under their names there. Keys beyond these are
 * kept on the object by `parseQwen2Config` and written back by `configJson`.
 */
export interface Qwen2Config {
  readonly model_type: "qwen2";
  /** C, model width. */
  readonly hidden_size: number;
  /** F, MLP width. */
  readonly intermediate_size: number;
  /** L, layers. */
  readonly num_hidden_layers: number;
  /** H, query heads. */
  readonly num_attention_heads: number;
  /** Hkv, key/value heads. */
  readonly num_key_value_heads: number;
  /** V, rows of the embedding; may exceed the number of tokens that the tokenizer knows. */
  readonly vocab_size: number;
  /** Longest sequence in tokens that the rotary angles were trained for. */
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
  /** The output projection is the embedding itself. */
  readonly tie_word_embeddings: boolean;
  readonly hidden_act: "silu";
  /** Standard deviation of fresh weights. */
  readonly initializer_range: number;
  /** Dtype of the weights on disk. */
  readonly torch_dtype: "float32" | "float16" | "bfloat16";
  readonly bos_token_id: number | null;
  readonly eos_token_id: number | readonly number[] | null;
  readonly pad_token_id: number | null;
}

const positiveInteger = z.int("a positive integer").positive("a positive integer");
/** Far above any model, and small enough that a typing error is refused before it is allocated. */
const size = (most: number) => positiveInteger.max(most, `a positive integer, at most ${most}`);
const positiveNumber = z.number("a number above 0").positive("a number above 0");
const tokenId = z.int("a token id").nonnegative("a token id");

const schema = z.looseObject({
  model_type: z.literal("qwen2", '"qwen2"'),
  hidden_size: size(131072),
  intermediate_size: size(1048576),
  num_hidden_layers: size(4096),
  num_attention_heads: size(16384),
  num_key_value_heads: size(16384),
  vocab_size: size(16777216),
  max_position_embeddings: size(134217728).default(32768),
  rms_norm_eps: positiveNumber.default(1e-6),
  rope_theta: positiveNumber.default(10000),
  tie_word_embeddings: z.boolean("true or false").default(false),
  hidden_act: z.literal("silu", '"silu"').default("silu"),
  initializer_range: z.number("a number, 0 or more").nonnegative("a number, 0 or more").default(0.02),
  torch_dtype: z
    .enum(["float32", "float16", "bfloat16"], '"float32", "float16" or "bfloat16"')
    .default("float32"),
  bos_token_id: tokenId.nullable().default(null),
  eos_token_id: z
    .union([tokenId, z.array(tokenId)], "a token id, a list of them or null")
    .nullable()
    .default(null),
  pad_token_id: tokenId.nullable().default(null),
});

/**
 * Reads the parsed text of a `config.json`. Missing optional fields get Hugging Face's defaults; unknown keys stay on
 * the result. Spellings of transformers 4 and 5 are understood (`withDefaults`).
 * @param json what `JSON.parse` gave
 * @param file name for messages
 * @throws DataError listing every missing, wrong or unsupported field
 */
export function parseQwen2Config(json: unknown, file: string): Qwen2Config {
  const cure = "Use a Qwen2 or Qwen2.5 checkpoint with plain attention.";
  if (!isObject(json)) {
    throw new DataError(
      `[${file}] model configuration is not an object: got ${shown(json)}, expected a JSON object. ${cure}`,
    );
  }
  const input = withDefaults(json);
  const result = schema.safeParse(input);
  const problems = result.success
    ? unsupported(json, result.data)
    : result.error.issues.map((issue) => {
        const field = String(issue.path[0]);
        // by the spelling of the file
        const name = field === "torch_dtype" && (json.dtype ?? null) !== null ? "dtype" : field;
        return `${name}: got ${shown(input[field])}, expected ${issue.message}`;
      });
  if (!result.success || problems.length > 0) {
    throw new DataError(`[${file}] model configuration is not usable: ${problems.join("; ")}. ${cure}`);
  }
  return result.data;
}

interface PresetShape extends Readonly<Record<"L" | "C" | "H" | "Hkv" | "F", number>> {
  /** Default: 151936 of published shapes. */
  readonly V?: number;
  /** Default true. */
  readonly tied?: boolean;
}

const PRESETS = {
  nano: { L: 2, C: 64, H: 4, Hkv: 2, F: 192 },
  micro: { L: 3, C: 128, H: 4, Hkv: 2, F: 384 },
  small: { L: 4, C: 256, H: 4, Hkv: 2, F: 768 },
  medium: { L: 8, C: 512, H: 8, Hkv: 4, F: 1536 },
  "qwen2.5-0.5b": { L: 24, C: 896, H: 14, Hkv: 2, F: 4864 },
  "qwen2.5-1.5b": { L: 28, C: 1536, H: 12, Hkv: 2, F: 8960 },
  "qwen2.5-7b": { L: 28, C: 3584, H: 28, Hkv: 4, F: 18944, V: 152064, tied: false },
} as const satisfies Record<string, PresetShape>;

export type PresetName = keyof typeof PRESETS;

/** Names that `presetConfig` knows, smallest first. */
export const PRESET_NAMES = Object.keys(PRESETS) as readonly PresetName[];

/**
 * A configuration by one dial. The `qwen2.5-*` presets have the shapes of the published models (vocabulary 151936, or 152064
 * at 7b, rope_theta 1e6, bfloat16); the others are for training from scratch with a small vocabulary. All but 7b tie the
 * embedding.
 * @param name one of `PRESET_NAMES`
 * @param vocabSize V; the `qwen2.5-*` presets have their own when it is absent
 * @param changes fields to set otherwise, for example the token ids of the tokenizer
 * @throws ConfigError for an unknown name
 * @throws ArgumentError without a vocabulary size where one is needed
 * @throws DataError when `changes` break a rule of `parseQwen2Config`
 */
export function presetConfig(
  name: string,
  vocabSize?: number,
  changes: Partial<Qwen2Config> = {},
): Qwen2Config {
  if (!Object.hasOwn(PRESETS, name)) {
    throw new ConfigError(
      `[model] unknown preset: got "${name}", expected one of ${PRESET_NAMES.join(", ")}. Choose one of them.`,
    );
  }
  const shape: PresetShape = PRESETS[name as PresetName];
  const published = name.startsWith("qwen2.5-");
  const vocabulary = vocabSize ?? (published ? (shape.V ?? 151936) : undefined);
  if (vocabulary === undefined) {
    throw new ArgumentError(
      `[model] preset "${name}" has no vocabulary of its own: got no vocabSize, expected a positive integer. ` +
        "Pass the vocabulary size of the tokenizer.",
    );
  }
  const config: Qwen2Config = {
    model_type: "qwen2",
    hidden_size: shape.C,
    intermediate_size: shape.F,
    num_hidden_layers: shape.L,
    num_attention_heads: shape.H,
    num_key_value_heads: shape.Hkv,
    vocab_size: vocabulary,
    max_position_embeddings: published ? 32768 : 4096,
    rms_norm_eps: 1e-6,
    rope_theta: published ? 1_000_000 : 10_000,
    tie_word_embeddings: shape.tied ?? true,
    hidden_act: "silu",
    // 0.02 suits widths of a thousand and more; narrow layers need 1 / sqrt(width) to pass a signal on
    initializer_range: published ? 0.02 : 0.8 / Math.sqrt(shape.C),
    torch_dtype: published ? "bfloat16" : "float32",
    bos_token_id: published ? 151643 : null,
    eos_token_id: published ? 151643 : null,
    pad_token_id: null,
    ...changes,
  };
  return parseQwen2Config(config, `preset ${name}`);
}

/**
 * The object to write as `config.json`: every field and every preserved unknown key, sorted, with `architectures` and
 * without the newer spelling of the dtype, which would contradict `torch_dtype` once that changes.
 */
export function configJson(config: Qwen2Config): Record<string, unknown> {
  const { dtype: _newerSpelling, ...fields } = config as Qwen2Config & { dtype?: unknown };
  const all: Record<string, unknown> = { ...fields, architectures: [ARCHITECTURE] };
  return Object.fromEntries(
    Object.keys(all)
      .sort()
      .map((key) => [key, all[key]]),
  );
}
