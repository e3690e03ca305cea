/** From rollout rows to samples, and from a measured batch to its document. */
import { describe, expect, test } from "vitest";
import type { RolloutRow } from "../../src/core/run_record.js";
import { chooseSamples, distinctSamples } from "../../src/coupling/analysis/batch.js";
import { couplingDocument, partOf } from "../../src/coupling/analysis/document.js";
import { cosine } from "../../src/coupling/analysis/influence.js";
import { clusteredOrder } from "../../src/coupling/analysis/seriation.js";
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

describe("a document of six samples", () => {
  // state, weight, advantage and gradient of each
  const measured = [
    ["a", 1, 1, [3, 0]],
    ["b", 2, -0.5, [2, 1]],
    ["a", 1, -1, [1, -2]],
    ["b", 0.5, 2, [1, 1]],
    ["b", 1, 0, [5, 0]],
    ["c", 1, -1, [0, 0]],
  ] as const;
  const samples = measured.map(([state, weight, advantage], id) => ({
    ...{ id: `${id}`, state, weight, advantage, stateText: `text ${state}`, action: `do ${id}` },
    ...{ taskType: "look", rows: id + 1, tokens: [1, 2], responseStart: 1, weights: [1] },
  }));
  const product = ([a, b]: readonly number[], [c, d]: readonly number[]) => a * c + b * d;
  const gram = measured.flatMap(([, , , g]) => measured.map(([, , , h]) => product(g, h)));
  const batch = {
    ...{ name: "six", passport: {}, samples, gram },
    layers: { "model.layers.0.mlp.gate_proj.weight": gram.map((value) => value / 4) },
    logProbs: [-1, -1, -2, -3, -1, -4],
  };

  test("weights, states and signs count as they should; advantages of 0 are neither", () => {
    const { samples: described, numbers, layers, withinState, acrossStates } = couplingDocument(batch);
    // U = (3, 0) - (2, 1) - (1, -2) + (1, 1) = (1, 2); U+ = (3, 0) + (1, 1)
    expect(described.map(({ total }) => total)).toEqual([3, 4, -3, 3, 5, 0]);
    expect(described.map(({ self }) => self + 0)).toEqual([9, -5, -5, 2, 0, 0]);
    expect(described.map(({ cross }) => cross)).toEqual([-6, 9, 2, 1, 5, 0]);
    const { id, state, stateText, action, taskType, rows, advantage, weight } = samples[1];
    expect(described[1]).toMatchObject({
      ...{ id, state, stateText, action, taskType, rows, advantage, weight },
      ...{ logProb: -1, realised: null, optimiser: null },
    });
    expect(numbers).toMatchObject({
      ...{ rewarded: 2, punished: 3, states: 3, inversions: 1 },
      // sample 1 alone with 3, of its state: -5 + 1 * 3 < 0
      ...{ "inversions by coupling": 1, "inversions by their own state": 0 },
      "coupling/bad/from_good": (9 + 2 + 0) / 3,
      "coupling/sample_grad_norm": expect.closeTo((3 + 2 * Math.sqrt(5) + Math.sqrt(2) + 5) / 6, 12),
    });
    expect(numbers).not.toHaveProperty("inversions through the optimiser");
    // 0 and 2; 1 and 3
    const within = [1 / Math.sqrt(5), 3 / Math.sqrt(10)];
    expect(withinState.goodBad).toEqual({
      pairs: 2,
      mean: expect.closeTo((within[0] + within[1]) / 2, 12),
    });
    // 0 and 1; 2 and 3
    const across = [2 / Math.sqrt(5), -1 / Math.sqrt(10)];
    expect(acrossStates.goodBad).toEqual({
      pairs: 2,
      mean: expect.closeTo((across[0] + across[1]) / 2, 12),
    });
    // a quarter of 1 * 1 * (6 + 3) + 0.5 * 2 * (3 - 1)
    expect(layers).toEqual([
      { name: "model.layers.0.mlp.gate_proj.weight", part: "mlp", share: 0.25, goodToBad: 11 / 4 },
    ]);
  });

  test("the Gram has six digits, similar samples lie together, and as many pairs are listed as asked for", () => {
    const third = gram.map((value) => value / 3);
    const { gram: shown, order } = couplingDocument({ ...batch, gram: third });
    expect([shown[0], shown[1], shown[7]]).toEqual([3, 2, 1.66667]);
    const cosines = samples.flatMap((_, i) => samples.map((_to, j) => cosine(third, 6, i, j)));
    expect(order).toEqual(clusteredOrder(cosines, 6));
    expect(order).not.toEqual([0, 1, 2, 3, 4, 5]);
    const worst = couplingDocument({ ...batch, pairs: 2 }).pairs.map(({ from, to, change }) => [
      from,
      to,
      change,
    ]);
    expect(worst).toEqual([
      [0, 1, 6],
      [3, 1, 3],
    ]);
    expect(couplingDocument(batch).pairs).toHaveLength(3);
  });

  test("what the optimiser does is counted and drawn beside the plain step", () => {
    const optimiser = { predicted: [1, 2, -3, 4, 5, 0], realised: [-1, 0, 1, 2, -3, 6] };
    const {
      samples: described,
      numbers,
      danger,
      dangerOptimiser,
    } = couplingDocument({ ...batch, optimiser });
    expect(numbers["inversions through the optimiser"]).toBe(1);
    expect(numbers["inversions measured after its step"]).toBe(2);
    expect(described.map((sample) => sample.optimiser?.realised)).toEqual(optimiser.realised);
    expect(described.map((sample) => sample.optimiser?.predicted)).toEqual(optimiser.predicted);
    expect(danger.points.map(({ drift }) => drift * -Math.expm1(-1))[0]).toBeCloseTo(4, 12);
    expect(dangerOptimiser?.points[0].drift).toBeCloseTo(2 / (1 - Math.exp(-1)), 12);
    // sample 5 rises most where it is likeliest: no toy with a risk fits
    expect(dangerOptimiser?.toy).toBeNull();
    // drift = -2 q (1 - q) + 0.1 at q of 0.5, 0.9 and 0.2
    const flawed = { logProbs: [-1, Math.log(0.5), Math.log(0.9), -1, -1, Math.log(0.2)] };
    const fitted = couplingDocument({
      ...{ ...batch, ...flawed },
      optimiser: { ...optimiser, predicted: [1, -0.2, -0.008, 4, 5, -0.176] },
    }).dangerOptimiser;
    expect(fitted?.toy).toEqual({
      risk: expect.closeTo(2, 10),
      drive: expect.closeTo(0.1, 10),
      rest: {
        stable: expect.closeTo((1 - Math.sqrt(0.8)) / 2, 10),
        unstable: expect.closeTo((1 + Math.sqrt(0.8)) / 2, 10),
      },
    });
  });

  test("what was not measured is null or empty, what was is handed on", () => {
    const none = {
      ...{ actionTokens: null, goodAnswers: null, sharedTokens: null, views: [], stateAction: null },
      ...{ agreements: [], tokenHeat: null, dangerOptimiser: null },
    };
    expect(couplingDocument(batch)).toMatchObject(none);
    const { dangerOptimiser, ...all } = {
      ...none,
      ...{ actionTokens: { a: 1 }, goodAnswers: { b: 1 }, sharedTokens: { c: 1 }, views: [{ d: 1 }] },
      ...{ stateAction: { e: 1 }, agreements: [{ f: 1 }], tokenHeat: { g: 1 } },
    };
    expect(couplingDocument({ ...batch, ...(all as object) })).toMatchObject(all);
  });

  test("gradients of 0 have no share of nothing", () => {
    const nothing = gram.map(() => 0);
    const [layer] = couplingDocument({
      ...batch,
      gram: nothing,
      layers: { "lm_head.weight": nothing },
    }).layers;
    expect(layer).toEqual({ name: "lm_head.weight", part: "embedding", share: 0, goodToBad: 0 });
  });
});
