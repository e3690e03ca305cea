/** Updates on one rollout with a learner that only takes notes: which rows are scored and updated, in which order and by what. */
import { describe, expect, test } from "vitest";
import { type TrainConfigInput, trainConfigSchema } from "../../src/config/schema.js";
import type { Qwen2Model } from "../../src/model/qwen2.js";
import { policyLoss, type UpdateWork, updatePolicy } from "../../src/rl/loop/policy_update.js";
import type { Row } from "../../src/rl/rows.js";
import { lossOptions, unplaced } from "../support/rows.js";

const model = { name: "policy" } as unknown as Qwen2Model;
const reference = { name: "reference" } as unknown as Qwen2Model;

/** Rows that differ, three an episode. */
const rowsOf = (count: number, kind: Row["kind"] = "policy"): Row[] =>
  Array.from({ length: count }, (_, at) => ({
    ...unplaced,
    kind,
    group: Math.floor(at / 6),
    episode: Math.floor(at / 3),
    step: at % 3,
    prompt: [kind === "policy" ? at : 100 + at],
    answer: [1],
    advantage: 1,
    // what a judge was sure of is nobody's business here
    logProbs: [kind === "policy" ? -1 : -5],
  }));

async function update(
  input: TrainConfigInput,
  played: readonly Row[],
  judged: readonly Row[] = [],
  changes: Partial<UpdateWork> = {},
) {
  const events: string[] = [];
  const scored: { readonly rows: readonly Row[]; readonly temperature: number; readonly by: Qwen2Model }[] =
    [];
  const updated: (readonly Row[])[] = [];
  const learner = {
    model,
    score: async (rows: readonly Row[], temperature: number, by: Qwen2Model) => {
      scored.push({ rows, temperature, by });
      return rows.map(({ answer }) => Float32Array.from(answer, () => -1));
    },
    update: async ({ rows }: { readonly rows: readonly Row[] }, rate: number, options: object) => {
      events.push(`update ${rate} ${JSON.stringify(options)}`);
      updated.push(rows);
      const logProbs = rows.map(({ answer }) => Float32Array.from(answer, () => -2));
      return {
        stats: [],
        logProbs,
        packedTokens: 7,
        gradNorm: 3,
        skipped: false,
        skippedSteps: 0,
        lossScale: 1,
      };
    },
  };
  const results = await updatePolicy(
    {
      config: trainConfigSchema.parse(input),
      learner: learner as unknown as UpdateWork["learner"],
      reference: undefined,
      ...{ index: 0, step: 1, learningRate: 0.5 },
      classification: { classification: lossOptions({}).policy },
      head: {
        clearGradient: () => void events.push("clear"),
        step: (rate) => void events.push(`step ${rate}`),
      },
      ...changes,
    },
    played,
    judged,
  );
  return { results, events, scored, updated };
}

const firsts = (rows: readonly Row[]) => rows.map(({ prompt }) => prompt[0]);

describe("one update", () => {
  test("takes all rows in their order, and scores nobody: the policy is the one that played", async () => {
    const { results, events, scored, updated } = await update({}, rowsOf(3));
    expect(updated.map(firsts)).toEqual([[0, 1, 2]]);
    expect(scored).toEqual([]);
    expect(events).toEqual(['update 0.5 {"keepLogProbs":true}']);
    expect(results).toHaveLength(1);
    expect(results[0]).toMatchObject({ packedTokens: 7, gradNorm: 3, computedRows: 3 });
    // the trainer says -2, play said -1
    expect(results[0].difference).toEqual({ mean: 1, max: 1 });
    const large = await update({ grpo: { mini_batch_size: 3 } }, rowsOf(3));
    expect([large.updated.map(firsts), large.scored]).toEqual([[[0, 1, 2]], []]);
  });

  test("asks the reference policy where the loss has KL against it", async () => {
    const asked = async (grpo: NonNullable<TrainConfigInput["grpo"]>, has = true) =>
      (await update({ grpo }, rowsOf(2), [], { reference: has ? reference : undefined })).scored;
    expect(await asked({ beta: 0.1, temperature: 0.7 })).toEqual([
      { rows: rowsOf(2), temperature: 0.7, by: reference },
    ]);
    expect(await asked({ beta: 0.1, kl_in: "reward" })).toEqual([]);
    expect(await asked({ beta: 0.1 }, false)).toEqual([]);
  });

  test("with questions clears the gradient of a classifier before, and steps it after", async () => {
    const judged = rowsOf(2, "classification");
    const { events, updated, results } = await update({}, rowsOf(1), judged);
    expect(updated.map(firsts)).toEqual([[0, 100, 101]]);
    expect(events).toEqual(["clear", 'update 0.5 {"keepLogProbs":true}', "step 0.5"]);
    // questions have no log-probabilities of play
    expect(results[0].difference).toEqual({ mean: 1, max: 1 });
    expect((await update({}, rowsOf(1), judged, { head: undefined })).events).toHaveLength(1);
  });

  test("holds every row that one computed row stands for against it", async () => {
    const [one] = rowsOf(1);
    const equal = [-1, -1.5, -3].map((value) => ({ ...one, logProbs: [value] }));
    const { results } = await update({}, [...equal, { ...one, prompt: [9], logProbs: undefined }]);
    expect(results[0].computedRows).toBe(2);
    expect(results[0].difference).toEqual({ mean: (1 + 0.5 + 1) / 3, max: 1 });
  });
});

describe("several updates", () => {
  test("of all rows keep their order, and share one score of the policy that played", async () => {
    const { scored, updated } = await update({ grpo: { num_iterations: 3, temperature: 0.7 } }, rowsOf(4));
    expect(updated.map(firsts)).toEqual(Array(3).fill([0, 1, 2, 3]));
    expect(scored).toEqual([{ rows: rowsOf(4), temperature: 0.7, by: model }]);
  });

  test("of parts hold each row once a pass, questions spread evenly, and every part is scored as it is computed", async () => {
    const judged = rowsOf(4, "classification");
    const grpo = { num_iterations: 2, mini_batch_size: 2, beta: 0.1 };
    const { scored, updated } = await update({ grpo }, rowsOf(5), judged, { reference });
    const split = updated.map((rows) => [
      rows.filter(({ kind }) => kind === "policy").length,
      rows.filter(({ kind }) => kind === "classification").length,
    ]);
    const pass = [
      [2, 1],
      [2, 1],
      [1, 2],
    ];
    expect(split).toEqual([...pass, ...pass]);
    const order = [0, 3].map((first) => firsts(updated.slice(first, first + 3).flat()));
    for (const one of order)
      expect([...one].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 100, 101, 102, 103]);
    expect(order[0]).not.toEqual(order[1]);
    // one pass of parts moves the policy, too
    const once = await update({ grpo: { mini_batch_size: 3 } }, rowsOf(5));
    expect(once.scored.map(({ by, rows }) => [by, firsts(rows)])).toEqual(
      once.updated.map((rows) => [model, firsts(rows)]),
    );
    // each part by the policy and by the reference
    expect(scored.map(({ by }) => by)).toEqual(Array(6).fill([model, reference]).flat());
    expect(scored.filter(({ by }) => by === model).map(({ rows }) => firsts(rows))).toEqual(
      updated.map(firsts),
    );
    const again = await update({ grpo }, rowsOf(5), judged, { reference });
    expect(again.updated).toEqual(updated);
    const later = await update({ grpo }, rowsOf(5), judged, { reference, index: 1 });
    expect(later.updated.map(firsts)).not.toEqual(updated.map(firsts));
  });

  test("keep the steps of an episode together where they are one text", async () => {
    const grpo = { mini_batch_size: 3 };
    const runs = async (context: "step" | "episode") => {
      const { updated } = await update({ prompt: { context }, grpo }, rowsOf(12));
      return updated.map((rows) => new Set(rows.map(({ episode }) => episode)).size);
    };
    expect(await runs("episode")).toEqual([1, 1, 1, 1]);
    expect(await runs("step")).not.toEqual([1, 1, 1, 1]);
    const { updated } = await update({ prompt: { context: "episode" }, grpo }, rowsOf(12));
    for (const rows of updated) expect(rows.map(({ step }) => step)).toEqual([0, 1, 2]);
    const order = updated.map(([{ episode }]) => episode);
    expect([...order].sort()).toEqual([0, 1, 2, 3]);
    expect(order).not.toEqual([0, 1, 2, 3]);
    // equal numbers of episodes in two groups are two episodes
    const groups = rowsOf(6).map((row) => ({ ...row, group: row.episode, episode: 0 }));
    const mixed = await update({ prompt: { context: "episode" }, grpo }, groups);
    for (const rows of mixed.updated) expect(new Set(rows.map(({ group }) => group)).size).toBe(1);
  });
});

test("the loss of the policy stream is that of the settings", () => {
  const grpo = {
    ...{ epsilon: 0.1, epsilon_high: 0.3, delta: 5, beta: 0.2, kl_estimator: "k2", surrogate: "clip" },
    ...{ importance_sampling_level: "sequence", entropy_coef: 0.01, loss_aggregation: "sequence_mean" },
    ...{ max_completion_length: 9, skip_gradient_below: 0.04 },
  } as const;
  expect(policyLoss(trainConfigSchema.parse({ grpo }))).toEqual({
    ...{
      coefficient: 1,
      clipLow: 0.1,
      clipHigh: 0.3,
      dualClip: 5,
      beta: 0.2,
      klKind: "k2",
      surrogate: "clip",
    },
    ...{
      ratioLevel: "sequence",
      entropyCoef: 0.01,
      aggregation: "sequence_mean",
      normaliser: 9,
      skipBelow: 0.04,
    },
  });
  const bare = { epsilon: 0.1, epsilon_high: null, delta: null, kl_in: "reward", beta: 0.2 } as const;
  expect(policyLoss(trainConfigSchema.parse({ grpo: bare }))).toMatchObject({
    ...{ clipHigh: 0.1, dualClip: 0, beta: 0 },
  });
});
