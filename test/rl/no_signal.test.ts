/** No signal, no step: where nothing is better than anything else and the policy is its reference, weights keep their bits. */
import { describe, expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { type TrainConfigInput, trainConfigSchema } from "../../src/config/schema.js";
import { Random } from "../../src/core/random.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { AdamW } from "../../src/optim/adamw.js";
import { referenceModel } from "../../src/rl/loop/policy_state.js";
import { updatePolicy } from "../../src/rl/loop/policy_update.js";
import { selectRows } from "../../src/rl/objective/selection.js";
import type { Row } from "../../src/rl/rows.js";
import { Learner } from "../../src/rl/update/learner.js";
import { halfPrecision, needing } from "../support/needs.js";
import { unplaced } from "../support/rows.js";
import { gpuFamilyRuntime, testRuntime } from "../support/runtime.js";
import { fewHouseholds, recordTraining } from "../support/training.js";

const V = 40;
const LEARNING_RATE = 1e-3;
const launcher = new Launcher(await testRuntime());
const config = presetConfig("nano", V);

/** Rows of many lengths, so that each packing lays them elsewhere; some are equal, some go on from each other. */
function rolloutRows(advantage: (row: number) => number): Row[] {
  const random = Random.of(5, "no signal");
  const tokens = (least: number, most: number) =>
    Array.from({ length: least + random.integer(most - least + 1) }, () => random.integer(V));
  const rows = Array.from({ length: 16 }, (_, episode) => ({
    prompt: tokens(3, 70),
    answer: tokens(1, 9),
    episode,
  }));
  const [first] = rows;
  const more = [
    { ...first, episode: 16 },
    { prompt: [...first.prompt, ...first.answer, 7, 8], answer: [5, 6], episode: 16 },
  ];
  return [...rows, ...more].map((row, at) => ({
    ...unplaced,
    ...row,
    advantage: advantage(at),
    logProbs: row.answer.map(() => -3),
  }));
}

/** @returns whether any weight has other bits after the updates, and the largest ratio that they saw */
async function updates(launcher: Launcher, half: boolean, grpo: TrainConfigInput["grpo"], rows: Row[]) {
  const parameters = new FlatParameters(launcher.runtime, storedShapes(config), {
    storage: half ? "f16" : "f32",
  });
  const model = new Qwen2Model(launcher, config, parameters);
  model.initialise(Random.of(1, "weights"));
  const optimizer = new AdamW({ parameters, launcher, lr: LEARNING_RATE, lossScale: half ? {} : undefined });
  const reference = await referenceModel(model, undefined);
  const weights = async () => {
    const values: Float32Array[] = [];
    for (const { name } of parameterShapes(config)) values.push(await parameters.read(name));
    return values;
  };
  const before = await weights();
  const done = await updatePolicy(
    {
      config: trainConfigSchema.parse({ grpo }),
      learner: new Learner(model, optimizer, 256),
      reference,
      index: 0,
      step: 1,
      learningRate: LEARNING_RATE,
    },
    rows,
    [],
  );
  const after = await weights();
  optimizer.release();
  for (const policy of [model, reference]) {
    policy.release();
    policy.parameters.release();
  }
  return {
    isMoved: after.some((values, i) => !sameBits(values, before[i])),
    count: done.length,
    ratio: Math.max(...done.map(({ policy }) => policy.ratioMax)),
    kl: Math.max(...done.map(({ policy }) => policy.referenceKl)),
  };
}

const shapes = {
  "one update": {},
  "iterations over all rows": { num_iterations: 3 },
  "mini-batches": { mini_batch_size: 5 },
  "mini-batches, twice": { mini_batch_size: 7, num_iterations: 2 },
} as const;
/** k1 has a gradient where nothing differs, whose mean over samples alone is 0. */
const estimates = ["k2", "k3", "k3+", "k3_corrected"] as const;

/** The same tests for either precision of the weights. */
function defineTests(launcher: Launcher, half: boolean): void {
  test.each(Object.entries(shapes))(
    "KL alone moves no bit of a policy that is its reference: %s",
    async (_, shape) => {
      const rows = rolloutRows(() => 0);
      for (const kl_estimator of estimates) {
        const result = await updates(launcher, half, { beta: 0.05, kl_estimator, ...shape }, rows);
        expect(result).toMatchObject({ isMoved: false, ratio: 1, kl: 0 });
      }
    },
  );

  test.each(Object.entries(shapes))("rows with an advantage move it: %s", async (_, shape) => {
    const some = rolloutRows((at) => Number(at % 5 === 3));
    const { isMoved, count, ratio } = await updates(launcher, half, { beta: 0.05, ...shape }, some);
    expect(isMoved).toBe(true);
    if (count > 1) expect(ratio).toBeGreaterThan(1);
  });
}

describe("in float32", () => defineTests(launcher, false));
needing(halfPrecision(launcher.facts.features)).describe("in mixed precision", () =>
  defineTests(launcher, true),
);

test("the kernels of GPUs move no bit either", async () => {
  const gpu = new Launcher(await gpuFamilyRuntime());
  const shape = { beta: 0.05, ...shapes["mini-batches, twice"] };
  expect(
    await updates(
      gpu,
      false,
      shape,
      rolloutRows(() => 0),
    ),
  ).toMatchObject({ isMoved: false, ratio: 1 });
});

describe("a run in which nobody has success", () => {
  const run = async (grpo: TrainConfigInput["grpo"]) => {
    const { checkpoints, metrics } = await recordTraining(launcher, fewHouseholds(), {
      world: { max_steps: 3 },
      imitation: { episodes: 0 },
      grpo: {
        max_steps: 2,
        tasks_per_step: 2,
        num_generations: 3,
        max_completion_length: 5,
        learning_rate: LEARNING_RATE,
        num_iterations: 2,
        invalid_action_penalty: 0,
        beta: 0.05,
        ...grpo,
      },
      eval: { episodes: 2, modes: ["greedy"], splits: ["in_domain"] },
    });
    const model = checkpoints.at(-1)?.model ?? new Map<string, Float32Array>();
    const names = [...model.keys()].filter((name) => !name.startsWith("reference."));
    expect(names.length).toBeGreaterThan(3);
    const isMoved = names.some((name) => !sameBits(model.get(name), model.get(`reference.${name}`)));
    return { isMoved, metrics };
  };

  test.each(["loss", "reward"] as const)(
    "ends with the weights that it began with, KL in the %s",
    async (kl_in) => {
      const { isMoved, metrics } = await run({ kl_in });
      expect(isMoved).toBe(false);
      for (const row of metrics) expect(row).toMatchObject({ success: 0, kl: 0, effective_sample_share: 0 });
    },
  );

  test("moves where entropy is rewarded", async () => {
    expect((await run({ entropy_coef: 0.01 })).isMoved).toBe(true);
  });
});

function sameBits(a: Float32Array | undefined, b: Float32Array | undefined): boolean {
  const [own, other] = [a, b].map((values) => new Uint32Array((values ?? new Float32Array()).slice().buffer));
  return own.length > 0 && own.length === other.length && own.every((bits, i) => bits === other[i]);
}

describe("opposite advantages of equal rows", () => {
  const row = (advantage: number): Row => ({
    ...unplaced,
    prompt: [1],
    answer: [2],
    advantage,
    logProbs: [-1],
  });
  const rule = { everyRowMatters: false, linear: true, skipBelow: 0 };
  const select = (...advantages: number[]) =>
    selectRows(
      advantages.map(row),
      advantages.map(() => [1 / 3]),
      rule,
    );

  test("what rounding leaves of their sum is no gradient", () => {
    expect(0.1 + 0.2 - 0.3).not.toBe(0);
    expect(select(0.1, 0.2, -0.3)).toEqual([]);
  });

  test("a small sum of small advantages is one", () => {
    expect(select(1e-12, 1e-12)).toHaveLength(1);
    expect(select(1, -1, 1e-12)).toHaveLength(1);
  });
});
