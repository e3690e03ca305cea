/** Qwen2 in float64 on the host, written from the formulas and sharing no code with the engine. For small models only. */

export interface ReferenceConfig {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly epsilon: number;
  readonly theta: number;
  readonly tied: boolean;
}

export type ReferenceWeights = (name: string) => ArrayLike<number>;

/** Natural log-probabilities of tokens 1..T-1 given what came before, and the entropies of these distributions. */
export function referenceScore(
  config: ReferenceConfig,
  weights: ReferenceWeights,
  tokens: readonly number[],
): { logProbs: number[]; entropy: number[] } {
  const states = decode(config, weights, tokens);
  const head = weights(config.tied ? "model.embed_tokens.weight" : "lm_head.weight");
  const logProbs: number[] = [];
  const entropy: number[] = [];
  for (let t = 1; t < tokens.length; t++) {
    const logits = project(states[t - 1], head, undefined);
    const most = Math.max(...logits);
    const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0)) + most;
    logProbs.push(logits[tokens[t]] - total);
    entropy.push(-logits.reduce((sum, logit) => sum + Math.exp(logit - total) * (logit - total), 0));
  }
  return { logProbs, entropy };
}

function decode(config: ReferenceConfig, weights: ReferenceWeights, tokens: readonly number[]): number[][] {
  const embedding = weights("model.embed_tokens.weight");
  let states = tokens.map((token) =>
    Array.from({ length: config.width }, (_, c) => embedding[token * config.width + c]),
  );
  for (let layer = 0; layer < config.layers; layer++) {
    const weight = (name: string) => weights(`model.layers.${layer}.${name}`);
    const normed = states.map((state) => normalise(state, weight("input_layernorm.weight"), config.epsilon));
    const attended = attend(config, normed, weight);
    const output = weight("self_attn.o_proj.weight");
    const middle = states.map((state, t) => plus(state, project(attended[t], output, undefined)));
    states = middle.map((state) => {
      const wide = normalise(state, weight("post_attention_layernorm.weight"), config.epsilon);
      const gate = project(wide, weight("mlp.gate_proj.weight"), undefined);
      const up = project(wide, weight("mlp.up_proj.weight"), undefined);
      const inner = gate.map((value, f) => (value / (1 + Math.exp(-value))) * up[f]);
      return plus(state, project(inner, weight("mlp.down_proj.weight"), undefined));
    });
  }
  return states.map((state) => normalise(state, weights("model.norm.weight"), config.epsilon));
}

function attend(
  { width, heads, kvHeads, theta }: ReferenceConfig,
  normed: readonly number[][],
  weight: (name: string) => ArrayLike<number>,
): number[][] {
  const size = width / heads;
  const part = (name: string) =>
    normed.map((state) =>
      project(state, weight(`self_attn.${name}_proj.weight`), weight(`self_attn.${name}_proj.bias`)),
    );
  const q = part("q").map((row, t) => rotate(row, t, size, theta));
  const k = part("k").map((row, t) => rotate(row, t, size, theta));
  const v = part("v");
  return normed.map((_, t) => {
    const result: number[] = [];
    for (let h = 0; h < heads; h++) {
      const shared = Math.floor(h / (heads / kvHeads)) * size;
      const scores: number[] = [];
      for (let s = 0; s <= t; s++) {
        let dot = 0;
        for (let d = 0; d < size; d++) dot += q[t][h * size + d] * k[s][shared + d];
        scores.push(dot / Math.sqrt(size));
      }
      const most = Math.max(...scores);
      const shares = scores.map((score) => Math.exp(score - most));
      const total = shares.reduce((sum, value) => sum + value, 0);
      for (let d = 0; d < size; d++) {
        result.push(shares.reduce((sum, share, s) => sum + (share / total) * v[s][shared + d], 0));
      }
    }
    return result;
  });
}

/** Pairs (d, d + size / 2) of each head turn by position * theta^(-2d / size). */
function rotate(row: readonly number[], position: number, size: number, theta: number): number[] {
  const result = row.slice();
  for (let start = 0; start < row.length; start += size) {
    for (let d = 0; d < size / 2; d++) {
      const angle = position * theta ** ((-2 * d) / size);
      const a = row[start + d];
      const b = row[start + d + size / 2];
      result[start + d] = a * Math.cos(angle) - b * Math.sin(angle);
      result[start + d + size / 2] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  }
  return result;
}

function normalise(state: readonly number[], gain: ArrayLike<number>, epsilon: number): number[] {
  const scale = 1 / Math.sqrt(state.reduce((sum, value) => sum + value * value, 0) / state.length + epsilon);
  return state.map((value, c) => value * scale * gain[c]);
}

function project(
  state: readonly number[],
  weight: ArrayLike<number>,
  bias: ArrayLike<number> | undefined,
): number[] {
  const rows = weight.length / state.length;
  return Array.from({ length: rows }, (_, row) => {
    let sum = bias ? bias[row] : 0;
    for (let c = 0; c < state.length; c++) sum += weight[row * state.length + c] * state[c];
    return sum;
  });
}

function plus(a: readonly number[], b: readonly number[]): number[] {
  return a.map((value, index) => value + b[index]);
}
