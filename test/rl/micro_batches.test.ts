/** Rows of one text in one packed sequence: the same numbers as row by row, and what is common computed once. */
import { expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Random } from "../../src/core/random.js";
import { loadPolicy } from "../../src/host/model/policy_folder.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { AdamW } from "../../src/optim/adamw.js";
import { policyObjective } from "../../src/rl/objective/policy.js";
import type { Row } from "../../src/rl/rows.js";
import { Learner } from "../../src/rl/update/learner.js";
import { microBatches } from "../../src/rl/update/micro_batches.js";
import { GOLDEN_MODELS, readGolden } from "../support/golden.js";
import { lossOptions, unplaced } from "../support/rows.js";
import { testRuntime } from "../support/runtime.js";

const V = 24;
const random = Random.of(2, "rows");
const tokens = (count: number) => Array.from({ length: count }, () => random.integer(V));

/** Steps of an episode in one text: each prompt is the one before, its answer and something new. */
function chain(episode: number, steps: number, opening = tokens(7)): Row[] {
  const rows: Row[] = [];
  let prompt = opening;
  for (let step = 0; step < steps; step++) {
    const answer = tokens(1 + random.integer(4));
    rows.push({
      ...unplaced,
      episode,
      step,
      prompt,
      answer,
      advantage: random.normal(),
      logProbs: answer.map(() => -3),
    });
    prompt = [...prompt, ...answer, ...tokens(random.integer(5))];
  }
  return rows;
}

test("a row goes on from another only where the whole prompt and the whole answer are its beginning", () => {
  const before = { prompt: [1, 2], answer: [3, 4] };
  const sequences = (...prompts: number[][]) =>
    prompts.map(
      (prompt) => microBatches([before, { prompt, answer: [7] }], 100)[0].packed.offsets.length - 1,
    );
  expect(sequences([1, 2, 3, 4], [1, 2, 3, 4, 5])).toEqual([1, 1]);
  expect(sequences([9, 2, 3, 4], [1, 9, 3, 4], [1, 2, 9, 4], [1, 2, 3, 9], [1, 2, 3], [1, 2])).toEqual([
    2, 2, 2, 2, 2, 2,
  ]);
});

test("rows that go on from each other share a sequence, with their answers scored in their places", () => {
  const rows = [
    { prompt: [1, 2], answer: [3, 4] },
    { prompt: [1, 2, 3, 4, 5], answer: [6] },
    // another answer
    { prompt: [1, 2, 3, 4, 5, 9], answer: [5] },
    // goes on without a word between, and two answers on
    { prompt: [1, 2, 3, 4, 5, 9, 5], answer: [7] },
    { prompt: [1, 2, 3, 4, 5, 9, 5, 7, 0, 0, 8], answer: [2, 2] },
    // begins like its neighbour, but a part of the neighbour's answer is missing
    { prompt: [1, 2, 3, 4, 5, 9, 5, 7, 0, 0, 8, 2], answer: [1] },
  ];
  const [all, ...none] = microBatches(rows, 100);
  expect(none).toEqual([]);
  expect([...all.packed.offsets]).toEqual([0, 5, 17, 29]);
  expect([...all.packed.tokens.subarray(0, 5)]).toEqual([1, 2, 3, 4, 5]);
  expect([...all.packed.tokens.subarray(5, 17)]).toEqual([1, 2, 3, 4, 5, 9, 5, 7, 0, 0, 8, 2]);
  expect([...all.index]).toEqual([1, 2, 4, 5 + 5, 5 + 6, 5 + 10, 5 + 11, 17 + 11]);
  expect([...all.target]).toEqual([3, 4, 6, 5, 7, 2, 2, 1]);
  // every answer token is predicted from the token before it, and read where a later one needs it
  for (const [r, place] of all.index.entries()) {
    const next = all.packed.tokens[place + 1];
    if (place + 1 < all.packed.sequenceEnd[place]) expect(next).toBe(all.target[r]);
  }
});

test("the budget counts what is added; a chain that does not fit goes on as a whole row", () => {
  const rows = [
    { prompt: [1, 2], answer: [3] },
    { prompt: [1, 2, 3, 4], answer: [5] },
    { prompt: [1, 2, 3, 4, 5, 6], answer: [7] },
    { prompt: [9], answer: [9] },
  ];
  const places = (budget: number) =>
    microBatches(rows, budget).map(({ first, end, packed }) => [first, end, packed.tokens.length]);
  expect(places(7)).toEqual([[0, 4, 7]]);
  expect(places(6)).toEqual([
    [0, 3, 6],
    [3, 4, 1],
  ]);
  expect(places(5)).toEqual([
    [0, 2, 4],
    [2, 3, 6],
    [3, 4, 1],
  ]);
  expect(places(1)).toEqual([
    [0, 1, 2],
    [1, 2, 4],
    [2, 3, 6],
    [3, 4, 1],
  ]);
});

const launcher = new Launcher(await testRuntime());
const config = presetConfig("nano", V);

/** Scores, loss statistics and the gradient of every parameter, with that many tokens a micro-batch. */
async function updateOf(rows: readonly Row[], budget: number) {
  const model = new Qwen2Model(launcher, config, new FlatParameters(launcher.runtime, storedShapes(config)));
  model.initialise(Random.of(3, "weights"));
  const optimizer = new AdamW({ parameters: model.parameters, launcher, lr: 0 });
  const learner = new Learner(model, optimizer, budget);
  const scores = await learner.score(rows, 0.8);
  const objective = policyObjective(rows, {}, lossOptions({ entropyCoef: 0.01 }, undefined, 0.8));
  const { packedTokens, logProbs } = await learner.update(objective, 0, { keepLogProbs: true });
  const gradient: number[] = [];
  for (const { name } of parameterShapes(config))
    gradient.push(...(await model.parameters.readGradient(name)));
  optimizer.release();
  model.release();
  model.parameters.release();
  return { scores, logProbs, gradient, packedTokens };
}

test("log-probabilities and gradients are those of rows by themselves, with steps missing and rows joined", async () => {
  const one = chain(0, 5);
  // an episode that is the same for two steps and then another
  const other = [
    ...one.slice(0, 2).map((row) => ({ ...row, episode: 1 })),
    ...chain(1, 4, [...one[2].prompt]).map((row, i) => ({ ...row, step: 2 + i })),
  ];
  const rows = [...one.filter(({ step }) => step !== 1 && step !== 3), ...other, ...chain(2, 3)];
  const chained = await updateOf(rows, 4096);
  const alone = await updateOf(rows, 1);
  expect(chained.packedTokens).toBeLessThan(0.6 * alone.packedTokens);
  const flat = (values: readonly Float32Array[]) => values.flatMap((part) => [...part]);
  for (const name of ["scores", "logProbs"] as const) {
    const [a, b] = [flat(chained[name]), flat(alone[name])];
    expect(a.length).toBe(b.length);
    a.forEach((value, i) => {
      expect(Math.abs(value - b[i])).toBeLessThan(2e-5);
    });
  }
  const largest = Math.max(...alone.gradient.map(Math.abs));
  expect(largest).toBeGreaterThan(1e-3);
  chained.gradient.forEach((value, i) => {
    expect(Math.abs(value - alone.gradient[i])).toBeLessThan(1e-5 * largest + 1e-7);
  });
});

test.each(GOLDEN_MODELS)(
  "%s: several answers in one text have the log-probabilities of an implementation not ours",
  async (name) => {
    const golden = readGolden(name);
    const { model } = await loadPolicy(launcher, golden.folder, { requiresGrad: true });
    const optimizer = new AdamW({ parameters: model.parameters, launcher, lr: 0 });
    const spans = golden.sequences.flatMap((sequence, text) => {
      // answers of one, two, three tokens with a token between them
      const places: { text: number; start: number; end: number }[] = [];
      for (
        let start = 1, length = 1;
        start + length <= sequence.length;
        start += length + 1, length = 1 + (length % 3)
      )
        places.push({ text, start, end: start + length });
      return places;
    });
    const rows = spans.map(({ text, start, end }) => ({
      prompt: golden.sequences[text].slice(0, start),
      answer: golden.sequences[text].slice(start, end),
    }));
    const texts = microBatches(rows, 4096).reduce((sum, { packed }) => sum + packed.offsets.length - 1, 0);
    expect(texts).toBeLessThan(rows.length / 2);
    const scores = await new Learner(model, optimizer, 4096).score(rows, 1);
    spans.forEach(({ text, start, end }, row) => {
      for (let t = start; t < end; t++)
        expect(Math.abs(scores[row][t - start] - golden.scores[text].logProbs[t - 1])).toBeLessThan(1e-4);
    });
    optimizer.release();
    model.release();
    model.parameters.release();
  },
);
