/** Instructions of a run reach its evaluations: each split is played without them and with them. */
import { expect, test, vi } from "vitest";
import { Launcher } from "../../src/kernels/index.js";
import { Correction } from "../../src/rl/correction/correction.js";
import { RolloutWorker } from "../../src/rl/play/rollout.js";
import { testRuntime } from "../support/runtime.js";
import { fewHouseholds, recordTraining } from "../support/training.js";

const launcher = new Launcher(await testRuntime());

test("the stage that has instructions is evaluated without and with them; the start, which has none, once", async () => {
  const instruction = {
    taskType: "any",
    situation: "",
    action: "look",
    frequency: 1,
    visits: 9,
    text: "look",
    since: 1,
  };
  vi.spyOn(Correction.prototype, "active", "get").mockReturnValue([instruction]);
  vi.spyOn(Correction.prototype, "block").mockImplementation((taskType) => `avoid : look ${taskType}`);
  const play = vi.spyOn(RolloutWorker.prototype, "play");
  const { evaluations } = await recordTraining(launcher, fewHouseholds(), {
    world: { max_steps: 2 },
    imitation: { episodes: 0 },
    grpo: { max_steps: 1, tasks_per_step: 2, num_generations: 2, max_completion_length: 3 },
    correction: { enabled: true, dropout: 0 },
    eval: { episodes: 2, modes: ["greedy"], splits: ["in_domain"] },
  });
  expect(evaluations.map(({ step, instructions }) => [step, instructions])).toEqual([
    [0, undefined],
    [1, "without"],
    [1, "with"],
  ]);
  const request = { taskId: "a", taskType: "heat", group: 0, episode: 0 };
  const blocks = play.mock.calls.map(([, { label, instructions }]) => [label, instructions?.(request)]);
  expect(blocks).toEqual([
    ["evaluation", undefined],
    ["grpo 0", "avoid : look heat"],
    ["evaluation", undefined],
    ["evaluation", "avoid : look heat"],
  ]);
  vi.restoreAllMocks();
});
