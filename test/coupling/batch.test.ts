/** From rollout rows to samples, and from a measured batch to its document. */
import { expect, test } from "vitest";
import type { RolloutRow } from "../../src/core/run_record.js";
import { chooseSamples, distinctSamples } from "../../src/coupling/analysis/batch.js";
import { couplingDocument, partOf } from "../../src/coupling/analysis/document.js";
import { contentId, contentOf } from "../../src/coupling/samples.js";

function row(
  prompt: number[],
  answer: number[],
  advantage: number,
  more: Partial<RolloutRow> = {},
): RolloutRow {
  return {
    step: 1,
    kind: "policy",
    group: 0,
    episode: 0,
    env_step: 0,
    task_id: "t",
    task_type: "look",
    prompt: `prompt ${prompt}`,
    prompt_blocks: [],
    prompt_tokens: prompt,
    prompt_hash: "",
    observation: null,
    action: `do ${answer}`,
    action_tokens: answer,
    log_probs: answer.map(() => -1),
    mask: answer.map(() => 1),
    weight: answer.map(() => 1),
    tag: null,
    valid: true,
    truncated: false,
    anchor_key: null,
    state_key: null,
    reward: 0,
    return: 0,
    advantage,
    advantage_parts: {},
    ...more,
  };
}

const options = { aggregation: "sequence_mean", normaliser: 1 } as const;

test("equal rows are one sample with the sum of their weights and the mean of their advantages", () => {
  const rows = [
    row([1, 2], [3, 4], 1),
    row([1, 2], [5], -1),
    row([1, 2], [3, 4], -0.5, { weight: [3, 3] }),
    row([9], [3, 4], 2, { kind: "classification" }),
    row([9], [4], 2, { mask: [0] }),
  ];
  const samples = distinctSamples(rows, options);
  // three sequences count: 1/3 each, over two tokens
  expect(samples.map(({ weight }) => weight)).toEqual([expect.closeTo(4 / 6, 6), expect.closeTo(1 / 3, 6)]);
  expect(samples[0]).toMatchObject({
    rows: 2,
    advantage: expect.closeTo((1 - 3 * 0.5) / 4, 6),
    tokens: [1, 2, 3, 4],
    responseStart: 2,
    weights: [1, 1],
    stateText: "prompt 1,2",
  });
  expect(samples[0].state).toBe(samples[1].state);
  expect(samples[0].id).not.toBe(samples[1].id);
});

test("ids depend on the content alone; token weights are content", () => {
  const [a] = distinctSamples([row([1], [2, 3], 1), row([4], [2], 1)], options);
  const [, b] = distinctSamples([row([7], [2], 5), row([1], [2, 3], -3, { step: 9, episode: 4 })], options);
  const [c] = distinctSamples([row([1], [2, 3], 1, { weight: [1, 0.5] })], options);
  const [d] = distinctSamples([row([1, 2], [3], 1)], options);
  expect(a.id).toMatch(/^[0-9a-f]{16}$/);
  expect(b.id).toBe(a.id);
  // files of earlier runs name samples by it; a sample without weights is one whose weights are 1
  expect(distinctSamples([row([1, 2], [3, 4], 1)], options)[0].id).toBe("05b24ea8b9506bd2");
  expect(contentId(contentOf({ tokens: [1, 2, 3, 4], responseStart: 2 }))).toBe("05b24ea8b9506bd2");
  expect(new Set([a.id, c.id, d.id]).size).toBe(3);
  expect(c.weights).toEqual([1, 0.5]);
});

test("the loss's aggregation gives the weights", () => {
  const rows = [row([1], [2, 3, 4], 1), row([1], [2], 1)];
  const tokens = distinctSamples(rows, { aggregation: "token_mean", normaliser: 1 });
  expect(tokens.map(({ weight }) => weight)).toEqual([0.25, 0.25]);
  const sums = distinctSamples(rows, { aggregation: "sequence_sum", normaliser: 8 });
  expect(sums.map(({ weight }) => weight)).toEqual([1 / 16, 1 / 16]);
});

test("whole states are chosen, by seed, among samples with an advantage", () => {
  const rows = [0, 1, 2, 3, 4].flatMap((state) => [
    row([state], [1], 1),
    row([state], [2], -1),
    row([state], [3], 0),
  ]);
  const samples = distinctSamples(rows, options);
  const chosen = chooseSamples(samples, 4, 1);
  expect(chosen).toHaveLength(4);
  expect(new Set(chosen.map(({ state }) => state)).size).toBe(2);
  expect(chosen.every(({ advantage }) => advantage !== 0)).toBe(true);
  expect(chooseSamples(samples, 4, 1)).toEqual(chosen);
  const others = [2, 3, 4, 5].map((seed) =>
    chooseSamples(samples, 4, seed)
      .map(({ id }) => id)
      .join(),
  );
  expect(new Set([...others, chosen.map(({ id }) => id).join()]).size).toBeGreaterThan(1);
  expect(chooseSamples(samples, 99, 1)).toHaveLength(10);
  expect(() => chooseSamples([], 4, 1)).toThrow(/got 0 samples with an advantage/);
});

test("a document says what the Gram says", () => {
  // gradients (3, 0), (2, 1), (0, -2), (1, 1), the first element in the embedding, the second in an MLP
  const gradients = [
    [3, 0],
    [2, 1],
    [0, -2],
    [1, 1],
  ];
  const layer = (k: number) => gradients.flatMap((a) => gradients.map((b) => a[k] * b[k]));
  const layers = { "model.embed_tokens.weight": layer(0), "model.layers.0.mlp.down_proj.weight": layer(1) };
  const gram = layer(0).map((value, at) => value + layer(1)[at]);
  const rows = [row([1], [1], 1), row([2], [1], -0.5), row([1], [3], -1), row([2], [4], 2)];
  const samples = distinctSamples(rows, options).map((sample) => ({ ...sample, weight: 1 }));
  const document = couplingDocument({
    name: "by hand",
    passport: {},
    samples,
    gram,
    layers,
    logProbs: [-1, -2, -0.5, -1].map((value) => value),
    realised: [1, null, null, 2],
    repeats: { states: 3, pairs: 4, consistency: 0.5 },
  });
  // U = (3, 0) - 0.5 (2, 1) - (0, -2) + 2 (1, 1) = (4, 3.5)
  expect(document.samples.map(({ total }) => total)).toEqual([12, 11.5, -7, 7.5]);
  expect(document.samples.map(({ realised }) => realised)).toEqual([1, null, null, 2]);
  expect(document.numbers).toMatchObject({
    rewarded: 2,
    punished: 2,
    states: 2,
    inversions: 1,
    // own state: -0.5 * 5 + 2 * 3 = 3.5, it rises without the others
    "inversions by coupling": 0,
    "inversions by their own state": 1,
    // U+ = (5, 2): 12 and -4
    "coupling/bad/from_good": 4,
    "repeat consistency": 0.5,
  });
  expect(document.layers).toEqual([
    { name: "model.embed_tokens.weight", part: "embedding", share: 14 / 20, goodToBad: 10 },
    { name: "model.layers.0.mlp.down_proj.weight", part: "mlp", share: 6 / 20, goodToBad: -2 },
  ]);
  expect(document.pairs[0]).toMatchObject({ from: 0, to: 1, change: 6 });
  expect(document.danger.points.map(({ index }) => index)).toEqual([1, 2]);
  expect(document.danger.points[0].drift).toBeCloseTo(11.5 / (1 - Math.exp(-2)), 10);
  expect([...document.order].sort()).toEqual([0, 1, 2, 3]);
  expect(["model.norm.weight", "lm_head.weight", "model.layers.2.self_attn.q_proj.bias"].map(partOf)).toEqual(
    ["norm", "embedding", "attention"],
  );
});
