/** Metrics and records of an iteration, worked out by hand. */
import { expect, test } from "vitest";
import { labelMetrics, policyMetrics } from "../../src/rl/loop/policy_metrics.js";
import type { PolicyUpdate } from "../../src/rl/loop/policy_update.js";
import { rolloutRow } from "../../src/rl/loop/records.js";
import type { Episode } from "../../src/rl/play/episode.js";
import type { PlayedRow, Row } from "../../src/rl/rows.js";
import { played, unplaced } from "../support/rows.js";

const row = (changes: Partial<PlayedRow>): PlayedRow => ({
  ...played,
  prompt: [1],
  answer: [2],
  logProbs: [-1],
  ...changes,
});

const rows = [
  row({ prompt: [1, 2, 3], stateKey: "s" }),
  row({
    prompt: [1, 2],
    answer: [4, 5],
    logProbs: [-0.5, -1.5],
    action: "wait",
    stateKey: "t",
    shortened: true,
  }),
  row({
    episode: 1,
    prompt: [1, 2],
    answer: [6, 7, 8],
    logProbs: [-2, -2, -2],
    action: "wait",
    stateKey: "t",
  }),
  row({ episode: 1, answer: [9, 9], logProbs: [0, -3], action: "wait", stateKey: "u", valid: false }),
].map((one, at) => ({ ...one, truncated: at % 2 === 1 }));
const place = { taskId: "task", taskType: "type", group: 0 };
const episodes: Episode[] = [
  { ...place, episode: 0, ended: "won", rows: rows.slice(0, 2) },
  { ...place, episode: 1, ended: "truncated", isTooLong: true, rows: rows.slice(2) },
  { ...place, episode: 2, ended: "failed", rows: [] },
];

const policy = {
  ...{ tokens: 8, loss: 1, policyLoss: 0, klLoss: 0, entropy: 0, ratioMean: 1, ratioMax: 1.5 },
  ...{
    referenceKl: 0.25,
    approximateKl: 0.125,
    clipFractionLow: 0.5,
    clipFractionHigh: 0.25,
    dualClipFraction: 0,
  },
};
const first: PolicyUpdate = {
  ...{ policy, classification: policy, gradNorm: 2, skipped: false, skippedSteps: 3, lossScale: 8 },
  ...{ packedTokens: 30, computedRows: 2, difference: { mean: 0.01, max: 0.02 } },
};
const second: PolicyUpdate = {
  ...{
    ...first,
    gradNorm: 4,
    skipped: true,
    skippedSteps: 4,
    lossScale: 16,
    packedTokens: 20,
    computedRows: 0,
  },
  difference: { mean: 0.03, max: 0.04 },
  policy: {
    ...{ ...policy, loss: 3, ratioMax: 1.2, referenceKl: 0.75, approximateKl: 0.375 },
    ...{ clipFractionLow: 1, clipFractionHigh: 0, dualClipFraction: 0.75 },
  },
};

const metricsOf = (of: readonly PlayedRow[], updates: readonly PolicyUpdate[]) =>
  policyMetrics(
    { learningRate: 0.5 },
    episodes,
    { total: new Float64Array(), parts: {}, statistics: { reward: 7 } as never },
    of,
    updates,
    { rollout: 5, update: 250 },
  );

test("metrics of four steps in three episodes and of two updates", () => {
  expect(metricsOf(rows, [first, second])).toEqual({
    loss: 2,
    reward: 7,
    // both episodes met in t alone, and waited there
    "coupling/repeat_consistency": 1,
    success: 0.5,
    "episodes/failed_rate": 1 / 3,
    "episodes/too_long_rate": 1 / 3,
    "episodes/mean_length": 2,
    "episodes/invalid_action_rate": 0.25,
    "episodes/repeated_action_rate": 0.25,
    "prompts/mean_length": 2,
    "prompts/shortened_rate": 0.25,
    "completions/mean_length": 2,
    "completions/clipped_ratio": 0.5,
    kl: 0.5,
    approx_kl: 0.25,
    entropy: 1.5,
    "clip_ratio/low_mean": 0.75,
    "clip_ratio/high_mean": 0.125,
    "clip_ratio/dual_mean": 0.375,
    "ratio/max": 1.5,
    "sampling/logp_diff_mean": 0.01,
    "sampling/logp_diff_max": 0.02,
    grad_norm: 3,
    skipped: 1,
    skipped_updates: 4,
    loss_scale: 16,
    "updates/empty": 1,
    learning_rate: 0.5,
    num_tokens: 16,
    rows: 4,
    "rows/computed": 1,
    "perf/step_ms/rollout": 5,
    "perf/step_ms/update": 250,
    "perf/trained_tokens_per_s": 200,
  });
  expect(metricsOf(rows, [first])).toMatchObject({ skipped_updates: 3, loss_scale: 8, "updates/empty": 0 });
  expect(metricsOf(rows, [])).toMatchObject({
    ...{ loss: 0, "ratio/max": 0, "sampling/logp_diff_mean": 0, "sampling/logp_diff_max": 0 },
    ...{ skipped_updates: 0, loss_scale: 1, "perf/trained_tokens_per_s": 0 },
  });
});

test("where the world tells no states, prompts stand for them; a state that one episode saw says nothing", () => {
  const untold = rows.map(({ stateKey, ...one }) => one);
  expect(metricsOf(untold, [first])["coupling/repeat_consistency"]).toBe(1);
  expect("coupling/repeat_consistency" in metricsOf(rows.slice(0, 2), [first])).toBe(false);
});

test("counts of labels", () => {
  expect(labelMetrics({ good: 1, bad: 2, ties: 3, conflicts: 4 })).toEqual({
    "labels/good": 1,
    "labels/bad": 2,
    "labels/tied": 3,
    "labels/in_conflict": 4,
  });
});

test("a record says all of a row, and what it lacks", () => {
  const bare = { ...unplaced, kind: "classification", prompt: [1], answer: [2, 3] } as const;
  const rest = { kind: "classification", group: 0, episode: 0, task_id: "task", task_type: "type" };
  expect(rolloutRow(5, bare)).toEqual({
    ...{ ...rest, step: 5, env_step: 0, prompt: "", prompt_blocks: [], prompt_tokens: [1], prompt_hash: "" },
    ...{ observation: null, action: "", action_tokens: [2, 3], log_probs: [], mask: [1, 1], weight: [1, 1] },
    ...{ tag: null, valid: true, truncated: false, anchor_key: null, state_key: null, reward: 0, return: 0 },
    ...{ advantage: 0, advantage_parts: {}, verdict: null },
  });
  const full: Row = {
    ...{ ...bare, group: 1, episode: 2, step: 3, logProbs: [-1, -2], mask: [0, 1], weight: [0.5, 2] },
    text: { blocks: [{ name: "task", text: "find it" }], text: "find it now", hash: "h" },
    ...{ observation: "here", anchorKey: "a", stateKey: "s", action: "go", tag: "explore", valid: false },
    ...{ truncated: true, stepReward: 4, outcome: 5, advantage: 6, parts: { outcome: 6 }, verdict: "bad" },
  };
  expect(rolloutRow(6, full)).toEqual({
    ...{ ...rest, step: 6, group: 1, episode: 2, env_step: 3, prompt: "find it now", prompt_tokens: [1] },
    ...{ prompt_blocks: [{ name: "task", text: "find it" }], prompt_hash: "h", observation: "here" },
    ...{ action: "go", action_tokens: [2, 3], log_probs: [-1, -2], mask: [0, 1], weight: [0.5, 2] },
    ...{
      tag: "explore",
      valid: false,
      truncated: true,
      anchor_key: "a",
      state_key: "s",
      reward: 4,
      return: 5,
    },
    ...{ advantage: 6, advantage_parts: { outcome: 6 }, verdict: "bad" },
  });
  expect(rolloutRow(6, full, "good").verdict).toBe("good");
});
