import * as shader from "../../../shaders/steps/sample.js";
import { ArgumentError } from "../../core/errors.js";
import { philox4x32, uniformOfWord } from "../../core/philox.js";
import { defineOp, f32, f32Param, type Scalars, u32, u32Param } from "../engine/op.js";

/**
 * Draws one token per row from softmax(logits / temperature), truncated to top_k and then top_p, or the most likely one
 * (lowest id at a tie) at temperature 0.
 *
 * The random number is Philox4x32-10 of key (seed, seed_high) and counter (counter[b], stream[b]): with `stream` the
 * number of the rollout and `counter` its step, a token does not depend on the batch it was drawn in.
 * - top_k (0 = off) keeps the tokens whose logit is at least the k-th largest: all that tie with it stay.
 * - top_p (1 = off) keeps, of these, the likeliest tokens down to the one with which their share of the mass reaches
 *   top_p; all that tie with that one stay.
 * - log_prob and entropy belong to the temperature-scaled distribution *without* truncation (temperature 1 when greedy),
 *   as `linear_log_prob` gives them in training.
 */
export const sample = defineOp({
  name: "sample",
  inputs: { logits: f32("B V"), stream: u32("B"), counter: u32("B") },
  outputs: { token: u32("B"), log_prob: f32("B"), entropy: f32("B") },
  params: {
    temperature: f32Param(1),
    top_k: u32Param(0),
    top_p: f32Param(1),
    seed: u32Param(0),
    seed_high: u32Param(0),
  },
  derived: ["is_top_k", "is_top_p"],
  derive: deriveTruncation,
  forward: [
    {
      entry: "draw",
      constants: ["is_top_k", "is_top_p"],
      shader: ({ facts, constants }) =>
        shader.draw(shader.sampleLayout(facts.isSoftware), {
          topK: constants.is_top_k === 1,
          topP: constants.is_top_p === 1,
        }),
      reads: ["logits", "stream", "counter"],
      writes: ["token", "log_prob", "entropy"],
      workgroups: ({ B }, { isSoftware }) => Math.ceil(B / shader.sampleLayout(isSoftware).rows),
    },
  ],
  backward: {
    none: "drawing a token is discrete; training recomputes log-probabilities with linear_log_prob",
  },
  reference: ({ logits, stream, counter }, scalars) => {
    const { B, V } = scalars;
    const token = new Float64Array(B);
    const log_prob = new Float64Array(B);
    const entropy = new Float64Array(B);
    for (let b = 0; b < B; b++) {
      const row = logits.subarray(b * V, (b + 1) * V);
      const top = row.reduce((a, c) => Math.max(a, c));
      const scaled = row.map((value) => (value - top) / (scalars.temperature || 1));
      const logSum = Math.log(scaled.reduce((sum, value) => sum + Math.exp(value), 0));
      token[b] = scalars.temperature === 0 ? row.indexOf(top) : pick(scaled, scalars, stream[b], counter[b]);
      log_prob[b] = scaled[token[b]] - logSum;
      entropy[b] = -scaled.reduce((sum, value) => sum + Math.exp(value - logSum) * (value - logSum), 0);
    }
    return { token, log_prob, entropy };
  },
  cost: ({ B, V }) => ({ forward: { flops: 10 * B * V, bytes: 4 * B * V } }),
});

/** Tokens that truncation leaves, in ascending order of id. @param scaled logits divided by the temperature */
export function keptTokens(scaled: Float64Array, top_k: number, top_p: number): number[] {
  let order = [...scaled.keys()].sort((a, b) => scaled[b] - scaled[a] || a - b);
  if (top_k > 0 && top_k < order.length) {
    const least = scaled[order[top_k - 1]];
    order = order.filter((id) => scaled[id] >= least);
  }
  if (top_p < 1) {
    const largest = scaled[order[0]];
    const masses = order.map((id) => Math.exp(scaled[id] - largest));
    const wanted = top_p * masses.reduce((sum, mass) => sum + mass, 0);
    let reached = 0;
    const last = masses.findIndex((mass) => {
      reached += mass;
      return reached >= wanted;
    });
    const least = scaled[order[last]];
    order = order.filter((id) => scaled[id] >= least);
  }
  return order.sort((a, b) => a - b);
}

function pick(scaled: Float64Array, scalars: Scalars, stream: number, counter: number): number {
  const kept = keptTokens(scaled, scalars.top_k, scalars.top_p);
  const [word] = philox4x32([counter, stream, 0, 0], [scalars.seed, scalars.seed_high]);
  const goal = uniformOfWord(word) * kept.reduce((sum, id) => sum + Math.exp(scaled[id]), 0);
  let reached = 0;
  for (const id of kept) {
    reached += Math.exp(scaled[id]);
    if (reached > goal) return id;
  }
  return kept[kept.length - 1];
}

function deriveTruncation({ temperature, top_k, top_p, V }: Scalars): Scalars {
  const rules: [string, number, boolean, string][] = [
    ["temperature", temperature, temperature >= 0, "at least 0 (0 is greedy)"],
    ["top_p", top_p, top_p > 0 && top_p <= 1, "a number in (0, 1]"],
    ["V", V, V > 0 && V < 2 ** 24, "a vocabulary of 1 to 16,777,215 tokens"],
  ];
  for (const [name, value, holds, rule] of rules) {
    if (!holds)
      throw new ArgumentError(`[sample] ${name} is out of range: got ${value}, expected ${rule}. Change it.`);
  }
  return { is_top_k: Number(top_k > 0 && top_k < V), is_top_p: Number(top_p < 1) };
}
