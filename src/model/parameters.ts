/** The tensors of a Qwen2 checkpoint: names, shapes, order. */
import type { ParameterPart, StoredShape } from "../autograd/parameter_slots.js";
import { elementCount } from "../kernels/engine/array_view.js";
import type { Qwen2Config } from "./config.js";

export { elementCount };

/** One tensor of a checkpoint. Matrices are [outputs, inputs], as Hugging Face stores them. */
export interface ParameterShape {
  readonly name: string;
  readonly shape: readonly number[];
}

/** D, the width of one attention head. */
export function headWidth(config: Qwen2Config): number {
  return config.hidden_size / config.num_attention_heads;
}

/** Prefix of the tensor names of one layer: `model.layers.3.` */
export function layerPrefix(layer: number): string {
  return `model.layers.${layer}.`;
}

function layerShapes(config: Qwen2Config, layer: number): ParameterShape[] {
  const C = config.hidden_size;
  const F = config.intermediate_size;
  const queries = config.num_attention_heads * headWidth(config);
  const keys = config.num_key_value_heads * headWidth(config);
  const shapes: [string, number[]][] = [
    ["input_layernorm.weight", [C]],
    ["self_attn.q_proj.weight", [queries, C]],
    ["self_attn.q_proj.bias", [queries]],
    ["self_attn.k_proj.weight", [keys, C]],
    ["self_attn.k_proj.bias", [keys]],
    ["self_attn.v_proj.weight", [keys, C]],
    ["self_attn.v_proj.bias", [keys]],
    ["self_attn.o_proj.weight", [C, queries]],
    ["post_attention_layernorm.weight", [C]],
    ["mlp.gate_proj.weight", [F, C]],
    ["mlp.up_proj.weight", [F, C]],
    ["mlp.down_proj.weight", [C, F]],
  ];
  return shapes.map(([name, shape]) => ({ name: layerPrefix(layer) + name, shape }));
}

/**
 * Every tensor of a checkpoint, from the embedding up, under its Hugging Face name. `lm_head.weight` is there only
 * when the embedding is not tied.
 */
export function parameterShapes(config: Qwen2Config): ParameterShape[] {
  const embedding = [config.vocab_size, config.hidden_size];
  const shapes: ParameterShape[] = [{ name: "model.embed_tokens.weight", shape: embedding }];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) shapes.push(...layerShapes(config, layer));
  shapes.push({ name: "model.norm.weight", shape: [config.hidden_size] });
  if (!config.tie_word_embeddings) shapes.push({ name: "lm_head.weight", shape: embedding });
  return shapes;
}

/** Columns of the packed projection: query heads, then key heads, then value heads. */
export function projectionWidth(config: Qwen2Config): number {
  return (config.num_attention_heads + 2 * config.num_key_value_heads) * headWidth(config);
}

function storedLayer(config: Qwen2Config, layer: number): StoredShape[] {
  const C = config.hidden_size;
  const F = config.intermediate_size;
  const prefix = layerPrefix(layer);
  const shapes = new Map(layerShapes(config, layer).map((shape) => [shape.name.slice(prefix.length), shape]));
  const single = (name: string): StoredShape => shapes.get(name) as ParameterShape;
  const stack = (kind: "weight" | "bias"): readonly ParameterPart[] => {
    let first = 0;
    return ["q", "k", "v"].map((letter) => {
      const part = { ...single(`self_attn.${letter}_proj.${kind}`), first, stride: 1 };
      first += part.shape[0] as number;
      return part;
    });
  };
  const gateUp = ["gate", "up"].map((name, first) => ({
    ...single(`mlp.${name}_proj.weight`),
    first,
    stride: 2,
  }));
  const W = projectionWidth(config);
  return [
    single("input_layernorm.weight"),
    { name: `${prefix}self_attn.qkv_proj.weight`, shape: [W, C], parts: stack("weight") },
    { name: `${prefix}self_attn.qkv_proj.bias`, shape: [W], parts: stack("bias") },
    single("self_attn.o_proj.weight"),
    single("post_attention_layernorm.weight"),
    { name: `${prefix}mlp.gate_up_proj.weight`, shape: [2 * F, C], parts: gateUp },
    single("mlp.down_proj.weight"),
  ];
}

/**
 * The tensors as kernels use them, for `FlatParameters`: the projections to queries, keys and values are one matrix, row
 * after row; gate and up are one with alternating rows, so that a pair of neighbouring columns of its product is gated
 * where it is computed. The parts keep their Hugging Face names.
 */
export function storedShapes(config: Qwen2Config): StoredShape[] {
  const [embedding, ...rest] = parameterShapes(config).filter(
    ({ name }) => !name.startsWith("model.layers."),
  );
  const layers = Array.from({ length: config.num_hidden_layers }, (_, layer) => storedLayer(config, layer));
  return [embedding as StoredShape, ...layers.flat(), ...rest];
}

/** Number of trainable values, a tied embedding counted once. */
export function parameterCount(config: Qwen2Config): number {
  return parameterShapes(config).reduce((sum, { shape }) => sum + elementCount(shape), 0);
}
