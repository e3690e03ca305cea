/** What a `config.json` means where fields depend on each other: defaults, older and newer spellings, what is not computed. */
import { shown } from "../core/shown.js";

type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What transformers calls the model that is computed. */
export const ARCHITECTURE = "Qwen2ForCausalLM";

/** The fields of a `Qwen2Config` that rules compare. */
export interface DecoderShape {
  readonly hidden_size: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly num_hidden_layers: number;
  readonly max_position_embeddings: number;
}

/** Defaults of Qwen2Config in Hugging Face's transformers, of fields that only decide what is refused, or that depend on
 *  whether they are absent or null. */
const ABSENT = { num_key_value_heads: 32, sliding_window: 4096, max_window_layers: 28 } as const;

/** The rotary settings: transformers 4 has them under `rope_scaling`, 5 under `rope_parameters`. */
const ROPE_FIELDS = ["rope_scaling", "rope_parameters"] as const;

/** Every place that states the base of the rotary angles, with what it says. */
function statedBases(json: JsonObject): [place: string, value: unknown][] {
  const nested = ROPE_FIELDS.flatMap((field): [string, unknown][] => {
    const rope = json[field];
    return isObject(rope) ? [[`${field}.rope_theta`, rope.rope_theta]] : [];
  });
  const all: [string, unknown][] = [["rope_theta", json.rope_theta], ...nested];
  return all.filter(([, value]) => value !== undefined && value !== null);
}

/** Fields that a null leaves at their default. */
const NULL_IS_ABSENT = [
  "max_position_embeddings",
  "rms_norm_eps",
  "tie_word_embeddings",
  "hidden_act",
  "initializer_range",
  "torch_dtype",
] as const;

/**
 * The fields under the names of `Qwen2Config`, with what transformers takes where they are absent or null: the base of the
 * rotary angles from wherever it stands, `dtype` before `torch_dtype`, 32 key/value heads, but one for each query head where
 * the field is null.
 */
export function withDefaults(json: JsonObject): JsonObject {
  const {
    num_attention_heads: heads,
    num_key_value_heads: kvHeads = ABSENT.num_key_value_heads,
    hidden_act: act,
  } = json;
  const fields: Record<string, unknown> = {
    ...json,
    torch_dtype: json.dtype ?? json.torch_dtype,
    rope_theta: statedBases(json)[0]?.[1],
    num_key_value_heads: kvHeads ?? heads,
    // both are x * sigmoid(x)
    hidden_act: act === "swish" ? "silu" : act,
  };
  for (const field of NULL_IS_ABSENT) if (fields[field] === null) delete fields[field];
  return fields;
}

/** One rule: the field that asks for something, what it says, what it may say. */
type Rule = (holds: boolean, field: string, got: unknown, expected: string) => void;

function checkHeads(rule: Rule, json: JsonObject, config: DecoderShape): void {
  const { hidden_size: width, num_attention_heads: heads, num_key_value_heads: kvHeads } = config;
  rule(width % heads === 0, "hidden_size", width, `a multiple of num_attention_heads (${heads})`);
  const origin = json.num_key_value_heads === undefined ? `${kvHeads}, as it is absent` : kvHeads;
  rule(heads % kvHeads === 0, "num_attention_heads", heads, `a multiple of num_key_value_heads (${origin})`);
  if (width % heads !== 0) return;
  const headWidth = width / heads;
  rule(headWidth % 2 === 0, "hidden_size / num_attention_heads", headWidth, "an even head width");
  const given = json.head_dim ?? headWidth;
  rule(
    given === headWidth,
    "head_dim",
    given,
    `hidden_size / num_attention_heads (${headWidth}) or no head_dim`,
  );
}

function checkRope(rule: Rule, json: JsonObject): void {
  const [first, ...others] = statedBases(json);
  for (const [place, value] of others) {
    rule(value === first[1], place, value, `the same as ${first[0]} (${shown(first[1])})`);
  }
  for (const field of ROPE_FIELDS) {
    const rope = json[field] ?? {};
    if (!isObject(rope)) {
      rule(false, field, rope, "an object or null");
      continue;
    }
    const type = rope.rope_type ?? rope.type ?? "default";
    rule(type === "default", field, rope, "no rotary scaling (null)");
    rule(
      rope.rope_type === undefined || rope.type === undefined || rope.rope_type === rope.type,
      field,
      rope,
      "one type",
    );
    const share = rope.partial_rotary_factor ?? 1;
    rule(share === 1, `${field}.partial_rotary_factor`, share, "1: all channels of a head are rotated");
    for (const other of ["mrope_section", "full_attention", "sliding_attention"]) {
      rule(
        rope[other] === undefined,
        `${field}.${other}`,
        rope[other],
        "one rotation for all layers and positions",
      );
    }
  }
  const share = json.partial_rotary_factor ?? 1;
  rule(share === 1, "partial_rotary_factor", share, "1: all channels of a head are rotated");
}

/**
 * Whether every layer attends to all tokens before: `layer_types` says it where it is given; else layers from
 * `max_window_layers` on have a window where `use_sliding_window` is on and `sliding_window` is not null. A window as long as
 * the longest sequence is none.
 */
function checkWindow(rule: Rule, json: JsonObject, config: DecoderShape): void {
  const { num_hidden_layers: layers, max_position_embeddings: longest } = config;
  const {
    use_sliding_window: on = false,
    sliding_window: window = ABSENT.sliding_window,
    max_window_layers: first = ABSENT.max_window_layers,
    layer_types: types = null,
  } = json;
  rule(typeof on === "boolean", "use_sliding_window", on, "true or false");
  rule(window === null || isCount(window), "sliding_window", window, "a positive integer or null");
  const reaches = window === null || Number(window) >= longest;
  if (types !== null) {
    const known = ["full_attention", "sliding_attention"];
    const fits =
      Array.isArray(types) && types.length === layers && types.every((type) => known.includes(type));
    rule(fits, "layer_types", types, `a list of ${known.join(" or ")}, one for each of the ${layers} layers`);
    const windowed = Array.isArray(types) && types.includes("sliding_attention");
    rule(!windowed || (on === true && reaches), "layer_types", types, "full attention in every layer");
    return;
  }
  if (on !== true) return;
  rule(Number.isInteger(first), "max_window_layers", first, "an integer");
  const harmless = reaches || Number(first) >= layers;
  const asked = `true, with a window of ${shown(window)} tokens${json.sliding_window === undefined ? " as none is given" : ""}`;
  if (!harmless) {
    const from = `from layer ${shown(first)} of ${layers} on, sequences up to ${longest} tokens`;
    rule(false, "use_sliding_window", `${asked}, ${from}`, "full attention in every layer (false)");
  }
}

function isCount(value: unknown): boolean {
  return Number.isInteger(value) && Number(value) > 0;
}

/** Whether the folder's model is the plain decoder, and not another head on it, or code that comes with the folder. */
function checkArchitecture(rule: Rule, json: JsonObject): void {
  const { architectures: names, auto_map: code, is_causal: isCausal } = json;
  const isDecoder = Array.isArray(names) && (names.length === 0 || names.includes(ARCHITECTURE));
  rule((names ?? null) === null || isDecoder, "architectures", names, `${ARCHITECTURE} among them`);
  rule((code ?? null) === null, "auto_map", code, "none: code that comes with a model is not run");
  rule((isCausal ?? true) === true, "is_causal", isCausal, "true: tokens attend to those before them");
}

/** Rules between fields, and settings of the Qwen2 family that the decoder does not compute. @returns what is wrong */
export function unsupported(json: JsonObject, config: DecoderShape): string[] {
  const problems: string[] = [];
  const rule: Rule = (holds, field, got, expected) => {
    if (holds) return;
    const value = typeof got === "string" && got.includes(" ") ? got : shown(got);
    problems.push(`${field}: got ${value}, expected ${expected}`);
  };
  checkArchitecture(rule, json);
  checkHeads(rule, json, config);
  checkRope(rule, json);
  checkWindow(rule, json, config);
  rule((json.attention_dropout ?? 0) === 0, "attention_dropout", json.attention_dropout, "0");
  rule(
    (json.use_mrope ?? false) === false,
    "use_mrope",
    json.use_mrope,
    "false: one rotation for all positions",
  );
  rule(
    (json.quantization_config ?? null) === null,
    "quantization_config",
    json.quantization_config,
    "unquantised weights",
  );
  return problems;
}
