/** The memory estimate against numbers worked by hand. */
import { expect, test } from "vitest";
import { trainConfigSchema } from "../../src/config/schema.js";
import { presetConfig } from "../../src/model/config.js";
import { parameterCount } from "../../src/model/parameters.js";
import { estimateMemory } from "../../src/rl/loop/memory_estimate.js";

const config = trainConfigSchema.parse({
  grpo: { max_steps: 1, tokens_per_micro_batch: 1000 },
  eval: { episodes: 1 },
});
const bytesOf = (estimate: ReturnType<typeof estimateMemory>, name: string) =>
  estimate.rows.find((row) => row.name === name)?.bytes;

test("a nano policy: every part by hand", () => {
  // L 2, C 64, H 4, Hkv 2, D 16, F 192
  const model = presetConfig("nano", 500);
  const estimate = estimateMemory({ config, model, promptTokens: 84 });
  const weights = 4 * parameterCount(model);
  expect(bytesOf(estimate, "parameters")).toBe(weights);
  expect(bytesOf(estimate, "optimiser")).toBe(2 * weights);
  // packed projection 64 + 2 * 32, attention and two sums, gate, up and product; norms and heads
  const perLayer = 128 + 3 * 64 + 3 * 192 + 4 + 2;
  expect(bytesOf(estimate, "activations")).toBe(4 * 1000 * (2 * perLayer + 128));
  // 8 x 8 episodes of 84 + 16 tokens, keys and values of width 32 in 2 layers
  expect(bytesOf(estimate, "KV cache")).toBe(4 * 64 * 100 * 2 * 2 * 32);
  expect(bytesOf(estimate, "reference policy")).toBeUndefined();
  expect(estimate.totalBytes).toBe(estimate.rows.reduce((sum, { bytes }) => sum + bytes, 0));
  expect(estimate.warnings).toEqual([]);
});

test("an episode as one text keeps all of it, up to the longest prompt that is allowed", () => {
  const model = presetConfig("nano", 500);
  const cache = (prompt: object) => {
    const grown = { ...config, prompt: { ...config.prompt, context: "episode" as const, ...prompt } };
    return bytesOf(estimateMemory({ config: grown, model, promptTokens: 84 }), "KV cache");
  };
  // 30 steps of 16 tokens answered and 32 read
  expect(cache({})).toBe(4 * 64 * Math.min(model.max_position_embeddings, 84 + 30 * 48 + 16) * 2 * 2 * 32);
  expect(cache({ max_tokens: 200 })).toBe(4 * 64 * 216 * 2 * 2 * 32);
});

test("mixed precision halves activations and adds a copy of the matrices", () => {
  const model = presetConfig("nano", 500);
  const mixed = { ...config, model: { ...config.model, precision: "mixed" as const } };
  const estimate = estimateMemory({ config: mixed, model, promptTokens: 84 });
  // embedding; per layer the packed projection, its output, the MLP
  const matrices = 500 * 64 + 2 * (128 * 64 + 64 * 64 + 3 * 192 * 64);
  expect(bytesOf(estimate, "parameters")).toBe(4 * parameterCount(model));
  expect(bytesOf(estimate, "half copy")).toBe(2 * matrices);
  const perLayer = 2 * (128 + 3 * 64 + 3 * 192) + 4 * (4 + 2);
  expect(bytesOf(estimate, "activations")).toBe(1000 * (2 * perLayer + 2 * 128));
  const withKl = { ...mixed, grpo: { ...mixed.grpo, beta: 0.1 } };
  expect(bytesOf(estimateMemory({ config: withKl, model }), "reference policy")).toBe(
    2 * matrices + 4 * (parameterCount(model) - matrices),
  );
});

test("plain ops keep what is between them, and all logits with their gradient", () => {
  const model = presetConfig("nano", 500);
  const plain = { ...config, model: { ...config.model, fused: false } };
  const estimate = estimateMemory({ config: plain, model, promptTokens: 84 });
  // two norms; the packed projection, queries and keys, values, both rotated, joined; attention; two products and two sums;
  // gate and up together and apart, their gated product
  const perLayer = 2 * 64 + (128 + 96 + 32 + 96 + 128) + 64 + 4 * 64 + (384 + 192 + 192 + 192) + 4 + 2;
  expect(bytesOf(estimate, "activations")).toBe(4 * 1000 * (2 * perLayer + 128));
  expect(bytesOf(estimate, "logits")).toBe(2 * 4 * 1000 * 500);
});

test("a reference policy is counted only when there is one", () => {
  const model = presetConfig("nano", 500);
  const withKl = { ...config, grpo: { ...config.grpo, beta: 0.1 } };
  expect(bytesOf(estimateMemory({ config: withKl, model }), "reference policy")).toBe(
    4 * parameterCount(model),
  );
});

test("what does not fit is told", () => {
  const model = presetConfig("qwen2.5-0.5b");
  const limits = { maxBufferSize: 2 ** 31, maxStorageBufferBindingSize: 2 ** 27, deviceBytes: 2 ** 30 };
  const { largest, warnings } = estimateMemory({ config, model, limits });
  expect(largest).toMatchObject({ name: "embedding", bytes: 151936 * 896 * 4 });
  expect(warnings).toHaveLength(2);
  expect(warnings[0]).toContain("embedding needs a buffer of 544538624 bytes, the adapter gives 134217728");
  expect(estimateMemory({ config, model, limits: { maxBufferSize: 2 ** 31 } }).warnings).toEqual([]);
});
