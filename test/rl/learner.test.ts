/** Updates and scores of a model that only takes notes: what goes through it in which passes, and whose numbers come back. */
import { describe, expect, test } from "vitest";
import type { Tape } from "../../src/autograd/tape.js";
import type { Tensor } from "../../src/autograd/tensor.js";
import { hashText } from "../../src/core/hash.js";
import type { PackedTokens } from "../../src/model/packing.js";
import type { Qwen2Model } from "../../src/model/qwen2.js";
import type { AdamW } from "../../src/optim/adamw.js";
import type { Objective } from "../../src/rl/objective/objective.js";
import { Learner, type LearnerOptions } from "../../src/rl/update/learner.js";
import { checkSequences, scoreSequences } from "../../src/rl/update/score.js";
import { unplaced } from "../support/rows.js";

/** Numbers where a tensor would be; counts those that are not given back. */
class NotedTensor {
  static alive = 0;
  #isReleased = false;
  constructor(readonly values: readonly number[]) {
    NotedTensor.alive++;
  }
  get shape() {
    return [this.values.length];
  }
  get range() {
    return this.values;
  }
  view(shape: readonly number[], offset: number, isOwned: boolean): NotedTensor {
    expect([shape, offset, isOwned]).toEqual([this.shape, 0, false]);
    return new NotedTensor(this.values);
  }
  release(): void {
    if (!this.#isReleased) NotedTensor.alive--;
    this.#isReleased = true;
  }
  read = async () => Float32Array.from(this.values);
}
const noted = (tape: Tape, values: readonly number[]) =>
  tape.own(new NotedTensor(values) as unknown as Tensor);

/** A model that gives token t of its answers the log-probability -t and the entropy t. */
function noteModel(name = "policy") {
  const events: string[] = [];
  const passes: { readonly tokens: number[]; readonly index: number[]; readonly seed?: number }[] = [];
  const tapes: Tape[] = [];
  const runtime = {
    read: async (ranges: readonly (readonly number[])[]) =>
      ranges.map((values) => Float32Array.from(values).buffer),
  };
  const score = (tape: Tape, _hidden: Tensor, _index: unknown, target: Uint32Array, temperature = 1) => ({
    log_prob: noted(
      tape,
      Array.from(target, (token) => -token / temperature),
    ),
    entropy: noted(
      tape,
      Array.from(target, (token) => token),
    ),
  });
  const note = (tape: Tape, { tokens }: PackedTokens, index: Uint32Array, seed?: number) => {
    tapes.push(tape);
    passes.push({ tokens: [...tokens], index: [...index], seed });
  };
  const model = {
    ...{ name, activations: "f16", recompute: true, score },
    launcher: { runtime, joiningLate: (body: () => void) => body() },
    config: { vocab_size: 50, max_position_embeddings: 6 },
    trained: { clearGradients: () => void events.push("clear") },
    predicting: (tape: Tape, packed: PackedTokens, index: Uint32Array, seed?: number) => {
      note(tape, packed, index, seed);
      return { hidden: noted(tape, [0]), index };
    },
    batch: (_tape: Tape, packed: PackedTokens) => packed,
    hidden: (tape: Tape, packed: PackedTokens) => {
      note(tape, packed, new Uint32Array());
      return noted(tape, [0]);
    },
  };
  return { model: model as unknown as Qwen2Model, events, passes, tapes };
}

/** @param budget of a micro-batch, in tokens */
function open(budget: number, options?: LearnerOptions) {
  const policy = noteModel();
  const { events } = policy;
  const optimizer = {
    lossScale: "scale",
    step: (rate: number) => void events.push(`step ${rate}`),
    stats: async () => ({
      gradNorm: 3,
      skipped: true,
      skippedSteps: 2,
      lossScale: 8,
      steps: 9,
      clipScale: 1,
    }),
  };
  const learner = new Learner(policy.model, optimizer as unknown as AdamW, budget, options);
  return { learner, ...policy };
}

const row = (prompt: number[], answer: number[]) => ({ ...unplaced, prompt, answer });
const rows = [row([1, 2], [3]), row([4], [5, 6]), row([7, 8, 9], [10]), row([11], [12])];

function objectiveOf(of: readonly (typeof rows)[number][], events: string[]): Objective {
  return {
    rows: of,
    temperature: 2,
    loss: (tape, forward, first, end, lossScale) => {
      events.push(`loss ${first} ${end} ${lossScale}`);
      return {
        seeds: [],
        stats: noted(tape, [first, (forward.log_prob as unknown as NotedTensor).values[0]]),
      };
    },
  };
}

describe("an update", () => {
  test("goes through all micro-batches, then takes one step; numbers are those of their rows", async () => {
    const { learner, events, passes, tapes } = open(4);
    const result = await learner.update(objectiveOf(rows, events), 0.5, { keepLogProbs: true });
    expect(passes.map(({ tokens, index }) => [tokens, index])).toEqual([
      [
        [1, 2, 4, 5],
        [1, 2, 3],
      ],
      [
        [7, 8, 9, 11],
        [2, 3],
      ],
    ]);
    expect(events).toEqual(["clear", "loss 0 2 scale", "loss 2 4 scale", "step 0.5"]);
    expect(result).toEqual({
      ...{ gradNorm: 3, skipped: true, skippedSteps: 2, lossScale: 8, packedTokens: 8 },
      stats: [Float32Array.of(0, -1.5), Float32Array.of(2, -5)],
      logProbs: [[-1.5], [-2.5, -3], [-5], [-6]].map((values) => Float32Array.from(values)),
    });
    expect(tapes.map(({ record, activations }) => [record, activations])).toEqual(
      Array(2).fill([true, "f16"]),
    );
    expect(NotedTensor.alive).toBe(0);
    const bare = await learner.update(objectiveOf(rows, events), 0.5);
    expect(bare).toEqual({ ...result, logProbs: [] });
  });

  test("of no rows is none: nothing was skipped, and the gradient is 0", async () => {
    const { learner, events, passes } = open(4);
    const result = await learner.update(objectiveOf([], events), 0.5, { keepLogProbs: true });
    expect([passes, events]).toEqual([[], ["clear"]]);
    expect(result).toEqual({
      ...{ gradNorm: 0, skipped: false, skippedSteps: 2, lossScale: 8, packedTokens: 0 },
      ...{ stats: [], logProbs: [] },
    });
  });

  test("draws dropout by the seed, the step of the run, the update in it and the first row", async () => {
    const { learner, passes, events } = open(4, { dropoutSeed: 7 });
    const update = () => learner.update(objectiveOf(rows, events), 0);
    await update();
    learner.startStep(5);
    await update();
    await update();
    learner.startStep(6);
    await update();
    const places = ["7 0 1", "7 5 1", "7 5 2", "7 6 1"];
    const expected = places.flatMap((place) => [0, 2].map((first) => hashText(`dropout ${place} ${first}`)));
    expect(passes.map(({ seed }) => seed)).toEqual(expected);
    const plain = open(100);
    await plain.learner.update(objectiveOf(rows, []), 0);
    expect(plain.passes.map(({ seed }) => seed)).toEqual([hashText("dropout 0 0 1 0")]);
  });
});

test("scores are of each row, at the temperature, by the model that is trained or another one", async () => {
  const { learner, passes, tapes, events } = open(4);
  const values = [[-1.5], [-2.5, -3], [-5], [-6]].map((one) => Float32Array.from(one));
  expect(await learner.score(rows, 2)).toEqual(values);
  expect(passes.map(({ tokens }) => tokens)).toEqual([
    [1, 2, 4, 5],
    [7, 8, 9, 11],
  ]);
  const other = noteModel("other");
  expect(await learner.score(rows, 2, other.model)).toEqual(values);
  expect([passes, other.passes].map(({ length }) => length)).toEqual([2, 2]);
  for (const { record, activations } of [...tapes, ...other.tapes])
    expect([record, activations]).toEqual([false, "f16"]);
  // without dropout, and nothing is learned
  expect([passes[0].seed, events]).toEqual([undefined, []]);
  expect(NotedTensor.alive).toBe(0);
  expect(await learner.score([], 1)).toEqual([]);
});

describe("sequences", () => {
  const sequences = [[1, 2, 3], [4], [5, 6], [], [7, 8, 9]];
  const of = (...tokens: number[]) => ({ logProbs: tokens.map((token) => 0 - token), entropy: tokens });

  test("have scores of every token but the first, in batches of so many tokens", async () => {
    for (const [budget, lengths] of [
      [4096, [5]],
      [3, [3, 2]],
      [1, [2, 1, 2]],
    ] as const) {
      const { model, passes, tapes } = noteModel();
      const scores = await scoreSequences(model, sequences, budget);
      expect(scores).toEqual([of(2, 3), of(), of(6), of(), of(8, 9)]);
      expect(passes.map(({ tokens }) => tokens.length)).toEqual(lengths);
      for (const { record, activations } of tapes) expect([record, activations]).toEqual([false, "f16"]);
    }
    expect(NotedTensor.alive).toBe(0);
  });

  test("that the model cannot read are refused before any is computed", async () => {
    const { model, passes } = noteModel();
    const refused = async (...of: number[][]) => expect(scoreSequences(model, [[1, 2], ...of])).rejects;
    await (await refused([1, 50])).toThrow("[sequence 1] ");
    await (await refused([1, 2, 3, 4, 5, 6, 7])).toThrow(
      "[sequence 1] too long: got 7 tokens, expected at most 6 (max_position_embeddings). Shorten it.",
    );
    expect(passes).toEqual([]);
    // an empty one has no tokens that could be wrong, and as many as fit are read
    expect(() => checkSequences([[], [1, 2, 3, 4, 5, 6]], model.config)).not.toThrow();
  });
});
