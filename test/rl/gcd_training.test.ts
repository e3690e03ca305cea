/** Two streams in one update, and whole trainings with GCD and correction. */
import { describe, expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { trainConfigSchema } from "../../src/config/schema.js";
import { Random } from "../../src/core/random.js";
import type { Metrics } from "../../src/core/run_record.js";
import { householdWorld } from "../../src/env/household/world.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { AdamW } from "../../src/optim/adamw.js";
import { Gcd } from "../../src/rl/gcd/gcd.js";
import { JUDGE_WORDS, Judge } from "../../src/rl/gcd/judge.js";
import { labelActions } from "../../src/rl/gcd/labels.js";
import { classificationStream } from "../../src/rl/gcd/stream.js";
import { ValueHead } from "../../src/rl/gcd/value_head.js";
import { verdictProbabilities } from "../../src/rl/gcd/verdicts.js";
import { type PolicyLossOptions, policyObjective } from "../../src/rl/objective/policy.js";
import type { PlayedRow, Row } from "../../src/rl/rows.js";
import { Learner } from "../../src/rl/update/learner.js";
import { lossOptions, unplaced } from "../support/rows.js";
import { testRuntime } from "../support/runtime.js";
import { type ConfigInput, recordTraining } from "../support/training.js";

const launcher = new Launcher(await testRuntime());
const modelConfig = presetConfig("nano", 32);

function openModel(): Qwen2Model {
  const parameters = new FlatParameters(launcher.runtime, storedShapes(modelConfig));
  const model = new Qwen2Model(launcher, modelConfig, parameters);
  model.initialise(Random.of(1, "weights"));
  return model;
}

const row = (kind: Row["kind"], prompt: number[], answer: number[], advantage: number): Row => ({
  ...unplaced,
  kind,
  prompt,
  answer,
  advantage,
  logProbs: answer.map(() => -1),
});
const played = [
  row("policy", [1, 2, 3], [4, 5], 1),
  row("policy", [3, 2], [6], -0.5),
  row("policy", [9], [2, 2, 2], 2),
];
const judged = [row("classification", [7, 8, 9, 1], [10], 1), row("classification", [7, 8, 9, 2], [11], 0.7)];

/** Gradient of every parameter of one update. */
async function gradientOf(rows: readonly Row[], options: PolicyLossOptions): Promise<Float32Array[]> {
  const model = openModel();
  const optimizer = new AdamW({ parameters: model.parameters, launcher, lr: 0 });
  await new Learner(model, optimizer, 4096).update(policyObjective(rows, {}, options), 0);
  const gradients: Float32Array[] = [];
  for (const { name } of parameterShapes(modelConfig))
    gradients.push(await model.parameters.readGradient(name));
  optimizer.release();
  model.release();
  model.parameters.release();
  return gradients;
}

function expectEqual(got: readonly Float32Array[], wanted: readonly (readonly number[])[]): void {
  got.forEach((values, at) => {
    const largest = Math.max(...wanted[at].map(Math.abs));
    values.forEach((value, i) => {
      expect(Math.abs(value - wanted[at][i])).toBeLessThan(1e-5 * largest + 1e-8);
    });
  });
}

describe("a second stream", () => {
  test("adds its own gradient, and neither moves nor rescales that of the policy", async () => {
    const alone = await gradientOf(played, lossOptions({}));
    const ofJudge = await gradientOf(
      judged,
      lossOptions({}, { coefficient: 1, aggregation: "sequence_mean" }),
    );
    for (const coefficient of [0, 0.3]) {
      const both = await gradientOf(
        [...played, ...judged],
        lossOptions({}, { coefficient, aggregation: "sequence_mean" }),
      );
      expectEqual(
        both,
        alone.map((values, at) => [...values].map((value, i) => value + coefficient * ofJudge[at][i])),
      );
    }
    expect(Math.max(...ofJudge.flatMap((values) => [...values].map(Math.abs)))).toBeGreaterThan(1e-3);
  });

  test("judged by a value head it shapes the hidden states, not the words", async () => {
    const model = openModel();
    const head = new ValueHead(model, { seed: 0, learningRate: 1e-2, maxGradNorm: 1 });
    const optimizer = new AdamW({ parameters: model.parameters, launcher, lr: 1e-2, maxGradNorm: 1 });
    const learner = new Learner(model, optimizer, 4096);
    const prompts = judged.map(({ prompt }) => prompt);
    const labelOf = ({ answer }: Row) => (answer[0] === 10 ? ("good" as const) : ("bad" as const));
    const options = { ...lossOptions({}, { coefficient: 1 }), head: { classifier: head, labelOf } };
    const before = await head.probabilities(prompts, 4096);
    for (let step = 0; step < 20; step++) {
      head.clearGradient();
      await learner.update(policyObjective(judged, {}, options), 1e-2);
      head.step(1e-2);
    }
    const after = await head.probabilities(prompts, 4096);
    expect(Math.abs(before[0].good - before[1].good)).toBeLessThan(0.2);
    expect(after[0].good).toBeGreaterThan(0.9);
    expect(after[1].bad).toBeGreaterThan(0.9);
    // it goes on from what it saved
    const other = new ValueHead(model, { seed: 1, learningRate: 1e-2, maxGradNorm: 1 });
    other.restore(JSON.parse(JSON.stringify(await head.save())));
    expect(await other.probabilities(prompts, 4096)).toEqual(after);
    for (const one of [head, other, optimizer, model, model.parameters]) one.release();
  });

  test("both verdicts' probabilities come from one pass", async () => {
    const model = openModel();
    const optimizer = new AdamW({ parameters: model.parameters, launcher, lr: 0 });
    const prompts = judged.map(({ prompt }) => prompt);
    const scoring = { tokens: { good: 10, bad: 11 }, temperature: 0.7, tokensPerMicroBatch: 4096 };
    const found = await verdictProbabilities(model, prompts, scoring);
    const learner = new Learner(model, optimizer, 4096);
    for (const [verdict, token] of [
      ["good", 10],
      ["bad", 11],
    ] as const) {
      const rows = prompts.map((prompt) => ({ prompt, answer: [token] }));
      const single = await learner.score(rows, 0.7);
      found.forEach((one, at) => {
        expect(one[verdict]).toBeCloseTo(Math.exp(single[at][0]), 6);
      });
    }
    for (const one of [optimizer, model, model.parameters]) one.release();
  });
});

const household = () =>
  householdWorld({ seed: 5, difficulty: "easy", sizes: { train: 4, in_domain: 2, out_of_domain: 1 } });
const everything: ConfigInput = {
  seed: 2,
  world: { max_steps: 6 },
  prompt: { answer: "tag" },
  imitation: { episodes: 2, max_steps: 6, batch_size: 8, learning_rate: 3e-3, prompt_loss_weight: 0.1 },
  grpo: {
    algo: "rlvmr",
    max_steps: 4,
    tasks_per_step: 2,
    num_generations: 3,
    max_completion_length: 6,
    learning_rate: 1e-3,
    num_iterations: 2,
    mini_batch_size: 9,
  },
  gcd: { enabled: true, label_source: "rule", cold_start_share: 0.3, loss: "mixed", hard_pairs: 6 },
  correction: { enabled: true, every: 2, min_visits: 1, threshold: 0.05 },
  eval: { episodes: 2, modes: ["greedy"], splits: ["in_domain"] },
  checkpoint: { save_steps: 1 },
  log: { rollouts: true },
};

describe("a run with GCD, correction, tags and a value head", () => {
  const without = (rows: readonly Metrics[]) =>
    rows.map((one) => Object.fromEntries(Object.entries(one).filter(([name]) => !name.startsWith("gpu/"))));

  test.each(["policy", "value"] as const)(
    "goes on from any checkpoint bit for bit, judged by the %s",
    async (head) => {
      const config: ConfigInput = { ...everything, gcd: { ...everything.gcd, head } };
      const whole = await recordTraining(launcher, household(), config);
      const from = whole.checkpoints.find(({ step }) => step === 8);
      const rest = await recordTraining(launcher, household(), config, from);
      expect(without(rest.metrics)).toEqual(without(whole.metrics.slice(8)));
      expect(rest.checkpoints.at(-1)).toEqual(whole.checkpoints.at(-1));
      expect(whole.metrics.at(-1)).toMatchObject({
        "gcd/lambda": expect.any(Number),
        "correction/active": expect.any(Number),
      });
      // the rows say what each action was labelled: as many as the metrics count
      for (const row of whole.metrics.filter(({ stage }) => stage === "grpo")) {
        const labelled = (verdict: string) =>
          new Set(
            whole.rollouts
              .filter((one) => one.step === row.step && one.kind === "policy" && one.verdict === verdict)
              .map((one) => `${one.task_id} ${one.anchor_key ?? one.prompt_hash} ${one.action}`),
          ).size;
        expect([labelled("good"), labelled("bad")]).toEqual([row["labels/good"], row["labels/bad"]]);
      }
    },
  );
});

describe("learning to judge", () => {
  const speakers = ["ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal"];
  const colours = ["red", "blue", "green", "white"];
  const tasks = speakers.flatMap((speaker) => colours.map((colour) => ({ speaker, colour })));
  const tokenizer = new Tokenizer(
    buildWordTokenizer([...speakers, ...colours, "wants", ...JUDGE_WORDS, ":"], {
      roles: ["user", "assistant"],
    }),
  );

  /** Every task once with the action that it wants and once with another one. */
  function someRows(random: Random): PlayedRow[] {
    return tasks.flatMap(({ speaker, colour }, group) =>
      [colour, random.pick(colours.filter((one) => one !== colour))].map((action, episode): PlayedRow => {
        const text = `${speaker} wants ${colour}`;
        const blocks = [{ name: "task", text }] as const;
        const place = {
          ...unplaced,
          group,
          episode,
          taskId: text,
          anchorKey: text,
          observation: text,
          action,
        };
        return {
          ...place,
          text: { blocks, text, hash: text },
          prompt: tokenizer.encode(text),
          answer: tokenizer.encode(action),
          logProbs: [-1],
          valid: true,
          truncated: false,
          stepReward: Number(action === colour),
          outcome: Number(action === colour),
        };
      }),
    );
  }

  const nanoParameters = () =>
    new FlatParameters(launcher.runtime, storedShapes(presetConfig("nano", tokenizer.vocabularySize)));

  /** Held-out accuracy before each of some updates of the classification stream alone. */
  async function heldOutAccuracy(gcd: NonNullable<ConfigInput["gcd"]>): Promise<number[]> {
    const config = trainConfigSchema.parse({
      gcd: { enabled: true, label_source: "step_advantage", loss: "ce", max_token_share: 0.9, ...gcd },
    });
    const model = new Qwen2Model(launcher, presetConfig("nano", tokenizer.vocabularySize), nanoParameters());
    model.initialise(Random.of(1, "weights"));
    const optimizer = new AdamW({ parameters: model.parameters, launcher, lr: 3e-3, maxGradNorm: 1 });
    const learner = new Learner(model, optimizer, 4096);
    const judge = new Judge(tokenizer, { format: "plain", mode: "direct", context: "step", history: 2 });
    const sampler = { generate: async () => [] };
    const accuracies: number[] = [];
    for (let index = 0; index < 60; index++) {
      const played = someRows(Random.of(3, index));
      const { labels } = labelActions(played, {
        source: "step_advantage",
        threshold: 0.1,
        minVisits: 1,
        conflicts: "drop",
        gamma: 0.95,
      });
      const deps = { config, judge, model, sampler, endToken: 0 };
      const { rows, metrics } = await classificationStream(deps, {
        rows: played,
        labels,
        index,
        isTrained: true,
      });
      accuracies.push(metrics["gcd/balanced_accuracy_held_out"]);
      const options = lossOptions({}, { coefficient: 0.5, aggregation: "sequence_mean" });
      await learner.update(policyObjective(rows, {}, options), 3e-3);
    }
    for (const one of [optimizer, model, model.parameters]) one.release();
    return accuracies;
  }
  test("with a weight of 0 the questions are asked, and nobody learns from them", async () => {
    const model = new Qwen2Model(launcher, presetConfig("nano", tokenizer.vocabularySize), nanoParameters());
    model.initialise(Random.of(1, "weights"));
    const played = someRows(Random.of(3));
    const { labels } = labelActions(played, {
      source: "step_advantage",
      threshold: 0.1,
      minVisits: 1,
      conflicts: "drop",
      gamma: 0.95,
    });
    const worker = { prompts: { tokenizer }, sampler: { generate: async () => [] }, endToken: 0 };
    const rowsWith = async (lambda: number) => {
      const config = trainConfigSchema.parse({
        gcd: { enabled: true, lambda, warmup_steps: 0 },
        prompt: { format: "plain" },
      });
      const { rows, metrics } = await new Gcd({ config, model, worker: worker as never }).rows(
        played,
        labels,
        0,
      );
      return [rows.length, metrics["gcd/questions"], metrics["gcd/token_share"] > 0];
    };
    const [count, questions] = await rowsWith(0.5);
    expect(count).toBeGreaterThan(4);
    expect(await rowsWith(0)).toEqual([0, questions, false]);
    for (const one of [model, model.parameters]) one.release();
  });

  const late = (values: readonly number[]) => values.slice(-10).reduce((sum, value) => sum + value, 0) / 10;

  test("accuracy on tasks that are never trained on rises above 0.8; with shuffled labels it stays at chance", async () => {
    const right = await heldOutAccuracy({});
    expect(right[0]).toBeLessThan(0.7);
    expect(late(right)).toBeGreaterThan(0.8);
    const shuffled = await heldOutAccuracy({ shuffle_labels: true });
    expect(Math.abs(late(shuffled) - 0.5)).toBeLessThan(0.2);
  });
});
