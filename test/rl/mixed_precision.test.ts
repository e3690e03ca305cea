/** Training with f16 matrices and activations: it learns, resumes bit for bit, and samples what it trains. */
import { expect, test } from "vitest";
import type { Metrics } from "../../src/core/run_record.js";
import { Launcher } from "../../src/kernels/index.js";
import { colourWorld } from "../support/colour_world.js";
import { halfPrecision, needing } from "../support/needs.js";
import { testRuntime } from "../support/runtime.js";
import { type ConfigInput, fewHouseholds, recordTraining, shortTraining } from "../support/training.js";

const launcher = new Launcher(await testRuntime());
const model = { precision: "mixed" } as const;

const small: ConfigInput = { model, ...shortTraining(2, 2) };

const withoutMemory = (row: Metrics) =>
  Object.fromEntries(Object.entries(row).filter(([name]) => !name.startsWith("gpu/")));

needing(halfPrecision(launcher.facts.features)).describe("in mixed precision", () => {
  test("a run that was interrupted and resumed equals the run that was not, bit for bit, and leaks nothing", async () => {
    const live = launcher.runtime.buffers.liveBytes;
    const whole = await recordTraining(launcher, fewHouseholds(), small);
    expect(launcher.runtime.buffers.liveBytes).toBe(live);
    for (const row of whole.metrics) {
      expect(row).toMatchObject({ loss_scale: 4096, skipped: 0, skipped_updates: 0 });
      if (row.stage === "grpo") expect(row["sampling/logp_diff_max"]).toBeLessThan(2e-3);
    }
    for (const cut of [1, 3]) {
      const first = await recordTraining(launcher, fewHouseholds(), small, undefined, cut);
      const rest = await recordTraining(launcher, fewHouseholds(), small, first.checkpoints.at(-1));
      expect([...first.metrics, ...rest.metrics].map(withoutMemory)).toEqual(
        whole.metrics.map(withoutMemory),
      );
      expect(rest.checkpoints.at(-1)).toEqual(whole.checkpoints.at(-1));
    }
    const { optimizer } = whole.checkpoints.at(-1) ?? {};
    const counter = optimizer?.get("counter") as Float32Array;
    const [steps] = new Uint32Array(counter.slice().buffer);
    expect(steps).toBeGreaterThan(2);
    expect(optimizer?.get("loss_scale")).toEqual(Float32Array.of(4096, 2 ** -12, steps));
  });

  test("log-probabilities of sampling and training agree, and GRPO solves the colour world", async () => {
    const { metrics, evaluations } = await recordTraining(launcher, colourWorld(), {
      model,
      world: { max_steps: 1, train_split: "train" },
      imitation: { episodes: 0 },
      grpo: {
        max_steps: 40,
        tasks_per_step: 4,
        num_generations: 16,
        max_completion_length: 1,
        learning_rate: 3e-3,
        entropy_coef: 0.1,
      },
      eval: { episodes: 4, modes: ["greedy"], splits: ["held_out"] },
      checkpoint: { save_steps: 0 },
    });
    for (const row of metrics) {
      expect(row["sampling/logp_diff_max"]).toBeLessThan(2e-3);
      expect(row.skipped_updates).toBe(0);
    }
    const successOf = (rows: readonly Metrics[]) =>
      rows.reduce((sum, { success }) => sum + (success as number), 0) / rows.length;
    expect(successOf(metrics.slice(0, 3))).toBeLessThan(0.3);
    expect(successOf(metrics.slice(-3))).toBeGreaterThan(0.7);
    expect(evaluations.at(-1)?.success).toBeGreaterThanOrEqual(0.75);
  });
});
