import { describe, expect, test } from "vitest";
import { hashText, hashText64 } from "../../src/core/hash.js";
import type { Metrics } from "../../src/core/run_record.js";
import { Launcher } from "../../src/kernels/index.js";
import { colourWorld } from "../support/colour_world.js";
import { testRuntime } from "../support/runtime.js";
import {
  type ConfigInput,
  fewHouseholds,
  recordTraining,
  shortTraining,
  withoutMemory,
} from "../support/training.js";

const launcher = new Launcher(await testRuntime());

const small: ConfigInput = { ...shortTraining(3, 3), log: { rollouts: true } };

describe("a run", () => {
  test("interrupted anywhere and resumed equals the run without interruption, bit for bit, and leaks nothing", async () => {
    const live = launcher.runtime.buffers.liveBytes;
    const whole = await recordTraining(launcher, fewHouseholds(), small);
    expect(launcher.runtime.buffers.liveBytes).toBe(live);
    expect(whole.metrics.map(({ step, stage }) => [step, stage])).toEqual([
      [1, "imitation"],
      [2, "imitation"],
      [3, "imitation"],
      [4, "grpo"],
      [5, "grpo"],
      [6, "grpo"],
    ]);
    expect(whole.evaluations.map(({ step, stage }) => [step, stage])).toEqual([
      [0, "start"],
      [3, "imitation"],
      [6, "grpo"],
    ]);
    const last = whole.checkpoints.at(-1);
    for (const cut of [1, 3, 5]) {
      const first = await recordTraining(launcher, fewHouseholds(), small, undefined, cut);
      expect(first.checkpoints.at(-1)?.step).toBe(cut);
      const rest = await recordTraining(launcher, fewHouseholds(), small, first.checkpoints.at(-1));
      expect([...first.metrics, ...rest.metrics]).toEqual(
        whole.metrics.map((row) => expect.objectContaining(withoutMemory(row))),
      );
      expect([...first.evaluations, ...rest.evaluations]).toEqual(whole.evaluations);
      expect([...first.rollouts, ...rest.rollouts]).toEqual(whole.rollouts);
      expect([...first.transcripts, ...rest.transcripts]).toEqual(whole.transcripts);
      expect(rest.checkpoints.at(-1)).toEqual(last);
    }
  });

  test("episodes of evaluations are kept up to a bound, and keeping them changes nothing else", async () => {
    const kept = async (evaluation_episodes: number) =>
      recordTraining(launcher, fewHouseholds(), { ...small, log: { evaluation_episodes } });
    const [none, two] = [await kept(0), await kept(2)];
    expect(none.transcripts).toEqual([]);
    expect(two.checkpoints).toEqual(none.checkpoints);
    expect(two.evaluations).toEqual(none.evaluations);
    expect(two.metrics).toEqual(none.metrics.map((row) => expect.objectContaining(withoutMemory(row))));
    for (const { step, split, mode, episodes } of two.evaluations) {
      const own = two.transcripts.filter(
        (one) => one.step === step && one.split === split && one.mode === mode,
      );
      expect(own).toHaveLength(Math.min(2, episodes));
      for (const { ended, steps } of own) {
        expect(steps.length).toBeGreaterThan(0);
        expect(["won", "lost", "truncated"]).toContain(ended);
      }
    }
    // the same tasks after every evaluation
    const tasks = (step: number) =>
      two.transcripts.filter((one) => one.step === step).map(({ task_id, sample }) => [task_id, sample]);
    expect(tasks(6)).toEqual(tasks(0));
    expect(new Set(two.transcripts.map(({ step }) => step))).toEqual(new Set([0, 3, 6]));
  });

  test("rollout rows say what was read, done and learned", async () => {
    const { rollouts, metrics } = await recordTraining(launcher, fewHouseholds(), {
      ...small,
      imitation: { episodes: 0 },
    });
    expect(rollouts.length).toBeGreaterThan(6);
    for (const row of rollouts) {
      expect(row.log_probs.length).toBe(row.action_tokens.length);
      expect(row.prompt_hash).toBe(hashText64(row.prompt));
      expect(row.advantage).toBeCloseTo(row.advantage_parts.outcome + row.advantage_parts.penalty, 12);
      const group = rollouts.filter((other) => other.step === row.step && other.group === row.group);
      const invalidShare = group.filter(({ valid }) => !valid).length / group.length;
      expect(row.advantage_parts.penalty).toBeCloseTo(-0.5 * (Number(!row.valid) - invalidShare), 12);
    }
    for (const group of [0, 1]) {
      const openings = rollouts.filter((row) => row.step === 1 && row.group === group && row.env_step === 0);
      expect(new Set(openings.map(({ prompt }) => prompt)).size).toBe(1);
    }
    for (const row of metrics) expect(row["sampling/logp_diff_max"]).toBeLessThan(1e-4);
  });
});

describe("learning", () => {
  const config: ConfigInput = {
    world: { max_steps: 1, train_split: "train" },
    imitation: { episodes: 0 },
    grpo: {
      max_steps: 40,
      tasks_per_step: 4,
      num_generations: 16,
      max_completion_length: 1,
      learning_rate: 3e-3,
    },
    eval: { episodes: 4, modes: ["greedy"], splits: ["held_out"] },
    checkpoint: { save_steps: 0 },
  };
  const successOf = (rows: readonly Metrics[]) =>
    rows.reduce((sum, { success }) => sum + (success as number), 0) / rows.length;

  test("GRPO solves the colour world in 40 iterations", async () => {
    const { metrics, evaluations } = await recordTraining(launcher, colourWorld(), config);
    expect(successOf(metrics.slice(0, 3))).toBeLessThan(0.3);
    expect(successOf(metrics.slice(-3))).toBeGreaterThan(0.7);
    expect(evaluations.at(-1)?.success).toBeGreaterThanOrEqual(0.75);
  });

  test("with dynamic sampling every group that is trained on has contrast", async () => {
    const { metrics } = await recordTraining(launcher, colourWorld(), {
      ...config,
      grpo: {
        ...config.grpo,
        max_steps: 3,
        num_generations: 4,
        filter_groups: true,
        filter_groups_max_batches: 3,
      },
    });
    for (const row of metrics) {
      expect(row.frac_reward_zero_std).toBe(0);
      expect(row["filter_groups/batches"]).toBeLessThanOrEqual(3);
      expect(row.rows as number).toBeLessThanOrEqual(16);
      expect((row.rows as number) % 4).toBe(0);
    }
    expect(metrics.some((row) => (row["filter_groups/dropped"] as number) > 0)).toBe(true);
  });

  test("with rewards that have nothing to do with the answer it does not", async () => {
    let calls = 0;
    const world = colourWorld(() => hashText(`${calls++}`) % 4 === 0);
    const { metrics } = await recordTraining(launcher, world, config);
    expect(metrics.length).toBe(40);
    expect(successOf(metrics.slice(-3))).toBeLessThan(0.5);
  });
});
