/** The training workloads that all implementations share: model, weights, tokens and optimiser. */

import { fillRepeated } from "../src/core/fill_repeated.js";
import { Random } from "../src/core/random.js";
import { presetConfig, type Qwen2Config } from "../src/model/config.js";
import {
  elementCount,
  type ParameterShape,
  parameterCount,
  parameterShapes,
} from "../src/model/parameters.js";

export interface Workload {
  readonly name: string;
  readonly config: Qwen2Config;
  /** Sequences and tokens of each. */
  readonly B: number;
  readonly T: number;
}

/** What is trained: B sequences of T + 1 random tokens, each but the first predicted. */
export interface TrainingProblem {
  readonly config: {
    readonly layers: number;
    readonly C: number;
    readonly H: number;
    readonly Kv: number;
    readonly F: number;
    readonly V: number;
    readonly epsilon: number;
    readonly theta: number;
  };
  readonly B: number;
  readonly T: number;
  /** Under the names of Hugging Face; matrices [outputs, inputs]. */
  readonly weights: readonly (ParameterShape & { readonly data: Float32Array })[];
  /** Read and predicted tokens, [B T]. */
  readonly tokens: Uint32Array;
  readonly targets: Uint32Array;
  /** AdamW; weight decay applies to matrices. */
  readonly optimizer: {
    readonly learningRate: number;
    readonly beta1: number;
    readonly beta2: number;
    readonly epsilon: number;
    readonly weightDecay: number;
  };
}

const PUBLISHED = "qwen2.5-0.5b";

/**
 * `nano` and `small`, and on a GPU the published model of half a billion parameters; a quick run has nano's layers on 32
 * tokens and one layer of the published width.
 */
export function benchWorkloads(quick: boolean, isSoftware: boolean): Workload[] {
  if (quick) return [{ name: "tiny", config: presetConfig("nano", 64), B: 2, T: 16 }, publishedLayer(16)];
  const own: Workload[] = [
    { name: "nano", config: presetConfig("nano", 512), B: 8, T: 128 },
    { name: "small", config: presetConfig("small", 2048), B: 4, T: 256 },
  ];
  return isSoftware ? own : [...own, { name: PUBLISHED, config: presetConfig(PUBLISHED), B: 4, T: 512 }];
}

/** One layer of the published width on a sequence, with a small vocabulary. */
function publishedLayer(T: number): Workload {
  const config = presetConfig(PUBLISHED, 1024, { num_hidden_layers: 1 });
  return { name: `${PUBLISHED}-layer`, config, B: 1, T };
}

/** What is profiled: the workloads of the benchmark, and on the CPU a layer of the published width instead of the whole model. */
export function profiledWorkloads(quick: boolean, isSoftware: boolean): Workload[] {
  const all = benchWorkloads(quick, isSoftware);
  return isSoftware && !quick ? [...all, publishedLayer(256)] : all;
}

/** `nano B8 T128`, as rows name it. */
export function workloadLabel({ name, B, T }: Workload): string {
  return `${name} B${B} T${T}`;
}

/** Seeded weights, of the spread that training starts from, and tokens. */
export function trainingProblem({ name, config, B, T }: Workload): TrainingProblem {
  const random = Random.of(11, "training step", name);
  const weights = parameterShapes(config).map(({ name, shape }) => {
    const isVector = shape.length === 1;
    const start = isVector && !name.endsWith("bias") ? 1 : 0;
    const spread = isVector ? 0 : config.initializer_range;
    const data = fillRepeated(new Float32Array(elementCount(shape)), () => start + spread * random.normal());
    return { name, shape, data };
  });
  const tokens = new Uint32Array(B * T);
  const targets = new Uint32Array(B * T);
  for (let b = 0; b < B; b++) {
    const sequence = Array.from({ length: T + 1 }, () => random.integer(config.vocab_size));
    tokens.set(sequence.slice(0, T), b * T);
    targets.set(sequence.slice(1), b * T);
  }
  return {
    config: {
      layers: config.num_hidden_layers,
      C: config.hidden_size,
      H: config.num_attention_heads,
      Kv: config.num_key_value_heads,
      F: config.intermediate_size,
      V: config.vocab_size,
      epsilon: config.rms_norm_eps,
      theta: config.rope_theta,
    },
    B,
    T,
    weights,
    tokens,
    targets,
    optimizer: { learningRate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 },
  };
}

/** FLOP of a training step: three times the forward pass, matrix products and causal attention only. */
export function trainingFlops({ config, B, T }: Workload): number {
  const products = 2 * parameterCount(config) * B * T;
  const scores = 2 * T * config.hidden_size * config.num_hidden_layers * B * T;
  return 3 * (products + scores);
}
