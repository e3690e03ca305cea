/** Each sign is told when it comes, once, and again when it comes again; nothing else is told. */
import { expect, test } from "vitest";
import { AlertWatch } from "../../src/core/alerts.js";

type Numbers = Readonly<Record<string, number | undefined>>;
const usual: Numbers = {
  ...{
    entropy: 1,
    success: 0.5,
    "episodes/invalid_action_rate": 0.3,
    "dead_groups/before_penalties": 0.4,
    skipped: 0,
  },
  ...{
    "sampling/logp_diff_mean": 1e-6,
    "sampling/logp_diff_max": 1e-4,
    "episodes/failed_rate": 0,
    "perf/step_ms/rollout": 4000,
  },
};

/** Kinds and updates of what is told of usual updates, some of which are changed. */
function told(
  count: number,
  changes: (step: number) => Numbers,
  { hasLossScale = false, stage = "grpo" } = {},
): string[] {
  const watch = new AlertWatch(hasLossScale);
  return Array.from({ length: count }, (_, at) =>
    watch.look({ ...usual, ...changes(at + 1), step: at + 1, stage }),
  )
    .flat()
    .map(({ kind, step }) => `${kind} ${step}`);
}

test.each<[string, (step: number) => Numbers, string[]]>([
  ["a usual run", () => ({}), []],
  ["entropy near nothing", (step) => ({ entropy: step > 10 ? 0.05 : 1 }), ["entropy_collapse 15"]],
  ["entropy that halves", (step) => ({ entropy: step > 10 ? 0.5 : 1 }), []],
  [
    "idleness: fewer invalid actions, less success",
    (step) => (step > 10 ? { success: 0.2, "episodes/invalid_action_rate": 0.05 } : {}),
    ["valid_idleness 20"],
  ],
  [
    "learning: fewer invalid actions, more success",
    (step) => (step > 10 ? { success: 0.8, "episodes/invalid_action_rate": 0.05 } : {}),
    [],
  ],
  [
    "forgetting: more invalid actions, less success",
    (step) => (step > 10 ? { success: 0.2, "episodes/invalid_action_rate": 0.6 } : {}),
    [],
  ],
  [
    "dead groups, twice",
    (step) => ({ "dead_groups/before_penalties": step === 7 || step < 4 ? 0.5 : 1 }),
    ["all_groups_dead 6", "all_groups_dead 10"],
  ],
  ["two dead updates", (step) => ({ "dead_groups/before_penalties": step % 3 === 0 ? 0.9 : 1 }), []],
  [
    "gradients that are not finite",
    (step) => ({ skipped: Number(step === 4 || step === 9) }),
    ["skipped_update 4", "skipped_update 9"],
  ],
  [
    "another log-probability on average",
    (step) => ({ "sampling/logp_diff_mean": step === 3 ? 0.02 : 0 }),
    ["log_prob_mismatch 3"],
  ],
  [
    "another log-probability of a token",
    (step) => ({ "sampling/logp_diff_max": step === 3 ? 0.6 : 0 }),
    ["log_prob_mismatch 3"],
  ],
  ["a world that fails", (step) => ({ "episodes/failed_rate": step === 5 ? 0.3 : 0.1 }), ["stalled_world 5"]],
  [
    "a world that hangs",
    (step) => ({ "perf/step_ms/rollout": step === 12 ? 45_000 : 4000 }),
    ["stalled_world 12"],
  ],
  ["a slow update that is short", (step) => ({ "perf/step_ms/rollout": step === 12 ? 4000 : 100 }), []],
])("%s", (_, changes, expected) => {
  expect(told(20, changes)).toEqual(expected);
});

test("a loss scale may skip updates, and imitation plays nothing", () => {
  expect(told(5, () => ({ skipped: 1 }), { hasLossScale: true })).toEqual([]);
  expect(told(5, () => ({ skipped: 1, "dead_groups/before_penalties": 1 }), { stage: "imitation" })).toEqual(
    [],
  );
});

test("the text has the numbers", () => {
  const watch = new AlertWatch(false);
  const [alert] = watch.look({ ...usual, step: 3, stage: "grpo", "episodes/failed_rate": 0.25 });
  expect(alert.text).toBe("the world failed in 0.25 of the episodes");
});
