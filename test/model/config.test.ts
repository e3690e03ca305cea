/** Model configurations and the tensors they imply. */
import { expect, test } from "vitest";
import { ArgumentError, ConfigError, DataError } from "../../src/core/errors.js";
import { configJson, PRESET_NAMES, parseQwen2Config, presetConfig } from "../../src/model/config.js";
import { elementCount, headWidth, parameterCount, parameterShapes } from "../../src/model/parameters.js";

/** Fields of the published Qwen2.5-0.5B-Instruct configuration. */
const published = {
  architectures: ["Qwen2ForCausalLM"],
  attention_dropout: 0.0,
  bos_token_id: 151643,
  eos_token_id: 151645,
  hidden_act: "silu",
  hidden_size: 896,
  initializer_range: 0.02,
  intermediate_size: 4864,
  max_position_embeddings: 32768,
  max_window_layers: 21,
  model_type: "qwen2",
  num_attention_heads: 14,
  num_hidden_layers: 24,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000.0,
  sliding_window: 32768,
  tie_word_embeddings: true,
  torch_dtype: "bfloat16",
  transformers_version: "4.43.1",
  use_cache: true,
  use_sliding_window: false,
  vocab_size: 151936,
};

test("a published configuration is read, and its unknown keys survive", () => {
  const config = parseQwen2Config(published, "config.json");
  expect(config.eos_token_id).toBe(151645);
  expect(config.rope_theta).toBe(1e6);
  expect(headWidth(config)).toBe(64);
  expect(configJson(config)).toMatchObject(published);
});

test("presets have the sizes of the published models", () => {
  expect(parameterCount(presetConfig("qwen2.5-0.5b"))).toBe(494_032_768);
  expect(parameterCount(presetConfig("qwen2.5-1.5b"))).toBe(1_543_714_304);
  expect(parameterCount(presetConfig("qwen2.5-7b"))).toBe(7_615_616_512);
});

test("every preset is usable, and larger than the one before", () => {
  const counts = PRESET_NAMES.map((name) => parameterCount(presetConfig(name, 500)));
  expect(counts).toEqual(counts.slice().sort((a, b) => a - b));
  expect(presetConfig("nano", 100, { eos_token_id: 2, rope_theta: 500 })).toMatchObject({
    hidden_size: 64,
    num_hidden_layers: 2,
    vocab_size: 100,
    eos_token_id: 2,
    rope_theta: 500,
  });
  expect(() => presetConfig("nanno", 10)).toThrow(ConfigError);
  expect(() => presetConfig("nanno", 10)).toThrow(/nano, micro, small/);
  expect(() => presetConfig("nano")).toThrow(ArgumentError);
  expect(() => presetConfig("nano", 10, { num_key_value_heads: 3 })).toThrow(/num_key_value_heads/);
});

test("tensor names and shapes are Hugging Face's", () => {
  const shapes = parameterShapes(presetConfig("nano", 100));
  expect(shapes.slice(0, 13)).toEqual([
    { name: "model.embed_tokens.weight", shape: [100, 64] },
    { name: "model.layers.0.input_layernorm.weight", shape: [64] },
    { name: "model.layers.0.self_attn.q_proj.weight", shape: [64, 64] },
    { name: "model.layers.0.self_attn.q_proj.bias", shape: [64] },
    { name: "model.layers.0.self_attn.k_proj.weight", shape: [32, 64] },
    { name: "model.layers.0.self_attn.k_proj.bias", shape: [32] },
    { name: "model.layers.0.self_attn.v_proj.weight", shape: [32, 64] },
    { name: "model.layers.0.self_attn.v_proj.bias", shape: [32] },
    { name: "model.layers.0.self_attn.o_proj.weight", shape: [64, 64] },
    { name: "model.layers.0.post_attention_layernorm.weight", shape: [64] },
    { name: "model.layers.0.mlp.gate_proj.weight", shape: [192, 64] },
    { name: "model.layers.0.mlp.up_proj.weight", shape: [192, 64] },
    { name: "model.layers.0.mlp.down_proj.weight", shape: [64, 192] },
  ]);
  expect(shapes.at(-1)).toEqual({ name: "model.norm.weight", shape: [64] });
  const untied = parameterShapes(presetConfig("nano", 100, { tie_word_embeddings: false }));
  expect(untied.at(-1)).toEqual({ name: "lm_head.weight", shape: [100, 64] });
  expect(elementCount([])).toBe(1);
});

test("newer spellings and Hugging Face's defaults are understood", () => {
  const { torch_dtype, rope_theta, ...rest } = published;
  const newer = { ...rest, dtype: torch_dtype, rope_parameters: { rope_theta, rope_type: "default" } };
  const config = parseQwen2Config(newer, "config.json");
  expect(config).toMatchObject({ torch_dtype: "bfloat16", rope_theta: 1e6 });
  expect(configJson({ ...config, torch_dtype: "float32" })).not.toHaveProperty("dtype");
  const bare = {
    model_type: "qwen2",
    hidden_size: 8,
    intermediate_size: 16,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: null,
    vocab_size: 5,
  };
  expect(parseQwen2Config(bare, "config.json")).toMatchObject({
    num_key_value_heads: 2,
    tie_word_embeddings: false,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    torch_dtype: "float32",
    eos_token_id: null,
  });
});

test.each([
  ["model_type", { model_type: "llama" }, '"qwen2"'],
  ["hidden_act", { hidden_act: "gelu" }, '"silu"'],
  ["hidden_size", { hidden_size: undefined }, "a positive integer"],
  ["hidden_size", { hidden_size: 12.5 }, "a positive integer"],
  ["hidden_size", { hidden_size: 900 }, "a multiple of num_attention_heads (14)"],
  ["num_attention_heads", { num_key_value_heads: 4 }, "a multiple of num_key_value_heads (4)"],
  ["hidden_size / num_attention_heads", { hidden_size: 42 }, "an even head width"],
  ["head_dim", { head_dim: 128 }, "hidden_size / num_attention_heads (64)"],
  ["vocab_size", { vocab_size: 0 }, "a positive integer"],
  ["rms_norm_eps", { rms_norm_eps: "tiny" }, "a number above 0"],
  ["rope_theta", { rope_theta: -1 }, "a number above 0"],
  ["rope_scaling", { rope_scaling: { type: "yarn", factor: 4 } }, "no rotary scaling"],
  ["rope_parameters", { rope_parameters: { rope_type: "yarn" } }, "no rotary scaling"],
  ["use_sliding_window", { use_sliding_window: true, sliding_window: 4096 }, "full attention"],
  ["use_sliding_window", { use_sliding_window: true, sliding_window: undefined }, "window of 4096 tokens"],
  ["use_sliding_window", { use_sliding_window: "yes" }, "true or false"],
  ["layer_types", { layer_types: ["full_attention", "sliding_attention"] }, "each of the 24 layers"],
  ["layer_types", { layer_types: Array(24).fill("sliding_attention") }, "full attention in every layer"],
  ["num_attention_heads", { num_key_value_heads: undefined }, "(32, as it is absent)"],
  ["rope_scaling.rope_theta", { rope_scaling: { type: "default", rope_theta: 5 } }, "the same as rope_theta"],
  ["rope_parameters.partial_rotary_factor", { rope_parameters: { partial_rotary_factor: 0.5 } }, "1: all"],
  [
    "rope_scaling.mrope_section",
    { rope_scaling: { type: "default", mrope_section: [1, 1] } },
    "one rotation",
  ],
  ["rope_scaling", { rope_scaling: "linear" }, "an object or null"],
  ["num_hidden_layers", { num_hidden_layers: 1e9 }, "at most 4096"],
  ["vocab_size", { vocab_size: Number.POSITIVE_INFINITY }, "a positive integer"],
  ["attention_dropout", { attention_dropout: 0.1 }, "0"],
  ["quantization_config", { quantization_config: { bits: 4 } }, "unquantised weights"],
  ["torch_dtype", { torch_dtype: "int8" }, '"float32"'],
  ["dtype", { torch_dtype: undefined, dtype: "float8_e4m3fn" }, '"float32"'],
  ["architectures", { architectures: ["Qwen2ForSequenceClassification"] }, "Qwen2ForCausalLM among them"],
  ["architectures", { architectures: "LlamaForCausalLM" }, "Qwen2ForCausalLM among them"],
  ["auto_map", { auto_map: { AutoModelForCausalLM: "modeling_other.Model" } }, "is not run"],
  ["is_causal", { is_causal: false }, "true: tokens attend to those before them"],
  ["tie_word_embeddings", { tie_word_embeddings: "yes" }, "true or false"],
  ["eos_token_id", { eos_token_id: "<|end|>" }, "a token id"],
])("a wrong %s is named (%j)", (field, change, expected) => {
  const parse = () => parseQwen2Config({ ...published, ...change }, "folder/config.json");
  expect(parse).toThrow(DataError);
  expect(parse).toThrow("[folder/config.json]");
  expect(parse).toThrow(`${field}: got`);
  expect(parse).toThrow(expected);
});

test.each([
  ["transformers 4", { rope_theta: 1e6 }],
  ["transformers 5", { rope_parameters: { rope_type: "default", rope_theta: 1e6 } }],
  ["rope_scaling alone", { rope_scaling: { rope_type: "default", rope_theta: 1e6 } }],
  ["a null beside it", { rope_theta: null, rope_scaling: { type: "default", rope_theta: 1e6 } }],
  ["all agree", { rope_theta: 1e6, rope_scaling: null, rope_parameters: { rope_theta: 1e6 } }],
])("the base of the rotary angles is read where %s has it", (_name, fields) => {
  const { rope_theta: _theta, ...rest } = published;
  expect(parseQwen2Config({ ...rest, ...fields }, "config.json").rope_theta).toBe(1e6);
});

test("dtype goes before torch_dtype, null leaves a default, and swish is silu", () => {
  const change = { dtype: "float16", hidden_act: "swish", rms_norm_eps: null, tie_word_embeddings: null };
  expect(parseQwen2Config({ ...published, ...change }, "config.json")).toMatchObject({
    torch_dtype: "float16",
    hidden_act: "silu",
    rms_norm_eps: 1e-6,
    tie_word_embeddings: false,
  });
});

test("a sliding window that no layer or no sequence meets is harmless", () => {
  for (const harmless of [
    { use_sliding_window: true, sliding_window: 32768 },
    { use_sliding_window: true, sliding_window: 4096, max_window_layers: 24 },
    { use_sliding_window: true, sliding_window: null },
    { use_sliding_window: true, sliding_window: 8, layer_types: Array(24).fill("full_attention") },
    {
      use_sliding_window: true,
      sliding_window: undefined,
      max_window_layers: undefined,
      num_hidden_layers: 28,
    },
    { use_sliding_window: true, sliding_window: 32768, layer_types: Array(24).fill("sliding_attention") },
  ]) {
    expect(() => parseQwen2Config({ ...published, ...harmless }, "config.json")).not.toThrow();
  }
});

test("all wrong fields come in one message, and a list of end tokens is kept", () => {
  expect(() => parseQwen2Config({ ...published, vocab_size: -1, hidden_act: "relu" }, "c")).toThrow(
    /vocab_size: got -1.*hidden_act: got "relu"/,
  );
  expect(() => parseQwen2Config([], "c")).toThrow("not an object");
  expect(parseQwen2Config({ ...published, eos_token_id: [1, 2] }, "c").eos_token_id).toEqual([1, 2]);
});
