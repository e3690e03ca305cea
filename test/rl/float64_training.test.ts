/** A training of both stages with every option off its default, update by update against the same formulas in float64. */
import { expect, test, vi } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { trainConfigSchema } from "../../src/config/schema.js";
import { Random } from "../../src/core/random.js";
import type { RolloutRow } from "../../src/core/run_record.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { elementCount, parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { imitationBatch, itemsOfStep, taskOrder } from "../../src/rl/loop/data_order.js";
import { expertRows } from "../../src/rl/loop/imitation.js";
import { PromptBuilder } from "../../src/rl/play/prompt.js";
import { RolloutWorker } from "../../src/rl/play/rollout.js";
import { colourWorld } from "../support/colour_world.js";
import {
  answerLogProbs,
  Float64Optimizer,
  imitationLoss,
  type PolicyRow,
  policyLoss,
  type Weights,
} from "../support/float64_learner.js";
import { referenceConfig } from "../support/reference_qwen2.js";
import { testRuntime } from "../support/runtime.js";
import { type ConfigInput, type RecordedRun, recordTraining } from "../support/training.js";

const optimiser = {
  max_grad_norm: 0.6,
  weight_decay: 0.1,
  adam_beta1: 0.8,
  adam_beta2: 0.9,
  // large, so that a step is a smooth function of the gradient from the start
  adam_epsilon: 0.02,
};
const input = {
  seed: 3,
  imitation: {
    episodes: 4,
    max_steps: 3,
    batch_size: 3,
    prompt_loss_weight: 0.3,
    learning_rate: 0.03,
    lr_scheduler_type: "linear",
    warmup_steps: 1,
    tokens_per_micro_batch: 30,
    ...optimiser,
  },
  grpo: {
    max_steps: 3,
    tasks_per_step: 3,
    num_generations: 4,
    max_completion_length: 3,
    temperature: 0.7,
    success_reward: 3,
    invalid_action_penalty: 0.3,
    scale_rewards: "none",
    mask_truncated_completions: true,
    num_iterations: 3,
    mini_batch_size: 5,
    epsilon: 0.15,
    epsilon_high: 0.02,
    delta: 1.04,
    beta: 0.4,
    kl_estimator: "k2",
    entropy_coef: 0.1,
    loss_aggregation: "sequence_mean",
    learning_rate: 0.05,
    lr_scheduler_type: "cosine",
    warmup_steps: 1,
    tokens_per_micro_batch: 45,
    ...optimiser,
    max_grad_norm: 0.4,
  },
  eval: { at_start: true, every: 1, episodes: 2, modes: ["greedy", "sampled"], temperature: 0.4, top_p: 0.9 },
  checkpoint: { save_steps: 1 },
  log: { rollouts: true },
} satisfies ConfigInput;
const config = trainConfigSchema.parse(input);
const { imitation, grpo, seed } = config;

// about half of all words win, so that groups of a policy that knows nothing have winners and losers
const world = colourWorld((_, command) => command.includes("e"));
const tokenizer = new Tokenizer(buildWordTokenizer(await (world.sampleTexts?.() ?? [])));
const shape = presetConfig("nano", tokenizer.vocabularySize, {
  num_hidden_layers: 1,
  hidden_size: 8,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  intermediate_size: 12,
});
const reference = referenceConfig(shape);
const isMatrix = new Map(parameterShapes(shape).map((one) => [one.name, one.shape.length > 1]));
const decays = (name: string): boolean => isMatrix.get(name) === true;

function drawWeights(): Map<string, Float32Array> {
  const random = Random.of(2, "weights");
  const draw = (name: string) => (name.includes("norm") ? 1 : 0) + 0.5 * random.normal();
  return new Map(
    parameterShapes(shape).map((one) => [
      one.name,
      Float32Array.from({ length: elementCount(one.shape) }, () => draw(one.name)),
    ]),
  );
}

/** Course of the learning rate, counted from the start of the stage. */
function rate(stage: typeof imitation | typeof grpo, index: number): number {
  const { learning_rate, warmup_steps, max_steps, lr_scheduler_type } = stage;
  if (index < warmup_steps) return (learning_rate * (index + 1)) / warmup_steps;
  const progress = (index - warmup_steps) / (max_steps - warmup_steps);
  return (
    learning_rate * (lr_scheduler_type === "linear" ? 1 - progress : (1 + Math.cos(Math.PI * progress)) / 2)
  );
}

async function imitate(weights: Weights, index: number, optimizer: Float64Optimizer): Promise<Weights> {
  const tasks = taskOrder(seed, "expert", world.tasks("train")).slice(0, imitation.episodes);
  const prompts = new PromptBuilder(tokenizer, config.prompt);
  const rules = { seed, detours: imitation.detours, maxSteps: config.world.max_steps };
  const rows = await expertRows({ world, prompts, endToken: tokenizer.eosTokenId as number }, tasks, rules);
  const batch = imitationBatch(seed, rows, imitation.batch_size, index);
  return optimizer.step(weights, rate(imitation, index), (scalars) =>
    imitationLoss(reference, scalars, batch, imitation.prompt_loss_weight),
  );
}

/** All passes over one rollout, mini-batch after mini-batch. */
function improve(
  start: Weights,
  anchor: Weights,
  rollout: readonly RolloutRow[],
  index: number,
  optimizer: Float64Optimizer,
): Weights {
  const rows = rollout.map((row): PolicyRow => {
    const tokens = { prompt: row.prompt_tokens, answer: row.action_tokens };
    return {
      ...tokens,
      advantage: row.advantage,
      mask: row.truncated ? tokens.answer.map(() => 0) : tokens.answer.map(() => 1),
      old: answerLogProbs(reference, start, tokens, grpo.temperature),
      reference: answerLogProbs(reference, anchor, tokens, grpo.temperature),
    };
  });
  let weights = start;
  for (let pass = 0; pass < grpo.num_iterations; pass++) {
    const order = itemsOfStep(seed, `rows ${index}`, rows, rows.length, pass);
    for (let first = 0; first < rows.length; first += grpo.mini_batch_size ?? 0) {
      const batch = order.slice(first, first + (grpo.mini_batch_size ?? 0));
      // where no token counts there is nothing to step down
      if (batch.every(({ mask }) => mask.every((value) => value === 0))) continue;
      weights = optimizer.step(weights, rate(grpo, index), (scalars) =>
        policyLoss(reference, scalars, batch, input.grpo),
      );
    }
  }
  return weights;
}

function worstDifference(got: Weights, expected: Weights): number {
  let worst = 0;
  for (const [name, values] of expected)
    for (let i = 0; i < values.length; i++)
      worst = Math.max(worst, Math.abs((got.get(name)?.[i] ?? Number.NaN) - values[i]));
  return worst;
}

const play = vi.spyOn(RolloutWorker.prototype, "play");
const launcher = new Launcher(await testRuntime());
const initial = drawWeights();
const parameters = new FlatParameters(launcher.runtime, storedShapes(shape));
for (const [name, values] of initial) parameters.load(name, values);
const model = new Qwen2Model(launcher, shape, parameters);
const run: RecordedRun = await recordTraining(launcher, world, input, undefined, undefined, {
  model,
  tokenizer,
});
const after = (step: number): Weights =>
  step === 0 ? initial : (run.checkpoints[step - 1].model as Weights);

test("every update of the imitation stage", async () => {
  const optimizer = new Float64Optimizer(imitation, decays);
  for (let index = 0; index < imitation.max_steps; index++) {
    const expected = await imitate(after(index), index, optimizer);
    expect(worstDifference(after(index + 1), expected), `update ${index}`).toBeLessThan(1e-5);
  }
});

test("every iteration of the policy stage", () => {
  const optimizer = new Float64Optimizer(grpo, decays);
  const first = imitation.max_steps;
  for (let index = 0; index < grpo.max_steps; index++) {
    const rollout = run.rollouts.filter(({ step }) => step === first + index + 1);
    const expected = improve(after(first + index), after(first), rollout, index, optimizer);
    expect(worstDifference(after(first + index + 1), expected), `iteration ${index}`).toBeLessThan(1e-5);
  }
});

test("every term of the loss took part", () => {
  const rows = run.metrics.filter(({ stage }) => stage === "grpo");
  const most = (key: string) => Math.max(...rows.map((row) => Number(row[key])));
  for (const key of [
    "clip_ratio/low_mean",
    "clip_ratio/high_mean",
    "clip_ratio/dual_mean",
    "kl",
    "approx_kl",
  ])
    expect(most(key), key).toBeGreaterThan(0);
  expect(most("sampling/logp_diff_max")).toBeLessThan(1);
  const advantages = run.rollouts.map(({ advantage }) => advantage);
  expect(Math.min(...advantages)).toBeLessThan(0);
  expect(Math.max(...advantages)).toBeGreaterThan(0);
});

test("an answer is truncated where no end token came within the limit", () => {
  const isCut = ({ action_tokens }: RolloutRow) => action_tokens.at(-1) !== tokenizer.eosTokenId;
  expect(run.rollouts.map(({ truncated }) => truncated)).toEqual(run.rollouts.map(isCut));
  expect(new Set(run.rollouts.map(isCut))).toEqual(new Set([true, false]));
});

test("evaluations sample as eval says, rollouts as grpo says", () => {
  const samplings = new Map(
    play.mock.calls.map(([, { label, sampling }]) => [label.split(" ")[0], sampling]),
  );
  expect(samplings.get("grpo")).toMatchObject({ temperature: 0.7, topP: 1, maxNewTokens: 3 });
  const evaluated = play.mock.calls.filter(([, { label }]) => !label.startsWith("grpo"));
  const temperatures = evaluated.map(([, { sampling }]) => sampling.temperature);
  expect(new Set(temperatures)).toEqual(new Set([0, 0.4]));
  expect(
    play.mock.calls.some(([, { sampling }]) => sampling.temperature === 0.4 && sampling.topP === 0.9),
  ).toBe(true);
});
