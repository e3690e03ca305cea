/**
 * A decoder layer with its adapter beside the weights: for training with dropout, which no changed weight can stand for, and
 * for models whose weights cannot be written.
 */
import type { FlatParameters } from "../autograd/flat_parameters.js";
import type { Tape } from "../autograd/tape.js";
import { Tensor } from "../autograd/tensor.js";
import { hashText } from "../core/hash.js";
import { add, concatColumns, dropout, linear, rmsNorm, sliceColumns, swiglu } from "../kernels/index.js";
import type { Qwen2Config } from "./config.js";
import type { LoraAdapter } from "./lora.js";
import { factorName, loraScale } from "./lora_config.js";
import { layerPrefix } from "./parameters.js";

/** A frozen model and its adapter. */
interface Adapted {
  readonly parameters: FlatParameters;
  readonly config: Qwen2Config;
  readonly adapter: LoraAdapter;
}

/**
 * One layer by plain ops, y = x W^T + s dropout(x) A^T B^T for each targeted matrix, with a mask of its own for each.
 * @param attend [N, (H + 2 Hkv) D] to [N, H D]
 * @param seed of the masks: the same one gives the same masks; undefined: nothing is left out
 * @returns the hidden rows after the layer, [N, C]
 */
export function layerBeside(
  tape: Tape,
  model: Adapted,
  x: Tensor,
  {
    layer,
    attend,
    seed,
  }: { readonly layer: number; readonly attend: (qkv: Tensor) => Tensor; readonly seed: number | undefined },
): Tensor {
  const prefix = layerPrefix(layer);
  const parameter = (name: string) => model.parameters.get(prefix + name);
  const change = (input: Tensor, name: string) =>
    changeOf(tape, model.adapter, input, { name: `${prefix}${name}.weight`, seed });
  const changed = (y: Tensor, input: Tensor, name: string) => {
    const b = change(input, name);
    return b ? tape.apply(add, { a: y, b }).y : y;
  };
  const eps = model.config.rms_norm_eps;
  const normed = tape.apply(rmsNorm, { x, gain: parameter("input_layernorm.weight") }, { eps }).y;
  const projection = {
    weight: parameter("self_attn.qkv_proj.weight"),
    bias: parameter("self_attn.qkv_proj.bias"),
  };
  const plain = tape.apply(linear, { x: normed, ...projection }).y;
  const { num_attention_heads: H, num_key_value_heads: Hkv } = model.config;
  const D = (plain.shape[1] as number) / (H + 2 * Hkv);
  const parts = [H, Hkv, Hkv].map((heads, part) => ({
    width: heads * D,
    change: change(normed, `self_attn.${"qkv"[part]}_proj`),
  }));
  const attended = attend(addParts(tape, plain, parts));
  const output = parameter("self_attn.o_proj.weight");
  const y = tape.apply(linear, { x: attended, weight: output, residual: x }).y;
  const middle = changed(y, attended, "self_attn.o_proj");
  const gain = parameter("post_attention_layernorm.weight");
  const inner = tape.apply(rmsNorm, { x: middle, gain }, { eps }).y;
  const both = tape.apply(linear, { x: inner, weight: parameter("mlp.gate_up_proj.weight") }).y;
  const count = (both.shape[1] as number) / 2;
  const [gate, up] = ["gate", "up"].map((name, first) => {
    const columns = tape.apply(sliceColumns, { x: both }, { first, stride: 2, count }).y;
    return changed(columns, inner, `mlp.${name}_proj`);
  });
  const h = tape.apply(swiglu, { gate, up }).y;
  const down = tape.apply(linear, { x: h, weight: parameter("mlp.down_proj.weight"), residual: middle }).y;
  return changed(down, h, "mlp.down_proj");
}

/** s dropout(x) A^T B^T; undefined for a matrix without an adapter. */
function changeOf(
  tape: Tape,
  { parameters, lora }: LoraAdapter,
  x: Tensor,
  { name, seed }: { readonly name: string; readonly seed: number | undefined },
): Tensor | undefined {
  const [A, B] = [factorName(name, "A"), factorName(name, "B")];
  if (!parameters.has(A)) return undefined;
  const down = (input: Tensor) => tape.apply(linear, { x: input, weight: parameters.get(A) }).y;
  const scale = loraScale(lora);
  // where nothing is left out, the op scales alone, of the fewest columns
  const inner =
    lora.dropout > 0 && seed !== undefined
      ? down(tape.apply(dropout, { x }, { rate: lora.dropout, scale, seed, seed_high: hashText(name) }).y)
      : tape.apply(dropout, { x: down(x) }, { rate: 0, scale }).y;
  return tape.apply(linear, { x: inner, weight: parameters.get(B) }).y;
}

/** y plus changes of parts of its columns, which lie side by side. */
function addParts(
  tape: Tape,
  y: Tensor,
  parts: readonly { readonly width: number; readonly change: Tensor | undefined }[],
): Tensor {
  if (parts.every(({ change }) => !change)) return y;
  const N = y.shape[0] as number;
  const all = parts.map(
    ({ width, change }) =>
      change ?? tape.own(Tensor.zeros(tape.launcher.runtime, [N, width], "no change", y.dtype)),
  );
  const b = all.reduce((joined, next) => tape.apply(concatColumns, { a: joined, b: next }).y);
  return tape.apply(add, { a: y, b }).y;
}
