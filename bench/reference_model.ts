/** The decoder's forward pass for one sequence in float64, from the ops' own references. */
import type { KernelFacts } from "../src/gpu/runtime.js";
import {
  add,
  attention,
  embedding,
  linear,
  linearLogProb,
  type OpDefinition,
  rmsNorm,
  ropeTable,
  swiglu,
} from "../src/kernels/index.js";
import type { Qwen2Config } from "../src/model/config.js";
import { inputScalars } from "./open_op.js";

interface Value {
  readonly values: Float64Array;
  readonly shape: readonly number[];
}

/** A tensor by its Hugging Face name, row-major. */
export type WeightOf = (name: string) => Promise<{
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}>;

/** Log-probabilities of the targets of the first T tokens of a text, [T]. Weights are asked for one at a time. */
export async function referenceLogProbs(
  facts: KernelFacts,
  config: Qwen2Config,
  tokens: ArrayLike<number>,
  targets: ArrayLike<number>,
  weightOf: WeightOf,
): Promise<Float64Array> {
  const { hidden_size: C, num_attention_heads: heads, num_key_value_heads: kv_heads } = config;
  const T = targets.length;
  const D = C / heads;
  // one by one: all weights of a published model in float64 would fill gigabytes
  const get = async (name: string): Promise<Value> => {
    const { shape, data } = await weightOf(name);
    return { values: Float64Array.from(data), shape };
  };
  const perToken = (value: (t: number) => number): Value => ({
    values: Float64Array.from({ length: T }, (_, t) => value(t)),
    shape: [T],
  });
  const apply = (
    op: unknown,
    inputs: Record<string, Value>,
    shape: number[],
    params = {},
    output = "y",
  ): Value => {
    const values = referenceOutput(op as OpDefinition, inputs, params, facts, output);
    return { values, shape };
  };
  const norm = async (x: Value, name: string) =>
    apply(rmsNorm, { x, gain: await get(name) }, [T, C], { eps: config.rms_norm_eps });
  const project = async (x: Value, name: string, hasBias = false): Promise<Value> => {
    const weight = await get(`${name}.weight`);
    const bias = hasBias && { bias: await get(`${name}.bias`) };
    return apply(linear, { x, weight, ...bias }, [T, weight.shape[0]]);
  };
  const table = { values: Float64Array.from(ropeTable(T, D, config.rope_theta)), shape: [T, D] };
  const rotation = { position: perToken((t) => t), table };
  const weight = await get("model.embed_tokens.weight");
  let x = apply(embedding, { token: perToken((t) => tokens[t]), weight }, [T, C]);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const name = (part: string) => `model.layers.${layer}.${part}`;
    const normed = await norm(x, name("input_layernorm.weight"));
    const parts: Value[] = [];
    for (const part of ["q", "k", "v"])
      parts.push(await project(normed, name(`self_attn.${part}_proj`), true));
    const sequence = { sequence_start: perToken(() => 0), sequence_end: perToken(() => T) };
    const inputs = { qkv: sideBySide(parts, T), ...rotation, ...sequence };
    const attended = apply(attention, inputs, [T, C], { heads, kv_heads });
    const middle = apply(add, { a: x, b: await project(attended, name("self_attn.o_proj")) }, [T, C]);
    const wide = await norm(middle, name("post_attention_layernorm.weight"));
    const gate = await project(wide, name("mlp.gate_proj"));
    const inner = apply(swiglu, { gate, up: await project(wide, name("mlp.up_proj")) }, [...gate.shape]);
    x = apply(add, { a: middle, b: await project(inner, name("mlp.down_proj")) }, [T, C]);
  }
  const hidden = await norm(x, "model.norm.weight");
  const target = perToken((t) => targets[t]);
  const head = config.tie_word_embeddings ? weight : await get("lm_head.weight");
  return apply(linearLogProb, { hidden, weight: head, target }, [T], {}, "log_prob").values;
}

/** Columns of one matrix after the other's. */
function sideBySide(parts: readonly Value[], rows: number): Value {
  const W = parts.reduce((sum, { shape }) => sum + shape[1], 0);
  const values = new Float64Array(rows * W);
  let first = 0;
  for (const { values: part, shape } of parts) {
    const width = shape[1];
    for (let n = 0; n < rows; n++) values.set(part.subarray(n * width, (n + 1) * width), n * W + first);
    first += width;
  }
  return { values, shape: [rows, W] };
}

function referenceOutput(
  op: OpDefinition,
  inputs: Readonly<Record<string, Value>>,
  params: Readonly<Record<string, number>>,
  facts: KernelFacts,
  output: string,
): Float64Array {
  const arrays: Record<string, Float64Array> = {};
  const sizes: Record<string, number> = {};
  for (const [name, { values, shape }] of Object.entries(inputs)) {
    arrays[name] = values;
    op.inputs[name].axes.forEach((axis, index) => {
      sizes[axis] = shape[index];
    });
  }
  return op.reference(arrays, inputScalars(op, { arrays, sizes, params }, facts))[output];
}
