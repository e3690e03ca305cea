/** Rival remedies by token, from the policy's own last layer to the update. */
import { expect, test } from "vitest";
import { trainConfigSchema } from "../../src/config/schema.js";
import { responseStates } from "../../src/coupling/ground_truth/response_states.js";
import { sampleOf } from "../../src/coupling/samples.js";
import { Launcher } from "../../src/kernels/index.js";
import { nthrTokenWeights } from "../../src/rl/advantages/token_weights.js";
import type { PlayedRow } from "../../src/rl/rows.js";
import { withTokenWeights } from "../../src/rl/update/token_weights.js";
import { triesWorld } from "../support/colour_world.js";
import { played } from "../support/rows.js";
import { testRuntime } from "../support/runtime.js";
import { tinyModel } from "../support/tiny_model.js";
import { recordTraining } from "../support/training.js";

const launcher = new Launcher(await testRuntime());
const grpo = (changes: object) => trainConfigSchema.parse({ grpo: changes }).grpo;

const row = (advantage: number, answer: number[], changes: Partial<PlayedRow> = {}): PlayedRow => ({
  ...played,
  prompt: [3, 1, 4],
  text: { blocks: [], text: "", hash: "prompt" },
  anchorKey: "here",
  answer,
  logProbs: answer.map(() => -1),
  advantage,
  ...changes,
});

/** One state with answers of both signs, an anchor without contrast, another group, and a row without an anchor. */
const rows = [
  row(1, [5, 6]),
  row(-1, [5, 7, 8], { weight: [1, 0.5, 1] }),
  row(-2, [9, 6]),
  row(1, [5], { anchorKey: "there" }),
  row(-1, [5], { group: 1 }),
  row(-1, [5], { anchorKey: undefined }),
];
const weightsOf = (weighed: readonly PlayedRow[]) => weighed.map(({ weight }) => weight);

test("GTPO: conflict tokens among the answers of one state, beside a row's own weights", async () => {
  const model = tinyModel(launcher);
  const weighed = await withTokenWeights(model, rows, grpo({ token_weights: "gtpo", conflict_positive: 3 }));
  expect(weightsOf(weighed)).toEqual([[3, 3], [0, 0.5, 1], [1, 0], [1], [1], [1]]);
  expect(await withTokenWeights(model, rows, grpo({}))).toBe(rows);
  model.release();
});

test("NTHR: by the policy's own hidden states at the temperature of play, state by state", async () => {
  const model = tinyModel(launcher);
  const spared = async (temperature: number) => {
    const seen = await responseStates(model, rows.map(sampleOf), { temperature });
    return nthrTokenWeights([seen[0]], [seen[1], seen[2]], { beta: 0.1, eta: 0.25 });
  };
  for (const temperature of [0.7, 0.05]) {
    const settings = grpo({ token_weights: "nthr", nthr_eta: 0.25, nthr_beta: 0.1, temperature });
    const weighed = weightsOf(await withTokenWeights(model, rows, settings));
    const [first, second] = await spared(temperature);
    expect(weighed).toEqual([[1, 1], [first[0], 0.5 * first[1], first[2]], [...second], [1], [1], [1]]);
  }
  // the case tells something: some tokens are spared, others are not, and which depends on the temperature
  const usual = await spared(0.7);
  expect(new Set(usual.flatMap((factors) => [...factors]))).toEqual(new Set([0.25, 1]));
  expect(await spared(0.05)).not.toEqual(usual);
  model.release();
});

test("a run uses them, and anchors of hidden states", async () => {
  const lossOf = async (changes: object) => {
    const { metrics } = await recordTraining(launcher, triesWorld(), {
      world: { max_steps: 3, train_split: "train" },
      prompt: { answer: "tag" },
      imitation: { episodes: 16, max_steps: 12, batch_size: 16, learning_rate: 3e-3 },
      grpo: {
        algo: "gigpo",
        max_steps: 2,
        tasks_per_step: 4,
        num_generations: 8,
        learning_rate: 1e-3,
        ...changes,
      },
      eval: { episodes: 1, modes: ["greedy"], splits: ["held_out"] },
      checkpoint: { save_steps: 0 },
    });
    return metrics.at(-1) as Readonly<Record<string, number>>;
  };
  const plain = await lossOf({});
  for (const changes of [{ token_weights: "nthr", nthr_beta: 0 }, { token_weights: "gtpo" }]) {
    const weighed = await lossOf(changes);
    expect(Number.isFinite(weighed.loss)).toBe(true);
    expect(weighed.grad_norm).not.toBe(plain.grad_norm);
  }
  // hidden states know the history that the observation does not show; the least similarity joins all of a group
  const [least, most] = [await lossOf({ anchor_cosine: 0 }), await lossOf({ anchor_cosine: 1 - 1e-6 })];
  expect(most["anchor/mean_size"]).toBeLessThan(plain["anchor/mean_size"]);
  expect(least["anchor/mean_size"]).toBeGreaterThan(most["anchor/mean_size"]);
});
