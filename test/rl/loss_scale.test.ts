/** Loss scaling with float32 tensors is exact: whole updates, forward and backward, with and without it. */
import { expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Random } from "../../src/core/random.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { AdamW } from "../../src/optim/adamw.js";
import type { LossScaleOptions } from "../../src/optim/loss_scale.js";
import { imitationObjective } from "../../src/rl/objective/imitation.js";
import { policyObjective } from "../../src/rl/objective/policy.js";
import type { Row } from "../../src/rl/rows.js";
import { Learner } from "../../src/rl/update/learner.js";
import { lossOptions, unplaced } from "../support/rows.js";
import { testRuntime } from "../support/runtime.js";

const launcher = new Launcher(await testRuntime());
const config = presetConfig("nano", 24);
const LEARNING_RATE = 1e-2;
const TOKENS_PER_MICRO_BATCH = 16;

const options = lossOptions({ beta: 0.1, entropyCoef: 0.02 });

function drawRows(random: Random): Row[] {
  const tokens = (count: number) => Array.from({ length: count }, () => random.integer(config.vocab_size));
  return Array.from({ length: 9 }, () => {
    const answer = tokens(1 + random.integer(4));
    return {
      ...unplaced,
      prompt: tokens(2 + random.integer(8)),
      answer,
      advantage: random.normal(),
      logProbs: answer.map(() => -3),
    };
  });
}

/** Two imitation steps and three policy steps over several micro-batches each. */
async function train(lossScale: LossScaleOptions | undefined) {
  const model = new Qwen2Model(launcher, config, new FlatParameters(launcher.runtime, storedShapes(config)));
  model.initialise(Random.of(3, "weights"));
  const optimizer = new AdamW({
    parameters: model.parameters,
    launcher,
    lr: LEARNING_RATE,
    maxGradNorm: 1,
    lossScale,
  });
  const learner = new Learner(model, optimizer, TOKENS_PER_MICRO_BATCH);
  const records: object[] = [];
  const scales: number[] = [];
  const note = ({ lossScale: scale, ...rest }: { readonly lossScale: number }) => {
    records.push(rest);
    scales.push(scale);
  };
  for (let step = 0; step < 2; step++)
    note(await learner.update(imitationObjective(drawRows(Random.of(4, step)), 0.5), LEARNING_RATE));
  const rows = drawRows(Random.of(5));
  const reference = await learner.score(rows, 1);
  for (let step = 0; step < 3; step++)
    note(
      await learner.update(policyObjective(rows, { old: reference, reference }, options), LEARNING_RATE, {
        keepLogProbs: true,
      }),
    );
  const values = new Map<string, Float32Array>();
  for (const { name } of parameterShapes(config)) values.set(name, await model.parameters.read(name));
  optimizer.release();
  model.release();
  model.parameters.release();
  return { values, records, scales };
}

test("training with loss scaling equals training without, bit for bit", async () => {
  const plain = await train(undefined);
  expect(plain.scales).toEqual([1, 1, 1, 1, 1]);
  expect(plain.records.every((record) => "skipped" in record && !record.skipped)).toBe(true);
  const scaled = await train({ initial: 2 ** 12, growthInterval: 2 });
  expect(scaled.scales).toEqual([2 ** 12, 2 ** 13, 2 ** 13, 2 ** 14, 2 ** 14]);
  expect(scaled.records).toEqual(plain.records);
  expect(scaled.values).toEqual(plain.values);
});
