/** Expert play for the imitation stage. */
import { expect, test, vi } from "vitest";
import { trainConfigSchema } from "../../src/config/schema.js";
import { groupBy } from "../../src/core/group_by.js";
import { Random } from "../../src/core/random.js";
import { householdWorld } from "../../src/env/household/world.js";
import { Launcher } from "../../src/kernels/index.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { AdamW } from "../../src/optim/adamw.js";
import { KnownMistakes } from "../../src/rl/correction/cold_start.js";
import type { Judge } from "../../src/rl/gcd/judge.js";
import { type ExpertOptions, expertRows } from "../../src/rl/loop/imitation.js";
import { imitationStage } from "../../src/rl/loop/imitation_stage.js";
import { imitationLoss, imitationObjective } from "../../src/rl/objective/imitation.js";
import type { Objective } from "../../src/rl/objective/objective.js";
import { PromptBuilder } from "../../src/rl/play/prompt.js";
import type { Row } from "../../src/rl/rows.js";
import { Learner } from "../../src/rl/update/learner.js";
import { testRuntime } from "../support/runtime.js";
import { tinyModel } from "../support/tiny_model.js";
import { fewHouseholds, recordTraining } from "../support/training.js";

/** Actions played on a few tasks, and those of them that are to be imitated. */
async function playExperts(options: Partial<ExpertOptions>) {
  const world = householdWorld({ seed: 2, difficulty: "easy", sizes: { train: 12 } });
  const words = [...((await world.sampleTexts?.()) ?? []), "avoid : after"];
  const tokenizer = new Tokenizer(buildWordTokenizer(words));
  const prompts = new PromptBuilder(tokenizer, { format: "message", history: 0, admissible: false });
  const environment = world.create();
  const step = vi.spyOn(environment, "step");
  vi.spyOn(world, "create").mockReturnValue(environment);
  const chosen = { seed: 0, detours: 0, maxSteps: 30, ...options };
  const deps = { world, prompts, endToken: tokenizer.eosTokenId as number };
  const rows = await expertRows(deps, world.tasks("train"), chosen);
  const texts = rows.map(({ prompt }) => tokenizer.decode([...prompt]));
  return {
    played: step.mock.calls.map(([action]) => action),
    imitated: rows.map(({ action }) => action),
    rows: rows.map((row, at) => ({ ...row, text: texts[at] })),
  };
}

/** What was played and is not to be imitated. */
function detoursOf({ played, imitated }: Awaited<ReturnType<typeof playExperts>>): string[] {
  const rest = [...imitated];
  return played.filter((action) => {
    const isImitated = action === rest[0];
    if (isImitated) rest.shift();
    return !isImitated;
  });
}

test("without detours every action is imitated", async () => {
  const { played, imitated } = await playExperts({});
  expect(played.length).toBeGreaterThan(4);
  expect(imitated).toEqual(played);
});

test("detours are not imitated, and only actions of the pattern are taken", async () => {
  const anything = detoursOf(await playExperts({ detours: 0.5 }));
  expect(anything.filter((action) => !action.startsWith("go to ")).length).toBeGreaterThan(0);
  const journeys = detoursOf(await playExperts({ detours: 0.5, detourPattern: /^go to / }));
  expect(journeys.length).toBeGreaterThan(4);
  expect(journeys.filter((action) => !action.startsWith("go to "))).toEqual([]);
});

test("a searching expert looks around, and wins all the same", async () => {
  const { rows, played, imitated } = await playExperts({ isSearching: true, maxSteps: 60 });
  expect(imitated).toEqual(played);
  const all = await playExperts({});
  // it takes more steps than one that sees everything, and wins all the same
  expect(rows.length).toBeGreaterThan(all.rows.length);
  const episodes = [...groupBy(rows, ({ episode }) => episode).values()];
  for (const steps of episodes) expect(steps.at(-1)?.action).toMatch(/^(move|use|go to) /);
});

test("a searching expert goes on after detours", async () => {
  const { rows } = await playExperts({
    isSearching: true,
    detours: 0.3,
    misplacedDetours: 0.5,
    maxSteps: 60,
  });
  const episodes = [...groupBy(rows, ({ episode }) => episode).values()];
  expect(episodes.length).toBe(12);
  const ends = episodes.map((steps) => steps.at(-1)?.action ?? "");
  expect(ends.filter((action) => /^(move|use) /.test(action)).length).toBeGreaterThan(9);
});

test("misplaced detours are the expert's own actions at a wrong time, mostly refused", async () => {
  const all = await playExperts({ detours: 0.5, misplacedDetours: 1 });
  const detours = detoursOf(all);
  expect(detours.length).toBeGreaterThan(8);
  const usual = await playExperts({ detours: 0.5 });
  const refusals = ({ rows }: typeof all) => rows.filter(({ text }) => /nothing happens/i.test(text)).length;
  expect(refusals(all)).toBeGreaterThan(detours.length / 4);
  expect(refusals(usual)).toBe(0);
  const half = await playExperts({ detours: 0.5, misplacedDetours: 0.5 });
  expect(refusals(half)).toBeGreaterThan(0);
  expect(refusals(half)).toBeLessThan(refusals(all));
});

test("a pattern that no action matches is refused, in time that does not grow out of bounds", async () => {
  await expect(playExperts({ detours: 1, detourPattern: /^fly / })).rejects.toThrow(
    /\[imitation\.detour_pattern\] no action matches: got .*fly.*such as "\w/,
  );
  const { played, imitated } = await playExperts({ detours: 0, detourPattern: /^fly / });
  expect(imitated).toEqual(played);
});

test("some episodes show instructions against the mistakes of others, never against what they show", async () => {
  const limits = { perTaskType: 3, maxTokens: 200, tokensOf: (text: string) => text.length / 4 };
  const mistakes = new KnownMistakes("message", limits);
  const bare = await playExperts({ detours: 0.5 });
  const all = await playExperts({ detours: 0.5, instructions: { share: 1, mistakes } });
  // the walks are the same
  expect(all.played).toEqual(bare.played);
  expect(all.imitated).toEqual(bare.imitated);
  const episodes = [...groupBy(all.rows, ({ episode }) => episode).values()];
  const shown = episodes.filter(([{ text }]) => text.includes("avoid :"));
  expect(shown.length).toBeGreaterThan(4);
  expect(shown.length).toBeLessThan(episodes.length);
  for (const steps of shown) {
    // the same block in every step
    const blocks = steps.map(({ text }) => text.slice(text.indexOf("avoid :"), text.lastIndexOf("after :")));
    expect(new Set(blocks).size).toBe(1);
    expect(blocks[0].split("avoid :").length - 1).toBeLessThanOrEqual(3);
  }
  const none = await playExperts({ detours: 0.5, instructions: { share: 0, mistakes } });
  expect(none.rows).toEqual(bare.rows);
});

test("instructions against what the expert does are left out", () => {
  const limits = { perTaskType: 5, maxTokens: 100, tokensOf: () => 1 };
  const mistakes = new KnownMistakes("message", limits);
  expect(mistakes.block("clean", [], Random.of(0))).toBeUndefined();
  const mistake = { taskType: "clean", situation: "You see a mug 2.", action: "take mug 2" };
  mistakes.add(mistake);
  mistakes.add({ ...mistake, action: "open drawer 1" });
  const all = () => Array.from({ length: 20 }, (_, seed) => mistakes.block("clean", [], Random.of(seed)));
  expect(new Set(all().map((block) => block?.split("\n").length))).toEqual(new Set([1, 2]));
  const done = [{ taskType: "clean", situation: "You see a mug 7.", action: "take mug 7" }];
  for (let seed = 0; seed < 20; seed++) {
    expect(mistakes.block("clean", done, Random.of(seed))).toBe("avoid : open drawer after : You see a mug");
    expect(mistakes.block("heat", [], Random.of(seed))).toBeUndefined();
  }
});

/** A judge whose questions are the prompt 7, whose verdicts are 1 and 2. */
const judge = { ask: () => ({ tokens: [7] }), verdictTokens: { good: 1, bad: 2 } } as unknown as Judge;

test("questions are about actions of other steps, of other episodes, and about any admissible one", async () => {
  const { rows } = await playExperts({ detours: 0.3, questions: { share: 0.5, judge } });
  const steps = rows.filter(({ answer }) => answer.length > 1);
  const questions = rows.filter(({ answer }) => answer.length === 1);
  const bad = questions.filter(({ answer: [verdict] }) => verdict === 2);
  const sources = bad.map(({ episode, action }) => {
    if (steps.some((step) => step.episode === episode && step.action === action)) return "this episode";
    return steps.some((step) => step.action === action) ? "other episodes" : "admissible";
  });
  const least = bad.length / 8;
  for (const source of ["this episode", "other episodes", "admissible"])
    expect(sources.filter((one) => one === source).length, source).toBeGreaterThan(least);
  // none of them is what the expert does at that moment
  for (const { episode, step, action } of bad)
    expect(steps.some((own) => own.episode === episode && own.step === step && own.action === action)).toBe(
      false,
    );
});

test("a verdict weighs as much as the answer beside it", async () => {
  const { rows } = await playExperts({ questions: { share: 0.5, judge } });
  const questions = rows.filter(({ prompt }) => prompt.length === 1);
  expect(questions.length).toBeGreaterThan(4);
  // as many good ones as bad ones
  expect(questions.filter(({ answer }) => answer[0] === 1).length).toBe(questions.length / 2);
  for (const { episode, step, weight } of questions) {
    const said = rows.find((row) => row.episode === episode && row.step === step && row.prompt.length > 1);
    expect(weight).toEqual([said?.answer.length]);
  }
  expect(rows.filter(({ prompt }) => prompt.length > 1).every(({ weight }) => weight === undefined)).toBe(
    true,
  );
});

test("settings of the demonstrations reach the first update", async () => {
  const launcher = new Launcher(await testRuntime());
  const losses: number[] = [];
  for (const changes of [
    { detours: 0.5, expert: "searching" },
    { detours: 0.5 },
    { detours: 0.5, misplaced_detours: 1 },
  ] as const) {
    const { metrics } = await recordTraining(launcher, fewHouseholds(), {
      imitation: { episodes: 6, max_steps: 1, batch_size: 64, ...changes },
      grpo: { max_steps: 0 },
      eval: { episodes: 1, modes: ["greedy"], splits: ["in_domain"], at_start: false },
      checkpoint: { save_steps: 0 },
    });
    losses.push(metrics[0].loss as number);
  }
  expect(new Set(losses).size).toBe(3);
});

test("a weight of 2 is the same as being there twice", async () => {
  const launcher = new Launcher(await testRuntime());
  const row = (prompt: number[], answer: number[], weight?: number[]) => ({ prompt, answer, weight });
  const results = [];
  for (const rows of [
    [row([1, 2], [3, 4], [2, 2]), row([5], [6])],
    [row([1, 2], [3, 4]), row([1, 2], [3, 4]), row([5], [6])],
  ]) {
    const model = tinyModel(launcher);
    const optimizer = new AdamW({ parameters: model.parameters, launcher, lr: 0 });
    const { stats, gradNorm } = await new Learner(model, optimizer, 4096).update(imitationObjective(rows), 0);
    results.push([imitationLoss(stats), gradNorm]);
    for (const one of [optimizer, model, model.parameters]) one.release();
  }
  expect(results[0][0]).toBeCloseTo(results[1][0], 5);
  expect(results[0][1]).toBeCloseTo(results[1][1], 5);
});

test("rows that go on from each other are one text: each token is predicted once, with its own weight", async () => {
  const launcher = new Launcher(await testRuntime());
  const steps = [
    { prompt: [1, 2], answer: [3, 4] },
    { prompt: [1, 2, 3, 4, 5], answer: [6], weight: [2] },
  ];
  const other = { prompt: [1, 2, 6], answer: [5] };
  const text = { prompt: [1], answer: [2, 3, 4, 5, 6], weight: [0.3, 1, 1, 0.3, 2] };
  const otherText = { prompt: [1], answer: [2, 6, 5], weight: [0.3, 0.3, 1] };
  const results = [];
  for (const [rows, promptLossWeight] of [
    [[...steps, other], 0.3],
    [[text, otherText], 0],
  ] as const) {
    const model = tinyModel(launcher);
    const optimizer = new AdamW({ parameters: model.parameters, launcher, lr: 0 });
    const objective = imitationObjective(rows, promptLossWeight);
    const { stats, gradNorm, packedTokens } = await new Learner(model, optimizer, 4096).update(objective, 0);
    // sums: the first divides by the weights of answers, 2 + 2 + 1, the second by all weights
    const weights = promptLossWeight > 0 ? 5 : 5 + 4 * 0.3;
    results.push([imitationLoss(stats) * weights, gradNorm * weights, packedTokens]);
    for (const one of [optimizer, model, model.parameters]) one.release();
  }
  expect(results[0][0]).toBeCloseTo(results[1][0], 4);
  expect(results[0][1]).toBeCloseTo(results[1][1], 4);
  expect(results[0][2]).toBe(results[1][2]);
});

test("a batch of episodes holds all their rows, steps one after the other, then questions", async () => {
  const played = await playExperts({ questions: { share: 0.5, judge } });
  const rows: Row[] = played.rows.map(({ text, ...row }) => row);
  const isQuestion = (row: Row) => row.tag === undefined;
  expect(rows.some(isQuestion)).toBe(true);
  const drawn = async (batch_of: "rows" | "episodes", index: number): Promise<readonly Row[]> => {
    const config = trainConfigSchema.parse({ seed: 5, imitation: { batch_of, batch_size: 2 } });
    let seen: readonly Row[] = [];
    const learner = {
      update: async ({ rows: taken }: Objective) => {
        seen = taken as readonly Row[];
        return { stats: [[0, 0]], gradNorm: 0 };
      },
    };
    const context = {
      learner: learner as unknown as Learner,
      index,
      reference: undefined,
      step: 1,
      learningRate: 0,
    };
    await imitationStage(config, rows).update(context);
    return seen;
  };
  expect(await drawn("rows", 0)).toHaveLength(2);
  const episodes = new Set<number>();
  for (let index = 0; index < 3; index++) {
    const batch = await drawn("episodes", index);
    const own = [...new Set(batch.map(({ episode }) => episode))];
    expect(own).toHaveLength(2);
    for (const episode of own) {
      episodes.add(episode);
      const of = batch.filter((row) => row.episode === episode);
      const all = rows.filter((row) => row.episode === episode);
      expect(of).toEqual([...all.filter((row) => !isQuestion(row)), ...all.filter(isQuestion)]);
    }
  }
  expect(episodes.size).toBeGreaterThan(3);
});
