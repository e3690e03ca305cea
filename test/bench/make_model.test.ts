import { expect, test } from "vitest";
import { publishedTokenizer, randomWeights } from "../../bench/make_model.js";
import { presetConfig } from "../../src/model/config.js";

const config = presetConfig("nano", 300);
const weights = (seed: number) =>
  randomWeights(config, seed).map(({ name, data }) => {
    if (typeof data !== "function") throw new Error("weights are to be made when they are asked for");
    return { name, data: data() as Float32Array };
  });

test("made weights have the configured spread, no two equal rows, and follow the seed", () => {
  const made = weights(7);
  const [embedding] = made;
  const { data } = embedding;
  const spread = Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / data.length);
  expect(spread / config.initializer_range).toBeCloseTo(1, 1);
  const rows = Array.from({ length: 300 }, (_, row) => data.subarray(64 * row, 64 * row + 64).join());
  expect(new Set(rows).size).toBe(300);
  const gain = made.find(({ name }) => name.endsWith("input_layernorm.weight"));
  expect(Math.abs(gain?.data[0] ?? 0)).toBeGreaterThan(0.5);
  expect(weights(7)).toEqual(made);
  expect(weights(8)).not.toEqual(made);
});

test("the tokenizer of published models is at hand, and its end token lies inside of their vocabularies", async () => {
  const { tokenizerJson } = await publishedTokenizer();
  const added = tokenizerJson.added_tokens as readonly { readonly id: number; readonly content: string }[];
  expect(added.find(({ content }) => content === "<|im_end|>")?.id).toBe(151645);
});
