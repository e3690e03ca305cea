/** Episodes as one text: token by token what was read and said, with a kept cache, exact in sampler and trainer. */
import { afterAll, expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Random } from "../../src/core/random.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { Generator } from "../../src/model/generate.js";
import { storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { PromptBuilder } from "../../src/rl/play/prompt.js";
import { type RolloutOptions, RolloutWorker } from "../../src/rl/play/rollout.js";
import type { ActionSampler } from "../../src/rl/play/sampler.js";
import { scoreSequences } from "../../src/rl/update/score.js";
import { CorridorWorld } from "../support/corridor_world.js";
import { testRuntime } from "../support/runtime.js";
import { fewHouseholds, recordTraining, shortTraining } from "../support/training.js";

const launcher = new Launcher(await testRuntime());
const world = fewHouseholds();
const tokenizer = new Tokenizer(buildWordTokenizer((await world.sampleTexts?.()) ?? [], { numbersUpTo: 9 }));
const endToken = tokenizer.eosTokenId as number;
const config = presetConfig("nano", tokenizer.vocabularySize);
const model = new Qwen2Model(
  launcher,
  config,
  new FlatParameters(launcher.runtime, storedShapes(config), { requiresGrad: false }),
);
model.initialise(Random.of(1, "weights"));
afterAll(() => {
  model.release();
  model.parameters.release();
});

const requests = world
  .tasks("train")
  .slice(0, 3)
  .flatMap(({ id, type }, group) =>
    [0, 1, 2].map((member) => ({ taskId: id, taskType: type, group, episode: 3 * group + member })),
  );

async function play(
  sampler: (generator: Generator) => ActionSampler,
  given: Partial<RolloutOptions> = {},
  maxTokens?: number,
) {
  const generator = new Generator(model);
  const prompts = new PromptBuilder(tokenizer, {
    format: "plain",
    history: 0,
    admissible: true,
    context: "episode",
    max_tokens: maxTokens,
  });
  const worker = new RolloutWorker(world, prompts, sampler(generator), endToken);
  const episodes = await worker.play(requests, {
    maxSteps: 5,
    sampling: { temperature: 0.9, maxNewTokens: 6 },
    seed: 2,
    label: "test",
    ...given,
  });
  await worker.close();
  // every conversation is closed: the lowest place is free again
  expect(generator.open()).toMatchObject({ slot: 0 });
  generator.release();
  return episodes;
}

const kept = await play((generator) => generator);

test("a prompt is the one before, its answer and what the world said; nothing else is read", () => {
  expect(kept.length).toBe(9);
  for (const { rows } of kept) {
    for (const [step, { prompt }] of rows.entries()) {
      const before = rows[step - 1];
      if (!before) continue;
      const length = before.prompt.length + before.answer.length;
      expect(prompt.slice(0, length)).toEqual([...before.prompt, ...before.answer]);
      const said = tokenizer.decode(prompt.slice(length), { skipSpecialTokens: true });
      expect(said.startsWith(rows[step].observation.toLowerCase().split("\n")[0])).toBe(true);
    }
  }
});

test("with a kept cache the answers are those of whole prompts, and of the trainer", async () => {
  const anew = await play((generator) => ({ generate: (...given) => generator.generate(...given) }));
  let largest = 0;
  for (const [e, { rows }] of anew.entries()) {
    expect(kept[e].rows.map(({ answer }) => answer)).toEqual(rows.map(({ answer }) => answer));
    for (const [step, { logProbs }] of rows.entries())
      for (const [t, value] of logProbs.entries())
        largest = Math.max(largest, Math.abs(value - kept[e].rows[step].logProbs[t]));
  }
  expect(largest).toBeLessThan(1e-4);
});

test("temperature 1: sampled log-probabilities are those of the whole text scored at once", async () => {
  const episodes = await play((generator) => generator, { sampling: { temperature: 1, maxNewTokens: 6 } });
  const texts = episodes.map(({ rows }) => [...(rows.at(-1)?.prompt ?? []), ...(rows.at(-1)?.answer ?? [])]);
  const scores = await scoreSequences(model, texts);
  for (const [e, { rows }] of episodes.entries())
    for (const { prompt, logProbs } of rows)
      for (const [t, value] of logProbs.entries())
        expect(Math.abs(value - scores[e].logProbs[prompt.length - 1 + t])).toBeLessThan(1e-4);
});

test("an episode whose text grows beyond its limit is truncated", async () => {
  const longest = Math.max(...kept.flatMap(({ rows }) => rows.map(({ prompt }) => prompt.length)));
  const cut = await play((generator) => generator, {}, longest - 1);
  const lengths = cut.flatMap(({ rows }) => rows.map(({ prompt }) => prompt.length));
  expect(Math.max(...lengths)).toBeLessThan(longest);
  expect(cut.some(({ ended, rows }) => ended === "truncated" && rows.length < 5)).toBe(true);
  const context = await play((generator) => ({
    generate: (...given) => generator.generate(...given),
    open: () => generator.open(),
    maxTokens: longest + 5,
  }));
  expect(context.some(({ rows }, e) => rows.length < kept[e].rows.length)).toBe(true);
});

test("training on episodes as one text: both stages, several passes, exact log-probabilities", async () => {
  const short = shortTraining(2, 2);
  const { metrics, rollouts } = await recordTraining(launcher, world, {
    ...short,
    prompt: { context: "episode" },
    world: { max_steps: 6 },
    grpo: { ...short.grpo, mini_batch_size: 12 },
    log: { rollouts: true },
  });
  const grpo = metrics.filter(({ stage }) => stage === "grpo");
  for (const row of grpo) expect(row["sampling/logp_diff_max"]).toBeLessThan(1e-4);
  const texts = new Map<string, string>();
  for (const { step, episode, prompt, prompt_blocks } of rollouts) {
    expect(prompt.startsWith(texts.get(`${step} ${episode}`) ?? "")).toBe(true);
    texts.set(`${step} ${episode}`, prompt);
    expect(prompt_blocks[0].name).toBe("task");
  }
  expect(texts.size).toBe(12);
});

test("a configuration decides how a run plays", async () => {
  const run = async (world: CorridorWorld, given: object, prompt: object = {}) =>
    recordTraining(launcher, world, {
      world: { max_steps: 3, ...given },
      prompt,
      imitation: { episodes: 0 },
      grpo: {
        max_steps: 1,
        tasks_per_step: 2,
        num_generations: 3,
        max_completion_length: 2,
        success_reward: 4,
      },
      eval: { at_start: false, splits: [] },
      log: { rollouts: true },
    });
  const scored = new CorridorWorld({}, { score: true });
  const { rollouts } = await run(scored, { max_environments: 2, anchor: "state_key", outcome: "score" });
  expect(scored.most).toBe(2);
  expect(rollouts.length).toBeGreaterThan(5);
  for (const { anchor_key, state_key, return: total } of rollouts) {
    expect(anchor_key).toBe(state_key);
    expect([0, 0.4, 0.8, 1.2, 4]).toContain(Number(total.toFixed(9)));
  }
  const plain = new CorridorWorld();
  const free = await run(plain, {}, { valid_action: "well_formed" });
  expect(plain.most).toBe(6);
  expect(free.rollouts.every(({ valid }) => valid)).toBe(true);
  // of two tasks at least one never answers: its episodes are given up, the others are not
  const stuck = new CorridorWorld({ fault: (task) => (task === "two" ? undefined : "hangs") });
  const given = (await run(stuck, { step_time_limit: 0.05 })).metrics[0]["episodes/failed_rate"];
  expect(given).toBeGreaterThanOrEqual(0.5);
});
