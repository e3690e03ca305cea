/** A small policy with an adapter whose every factor matters, and the same in float64. */
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import type { MatrixStorage } from "../../src/autograd/parameter_slots.js";
import { fromBfloat16Bits, toBfloat16Bits } from "../../src/core/half_floats.js";
import { Random } from "../../src/core/random.js";
import type { Launcher } from "../../src/kernels/index.js";
import { presetConfig, type Qwen2Config } from "../../src/model/config.js";
import { LoraAdapter } from "../../src/model/lora.js";
import { LORA_TARGETS, type LoraConfig } from "../../src/model/lora_config.js";
import { elementCount, parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import type { ReferenceWeights } from "./reference_qwen2.js";
import { constant, plus, type Scalar, scaled, times, total } from "./scalars.js";

const LORA_V = 41;

/** Rank and alpha of which neither divides the other, on all matrices. */
export const ALL_TARGETS: LoraConfig = { rank: 3, alpha: 5, dropout: 0, targets: LORA_TARGETS };

export interface LoraPolicyOptions {
  readonly lora?: LoraConfig;
  readonly storage?: MatrixStorage;
  /** Weights are values of bf16. */
  readonly isRounded?: boolean;
  readonly fused?: boolean;
  readonly change?: Partial<Qwen2Config>;
  readonly requiresGrad?: (name: string) => boolean;
}

/** Two layers; weights of large spread and B that is not zero. */
export function loraPolicy(
  owner: Launcher,
  {
    lora = ALL_TARGETS,
    storage = "f32",
    isRounded = false,
    fused = true,
    change = {},
    requiresGrad,
  }: LoraPolicyOptions = {},
): Qwen2Model & { readonly adapter: LoraAdapter } {
  const sizes = { hidden_size: 16, intermediate_size: 20, num_attention_heads: 4, num_key_value_heads: 2 };
  const config = { ...presetConfig("nano", LORA_V), ...sizes, ...change };
  const parameters = new FlatParameters(owner.runtime, storedShapes(config), {
    requiresGrad: false,
    storage,
  });
  const random = new Random(4);
  const draw = (shape: readonly number[], centre: number) =>
    Float32Array.from({ length: elementCount(shape) }, () => centre + 0.2 * random.normal());
  for (const { name, shape } of parameterShapes(config)) {
    const values = draw(shape, name.includes("norm") ? 1 : 0);
    parameters.load(name, isRounded ? fromBfloat16Bits(toBfloat16Bits(values)) : values);
  }
  const adapter = new LoraAdapter(owner, parameters, config, lora, { requiresGrad });
  for (const { name, shape } of adapter.parameters.named) adapter.parameters.load(name, draw(shape, 0));
  return new Qwen2Model(owner, config, parameters, { fused, adapter }) as Qwen2Model & {
    readonly adapter: LoraAdapter;
  };
}

/** Factors as numbers to differentiate by, and the weights W + s B A made of them, by the formula. */
export async function float64Lora(model: Qwen2Model & { readonly adapter: LoraAdapter }): Promise<{
  readonly factors: ReadonlyMap<string, Scalar[]>;
  readonly weights: ReferenceWeights;
}> {
  const { adapter, config, parameters } = model;
  const read = async (from: FlatParameters, name: string) => Array.from(await from.read(name), constant);
  const factors = new Map<string, Scalar[]>();
  for (const { name } of adapter.parameters.named) factors.set(name, await read(adapter.parameters, name));
  const weights = new Map<string, Scalar[]>();
  for (const { name, shape } of parameterShapes(config)) {
    const base = await read(parameters, name);
    const module = `base_model.model.${name.replace(".weight", "")}`;
    const [a, b] = ["A", "B"].map((letter) => factors.get(`${module}.lora_${letter}.weight`));
    const I = shape[1] as number;
    const { rank } = adapter.lora;
    const changed = (w: Scalar, index: number) => {
      const [o, i] = [Math.floor(index / I), index % I];
      const terms = Array.from({ length: rank }, (_, r) =>
        times((b as Scalar[])[o * rank + r], (a as Scalar[])[r * I + i]),
      );
      return plus(w, scaled(total(terms), adapter.lora.alpha / rank));
    };
    weights.set(name, a && b ? base.map(changed) : base);
  }
  return { factors, weights: (name) => weights.get(name) as Scalar[] };
}
