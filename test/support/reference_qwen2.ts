/** Qwen2 in float64 on the host, written from the formulas and sharing no code with the engine. For small models only. */
import { constant, dot, exp, log, minus, plus, power, type Scalar, scaled, times, total } from "./scalars.js";

export interface ReferenceConfig {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly epsilon: number;
  readonly theta: number;
  readonly tied: boolean;
}

type Matrix = readonly (readonly Scalar[])[];

/** Numbers to differentiate by, row by row, by Hugging Face name. */
export type ReferenceWeights = (name: string) => readonly Scalar[];

export interface ReferenceScore {
  readonly logProbs: readonly Scalar[];
  readonly entropy: readonly Scalar[];
}

/** Settings of the reference from a `config.json`. */
export function referenceConfig(config: {
  readonly num_hidden_layers: number;
  readonly hidden_size: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
  readonly tie_word_embeddings: boolean;
}): ReferenceConfig {
  return {
    layers: config.num_hidden_layers,
    width: config.hidden_size,
    heads: config.num_attention_heads,
    kvHeads: config.num_key_value_heads,
    epsilon: config.rms_norm_eps,
    theta: config.rope_theta,
    tied: config.tie_word_embeddings,
  };
}

/** Natural log-probabilities of tokens 1..T-1 given what came before, and the entropies of these distributions.
 *  @param temperature divides the logits */
export function referenceScore(
  config: ReferenceConfig,
  weights: ReferenceWeights,
  tokens: readonly number[],
  temperature = 1,
): ReferenceScore {
  const states = decode(config, weights, tokens.slice(0, -1));
  const head = rowsOf(weights(config.tied ? "model.embed_tokens.weight" : "lm_head.weight"), config.width);
  const logProbs: Scalar[] = [];
  const entropy: Scalar[] = [];
  for (let t = 1; t < tokens.length; t++) {
    const logits = project(states[t - 1], head).map((logit) => scaled(logit, 1 / temperature));
    const most = constant(Math.max(...logits.map(({ value }) => value)));
    const logTotal = plus(log(total(logits.map((logit) => exp(minus(logit, most))))), most);
    const logs = logits.map((logit) => minus(logit, logTotal));
    logProbs.push(logs[tokens[t]]);
    entropy.push(scaled(dot(logs.map(exp), logs), -1));
  }
  return { logProbs, entropy };
}

function rowsOf(weight: readonly Scalar[], width: number): Matrix {
  return Array.from({ length: weight.length / width }, (_, row) =>
    weight.slice(row * width, (row + 1) * width),
  );
}

function decode(config: ReferenceConfig, weights: ReferenceWeights, tokens: readonly number[]): Scalar[][] {
  const { width, epsilon } = config;
  const embedding = weights("model.embed_tokens.weight");
  let states = tokens.map((token) => embedding.slice(token * width, (token + 1) * width));
  for (let layer = 0; layer < config.layers; layer++) {
    const weight = (name: string) => weights(`model.layers.${layer}.${name}`);
    const normed = states.map((state) => normalise(state, weight("input_layernorm.weight"), epsilon));
    const attended = attend(config, normed, weight);
    const output = rowsOf(weight("self_attn.o_proj.weight"), width);
    const gain = weight("post_attention_layernorm.weight");
    const [gate, up] = ["gate", "up"].map((name) => rowsOf(weight(`mlp.${name}_proj.weight`), width));
    const down = rowsOf(weight("mlp.down_proj.weight"), gate.length);
    states = states
      .map((state, t) => added(state, project(attended[t], output)))
      .map((state) => {
        const wide = normalise(state, gain, epsilon);
        const ups = project(wide, up);
        const inner = project(wide, gate).map((value, f) => times(silu(value), ups[f]));
        return added(state, project(inner, down));
      });
  }
  return states.map((state) => normalise(state, weights("model.norm.weight"), epsilon));
}

function attend(
  { width, heads, kvHeads, theta }: ReferenceConfig,
  normed: readonly Scalar[][],
  weight: ReferenceWeights,
): Scalar[][] {
  const size = width / heads;
  const part = (name: string) => {
    const matrix = rowsOf(weight(`self_attn.${name}_proj.weight`), width);
    const bias = weight(`self_attn.${name}_proj.bias`);
    return normed.map((state) => added(project(state, matrix), bias));
  };
  const q = part("q").map((row, t) => rotate(row, t, size, theta));
  const k = part("k").map((row, t) => rotate(row, t, size, theta));
  const v = part("v");
  return normed.map((_, t) => {
    const result: Scalar[] = [];
    for (let h = 0; h < heads; h++) {
      const shared = Math.floor(h / (heads / kvHeads)) * size;
      const query = q[t].slice(h * size, (h + 1) * size);
      const scores = k
        .slice(0, t + 1)
        .map((key) => scaled(dot(query, key.slice(shared, shared + size)), 1 / Math.sqrt(size)));
      const most = constant(Math.max(...scores.map(({ value }) => value)));
      const exps = scores.map((score) => exp(minus(score, most)));
      const inverse = power(total(exps), -1);
      const shares = exps.map((share) => times(share, inverse));
      for (let d = 0; d < size; d++) {
        const values = v.slice(0, t + 1).map((row) => row[shared + d]);
        result.push(dot(shares, values));
      }
    }
    return result;
  });
}

/** Pairs (d, d + size / 2) of each head turn by position * theta^(-2d / size). */
function rotate(row: readonly Scalar[], position: number, size: number, theta: number): Scalar[] {
  const result = row.slice();
  for (let start = 0; start < row.length; start += size) {
    for (let d = 0; d < size / 2; d++) {
      const angle = position * theta ** ((-2 * d) / size);
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      const a = row[start + d];
      const b = row[start + d + size / 2];
      result[start + d] = plus(scaled(a, cos), scaled(b, -sin));
      result[start + d + size / 2] = plus(scaled(b, cos), scaled(a, sin));
    }
  }
  return result;
}

function normalise(state: readonly Scalar[], gain: readonly Scalar[], epsilon: number): Scalar[] {
  const mean = scaled(dot(state, state), 1 / state.length);
  const scale = power(plus(mean, constant(epsilon)), -0.5);
  return state.map((value, c) => times(times(value, scale), gain[c]));
}

/** x sigmoid(x) */
function silu(x: Scalar): Scalar {
  return times(x, power(plus(constant(1), exp(scaled(x, -1))), -1));
}

const project = (state: readonly Scalar[], weight: Matrix): Scalar[] => weight.map((row) => dot(row, state));

function added(a: readonly Scalar[], b: readonly Scalar[]): Scalar[] {
  return a.map((value, index) => plus(value, b[index]));
}
