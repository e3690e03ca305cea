/** How fast a world is leaves no trace in a training: not in one bit of its weights. */
import { expect, test } from "vitest";
import { Random } from "../../src/core/random.js";
import type { Environment, World } from "../../src/env/world.js";
import { Launcher } from "../../src/kernels/index.js";
import { testRuntime } from "../support/runtime.js";
import {
  type ConfigInput,
  fewHouseholds,
  recordTraining,
  shortTraining,
  withoutMemory,
} from "../support/training.js";

const launcher = new Launcher(await testRuntime());
/** Some answers take longer than others are waited for with patience. */
const LONGEST = 60;
const MAX_ENVIRONMENTS = 4;

/** A few households whose environments take their time, another one for each seed. */
function slowHouseholds(seed: number): World {
  const world = fewHouseholds();
  const random = Random.of(seed, "delays");
  const late = async <T>(answer: T) => {
    await new Promise((resolve) => setTimeout(resolve, LONGEST * random.uniform() ** 2));
    return answer;
  };
  const create = (): Environment => {
    const environment = world.create();
    return {
      reset: async (options) => late(await environment.reset(options)),
      step: async (command) => late(await environment.step(command)),
      close: () => environment.close(),
    };
  };
  return {
    id: world.id,
    splits: world.splits,
    maxEnvironments: MAX_ENVIRONMENTS,
    tasks: (split) => world.tasks(split),
    expert: (task, from) => world.expert?.(task, from) ?? null,
    sampleTexts: () => world.sampleTexts?.() ?? [],
    create,
  };
}

test("worlds of other speed, on a few environments: equal records, and weights equal bit for bit", async () => {
  const input: ConfigInput = { ...shortTraining(1, 2), log: { rollouts: true } };
  const [first, second] = [
    await recordTraining(launcher, slowHouseholds(1), input),
    await recordTraining(launcher, slowHouseholds(2), input),
  ];
  expect(first.rollouts.length).toBeGreaterThan(6);
  expect(second.rollouts).toEqual(first.rollouts);
  expect(second.metrics.map(withoutMemory)).toEqual(first.metrics.map(withoutMemory));
  expect(second.evaluations).toEqual(first.evaluations);
  expect(second.checkpoints).toEqual(first.checkpoints);
});
