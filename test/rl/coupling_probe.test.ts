/** Coupling measured in training: it predicts what the update does, and changes nothing. */
import { expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { trainConfigSchema } from "../../src/config/schema.js";
import { Random } from "../../src/core/random.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { AdamW, type AdamWOptions } from "../../src/optim/adamw.js";
import { watchedMetrics, watchRows } from "../../src/rl/loop/coupling_probe.js";
import { policyObjective } from "../../src/rl/objective/policy.js";
import type { Row } from "../../src/rl/rows.js";
import { Learner } from "../../src/rl/update/learner.js";
import { colourWorld } from "../support/colour_world.js";
import { lossOptions, unplaced } from "../support/rows.js";
import { testRuntime } from "../support/runtime.js";
import { type ConfigInput, recordTraining } from "../support/training.js";

const launcher = new Launcher(await testRuntime());
const shape = presetConfig("nano", 24);

function openLearner(settings: Partial<AdamWOptions>): Learner {
  const model = new Qwen2Model(launcher, shape, new FlatParameters(launcher.runtime, storedShapes(shape)));
  model.initialise(Random.of(1, "weights"));
  return new Learner(model, new AdamW({ parameters: model.parameters, launcher, lr: 0, ...settings }), 4096);
}

function release({ model, optimizer }: Learner): void {
  for (const one of [optimizer, model, model.parameters]) one.release();
}

function drawRows(): Row[] {
  const random = Random.of(2);
  const tokens = (count: number) => Array.from({ length: count }, () => random.integer(24));
  return Array.from({ length: 10 }, (_, n): Row => {
    const answer = tokens(1 + (n % 3));
    return {
      ...unplaced,
      prompt: tokens(3),
      answer,
      advantage: random.normal(),
      logProbs: answer.map(() => -3),
      anchorKey: `${n % 2}`,
    };
  });
}

test.each([false, true])("predictions fit what a small step does (Gram: %s)", async (gram) => {
  // so large an epsilon makes AdamW's first step one of plain gradient descent
  const learner = openLearner({ betas: [0, 0], eps: 1e4 });
  const rows = drawRows();
  const config = trainConfigSchema.parse({ coupling: { samples: 8, gram } });
  const watched = await watchRows(config, learner, rows, 0);
  expect(watched?.rows).toHaveLength(8);
  // the step that the prediction is about: the watched rows alone, the mean of their sums
  const options = lossOptions({ aggregation: "sequence_sum", normaliser: 1 });
  await learner.update(policyObjective(watched?.rows ?? [], {}, options), 1);
  const metrics = await watchedMetrics(watched as NonNullable<typeof watched>, learner);
  expect(metrics["coupling/probe/correlation"]).toBeGreaterThan(0.999);
  expect(metrics["coupling/probe/rank_correlation"]).toBeGreaterThan(0.99);
  expect(metrics["coupling/probe/raw_correlation"]).toBeGreaterThan(0.999);
  expect(metrics["coupling/samples"]).toBe(8);
  expect("coupling/cosine/within_state/good_bad" in metrics).toBe(gram);
  release(learner);
});

test("predictions follow the update as AdamW makes it, moments, clipping and weight decay included", async () => {
  const learner = openLearner({ weightDecay: 1, maxGradNorm: 0.01 });
  const options = lossOptions({ aggregation: "sequence_sum", normaliser: 1 });
  const rows = drawRows();
  // moments that point the other way outweigh the gradient of one update
  const opposite = rows.map((row) => ({ ...row, advantage: -(row.advantage as number) }));
  for (let step = 0; step < 2; step++) await learner.update(policyObjective(opposite, {}, options), 1e-4);
  const { liveBytes } = launcher.runtime.buffers;
  const watched = await watchRows(trainConfigSchema.parse({}), learner, rows, 0);
  await learner.update(policyObjective(rows, {}, options), 1e-4);
  const metrics = await watchedMetrics(watched as NonNullable<typeof watched>, learner);
  expect(metrics["coupling/probe/correlation"]).toBeGreaterThan(0.999);
  expect(metrics["coupling/probe/raw_correlation"]).toBeLessThan(-0.9);
  expect(metrics["coupling/probe/predicted_inversion_rate"]).toBe(
    metrics["coupling/probe/realised_inversion_rate"],
  );
  expect(launcher.runtime.buffers.liveBytes).toBe(liveBytes);
  release(learner);
});

test("how consistently episodes of a group repeat an action is recorded", async () => {
  const { metrics, rollouts } = await recordTraining(launcher, colourWorld(), {
    world: { max_steps: 1 },
    imitation: { episodes: 0 },
    grpo: { max_steps: 1, tasks_per_step: 2, num_generations: 8, max_completion_length: 1 },
    eval: { splits: [], at_start: false },
    log: { rollouts: true },
  });
  // one step an episode: each group's eight answers are given in one state
  let [equal, pairs] = [0, 0];
  for (const a of rollouts)
    for (const b of rollouts)
      if (a.group === b.group && a.episode < b.episode) {
        pairs++;
        equal += Number(a.action === b.action);
      }
  expect(pairs).toBe(2 * 28);
  expect(metrics[0]["coupling/repeat_consistency"]).toBeCloseTo(equal / pairs, 12);
});

test("a run that is measured learns the same, bit for bit", async () => {
  const config: ConfigInput = {
    world: { max_steps: 1 },
    imitation: { episodes: 0 },
    grpo: {
      max_steps: 2,
      tasks_per_step: 2,
      num_generations: 16,
      max_completion_length: 1,
      learning_rate: 1e-3,
      invalid_action_penalty: 0.5,
    },
    eval: { splits: [], at_start: false },
  };
  const plain = await recordTraining(launcher, colourWorld(), config);
  const measured = await recordTraining(launcher, colourWorld(), {
    ...config,
    coupling: { every: 2, samples: 6, gram: true },
  });
  expect(measured.checkpoints.at(-1)).toEqual(plain.checkpoints.at(-1));
  expect(measured.metrics.map((row) => "coupling/samples" in row)).toEqual([false, true]);
  expect(measured.metrics.map((row) => "perf/step_ms/coupling" in row)).toEqual([false, true]);
});
