/** Rows before the optimiser's step: their parts are right, and what a hook says is what happens. */
import { describe, expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { trainConfigSchema } from "../../src/config/schema.js";
import { Random } from "../../src/core/random.js";
import { perSampleGram } from "../../src/coupling/gram.js";
import { readValues } from "../../src/coupling/ground_truth/passes.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { AdamW } from "../../src/optim/adamw.js";
import {
  applyHooks,
  dropHarmful,
  type InfluenceReport,
  influenceReport,
  type OnInfluence,
} from "../../src/rl/loop/influence_hook.js";
import { policyObjective } from "../../src/rl/objective/policy.js";
import type { Row } from "../../src/rl/rows.js";
import { Learner } from "../../src/rl/update/learner.js";
import { colourWorld } from "../support/colour_world.js";
import { lossOptions, unplaced } from "../support/rows.js";
import { testRuntime } from "../support/runtime.js";
import { type ConfigInput, recordTraining } from "../support/training.js";

const launcher = new Launcher(await testRuntime());
const shape = presetConfig("nano", 24);

/** A learner with drawn weights, the same each time; what `use` makes of it, after which all is released. */
async function withLearner<T>(use: (learner: Learner) => Promise<T>, tokensPerPass = 4096): Promise<T> {
  const model = new Qwen2Model(launcher, shape, new FlatParameters(launcher.runtime, storedShapes(shape)));
  model.initialise(Random.of(1, "weights"));
  const optimizer = new AdamW({ parameters: model.parameters, launcher, lr: 1e-3 });
  const result = await use(new Learner(model, optimizer, tokensPerPass));
  for (const one of [optimizer, model, model.parameters]) one.release();
  return result;
}

/** Seven rows; the last equals the first but for its advantage, one has none, one has a token that does not count. */
function drawnRows(): Row[] {
  const random = Random.of(2);
  const tokens = (count: number) => Array.from({ length: count }, () => random.integer(24));
  const rows = [0.9, -1.2, 0.4, 0, -0.3, 0.7].map((advantage, n): Row => {
    const answer = tokens(2 + (n % 2));
    return { ...unplaced, prompt: tokens(3), answer, advantage, logProbs: answer.map(() => -3) };
  });
  rows[4] = { ...rows[4], weight: rows[4].answer.map((_, t) => (t === 0 ? 0.5 : 1)) };
  return [...rows, { ...rows[0], advantage: -0.2 }];
}

const config = trainConfigSchema.parse({ grpo: { loss_aggregation: "token_mean" } });

test("parts are those of the Gram, whatever fits into a pass", async () => {
  const rows = drawnRows();
  const [report, cut, gram] = await withLearner(async (learner) => {
    const distinct = [0, 1, 2, 4, 5].map((at) => rows[at]);
    const samples = distinct.map(({ prompt, answer, weight }) => ({
      tokens: [...prompt, ...answer],
      responseStart: prompt.length,
      weights: weight ?? answer.map(() => 1),
    }));
    return [
      await influenceReport(learner, config, rows, 5),
      await influenceReport(new Learner(learner.model, learner.optimizer, 12), config, rows, 5),
      (await perSampleGram(learner.model, samples)).gram,
    ] as const;
  });
  const tokens = rows.reduce((sum, { answer }) => sum + answer.length, 0);
  const place = [0, 1, 2, 3, 4, 0];
  const pushes = [0.9, -1.2, 0.4, -0.3, 0.7, -0.2].map((advantage) => advantage / tokens);
  expect(report.step).toBe(5);
  expect(report.rows.map(({ row }) => rows.indexOf(row))).toEqual([0, 1, 2, 4, 5, 6]);
  expect(report.rows.map(({ sample }) => sample)).toEqual(place);
  const close = (value: number, expected: number) =>
    expect(Math.abs(value - expected)).toBeLessThan(1e-4 * (gram[0] / tokens));
  // samples 1 and 3 are punished; sample 0 is rewarded by more than it is punished
  report.rows.forEach((row, at) => {
    const k = (j: number) => gram[place[at] * 5 + j];
    close(row.self, pushes[at] * k(place[at]));
    close(
      row.total,
      pushes.reduce((sum, push, i) => sum + push * k(place[i]), 0),
    );
    close(row.cross, row.total - row.self);
    close(
      row.onPunished,
      [1, 3].filter((j) => j !== place[at]).reduce((sum, j) => sum + pushes[at] * k(j), 0),
    );
    close(cut.rows[at].total, row.total);
    close(cut.rows[at].onPunished, row.onPunished);
  });
});

test("a dropped row is an update without it, bit for bit; its normaliser stays", async () => {
  const rows = drawnRows();
  const drop: OnInfluence = ({ rows: shown }) => shown.map(({ row }) => Number(row !== rows[2]));
  const updated = (change: (learner: Learner) => Promise<readonly Row[]>, normaliser: number) =>
    withLearner(async (learner) => {
      const options = lossOptions({ aggregation: "sequence_sum", normaliser });
      await learner.update(policyObjective(await change(learner), {}, options), 1e-3);
      return readValues(learner.model);
    });
  const hooked = await updated(
    async (learner) => (await applyHooks([drop], await influenceReport(learner, config, rows, 1), rows)).rows,
    6,
  );
  // sequence_sum divides by rows times normaliser: 7 times 6 with the row, 6 times 7 without
  expect(hooked).toEqual(await updated(async () => rows.filter((row) => row !== rows[2]), 7));
  expect(hooked).toEqual(
    await updated(async () => rows.map((row, n) => (n === 2 ? { ...row, advantage: 0 } : row)), 6),
  );
  expect(hooked).not.toEqual(await updated(async () => rows, 6));
});

describe("hooks", () => {
  const [first, second, third, fourth] = drawnRows();
  const influenced = (row: Row, sample: number, onPunished: number) => ({
    ...{ row, sample, onPunished, self: 0, cross: 0, total: 0 },
  });
  const report: InfluenceReport = {
    step: 1,
    rows: [
      influenced(first, 0, 0.1),
      influenced(second, 1, 9),
      influenced(third, 2, 0.3),
      influenced(first, 0, 0.25),
    ],
  };

  test("the rewarded samples that lift punished ones most are dropped, with all their rewarded rows", () => {
    // sample 0 lifts by 0.35, sample 2 by 0.3; sample 1 is punished itself
    expect(dropHarmful(1)(report)).toEqual([0, 1, 1, 0]);
    expect(dropHarmful(2)(report)).toEqual([0, 1, 0, 0]);
    const rising = { step: 1, rows: [0.1, 0.3, 0.2].map((lift, n) => influenced(first, n, lift)) };
    expect(dropHarmful(1)(rising)).toEqual([1, 0, 1]);
    expect(dropHarmful(2)(rising)).toEqual([1, 0, 0]);
    const harmless = { step: 1, rows: [influenced(first, 0, -0.1), influenced(third, 1, 0)] };
    expect(dropHarmful(5)(harmless)).toEqual([1, 1]);
  });

  test("factors multiply, with each other and with weights that rows had", async () => {
    const weighed = { ...second, weight: second.answer.map(() => 0.5) };
    const doubled = { ...first, episode: 1 };
    const rows = [first, weighed, third, fourth, doubled];
    const shown = { step: 1, rows: [first, weighed, third, doubled].map((row, n) => influenced(row, n, 0)) };
    const result = await applyHooks(
      [() => [1, 0.5, 0, 2], async () => undefined, () => [1, 0.5, 1, 1]],
      shown,
      rows,
    );
    expect(result.rows[0]).toBe(first);
    expect(result.rows[1].weight).toEqual(second.answer.map(() => 0.125));
    expect(result.rows[2].weight).toEqual(third.answer.map(() => 0));
    expect(result.rows[3]).toBe(fourth);
    expect(result.rows[4].weight).toEqual(first.answer.map(() => 2));
    expect(result.metrics).toEqual({
      "coupling/hook/rows": 4,
      "coupling/hook/dropped": 1,
      "coupling/hook/reweighted": 2,
    });
  });

  test.each([
    [[1, 1], /got 2 of them, expected 4 numbers/],
    [[-2, 1, 1, 1], /got -2 for row 0/],
    [[1, -1, 1, 1], /got -1 for row 1/],
    [[1, 1, Number.NaN, 1], /got NaN for row 2/],
  ])("wrong factors are refused, case %#", async (factors, message) => {
    await expect(applyHooks([() => factors], report, [first])).rejects.toThrow(message);
  });
});

describe("in a run", () => {
  const settings: ConfigInput = {
    world: { max_steps: 1 },
    imitation: { episodes: 0 },
    grpo: {
      ...{
        max_steps: 2,
        tasks_per_step: 2,
        num_generations: 16,
        max_completion_length: 1,
        learning_rate: 1e-3,
      },
      invalid_action_penalty: 0.5,
    },
    eval: { splits: [], at_start: false },
    log: { rollouts: true },
  };
  const trained = (input: ConfigInput, hook?: OnInfluence) =>
    recordTraining(launcher, colourWorld(), input, undefined, undefined, undefined, hook);

  test("a hook that leaves all as it is changes no bit, and sees each update", async () => {
    const steps: number[] = [];
    const plain = await trained(settings);
    const watched = await trained(settings, ({ step, rows }) => {
      steps.push(step);
      return rows.map(() => 1);
    });
    expect(watched.checkpoints.at(-1)).toEqual(plain.checkpoints.at(-1));
    expect(steps).toEqual([1, 2]);
    expect(watched.metrics[0]["coupling/hook/dropped"]).toBe(0);
    expect("coupling/hook/dropped" in plain.metrics[0]).toBe(false);
  });

  test("coupling.drop_harmful is the hook of that name; records show what was dropped", async () => {
    const plain = await trained(settings);
    const set = await trained({ ...settings, coupling: { drop_harmful: 2 } });
    const given = await trained(settings, dropHarmful(2));
    expect(set.checkpoints.at(-1)).toEqual(given.checkpoints.at(-1));
    expect(set.checkpoints.at(-1)).not.toEqual(plain.checkpoints.at(-1));
    const dropped = set.rollouts.filter(({ weight }) => weight.every((value) => value === 0));
    const counted = set.metrics.map((row) => Number(row["coupling/hook/dropped"]));
    expect(counted.map((_, update) => dropped.filter(({ step }) => step === update + 1).length)).toEqual(
      counted,
    );
    expect(dropped.length).toBeGreaterThan(0);
    expect(dropped.every(({ advantage }) => advantage > 0)).toBe(true);
  });
});
