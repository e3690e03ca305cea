/** A policy of plain ops is the same policy: scores, gradients of all parameters, each sample's own, and what it samples. */
import { describe, expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Tape } from "../../src/autograd/tape.js";
import { Random } from "../../src/core/random.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig, type Qwen2Config } from "../../src/model/config.js";
import { type Generation, Generator } from "../../src/model/generate.js";
import { packSequences } from "../../src/model/packing.js";
import { elementCount, parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model, SCORED_ROWS, TOKEN_ROWS } from "../../src/model/qwen2.js";
import { referenceModel } from "../../src/rl/loop/policy_state.js";
import { scoreSequences } from "../../src/rl/update/score.js";
import { GradientRecorder, offsetsOf, type SampleRows } from "../support/gradient_recorder.js";
import { testRuntime } from "../support/runtime.js";
import { fewHouseholds, recordTraining, shortTraining } from "../support/training.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);
const SEQUENCES = [
  [3, 1, 4, 1, 5, 9],
  [2, 6, 5],
  [8, 9, 7, 9, 3],
];
const ROWS: SampleRows = {
  [TOKEN_ROWS]: offsetsOf(SEQUENCES.map(({ length }) => length)),
  [SCORED_ROWS]: offsetsOf(SEQUENCES.map(({ length }) => length - 1)),
};
const packed = packSequences(SEQUENCES);
const places = Uint32Array.from(
  SEQUENCES.flatMap((tokens, s) => tokens.slice(1).map((_, t) => packed.offsets[s] + t)),
);
const targets = Uint32Array.from(SEQUENCES.flatMap((tokens) => tokens.slice(1)));

/** The same weights whatever the path. */
function build(change: Partial<Qwen2Config>, fused: boolean): Qwen2Model {
  const config = { ...presetConfig("nano", 80), hidden_size: 32, intermediate_size: 36, ...change };
  const parameters = new FlatParameters(runtime, storedShapes(config));
  const random = new Random(4);
  for (const { name, shape } of parameterShapes(config)) {
    const centre = name.includes("norm") ? 1 : 0;
    const values = Float32Array.from({ length: elementCount(shape) }, () => centre + 0.2 * random.normal());
    parameters.load(name, values);
  }
  return new Qwen2Model(launcher, config, parameters, { fused });
}

/** Log-probabilities, entropies, and the gradients of a weighted sum of both. */
async function pass(model: Qwen2Model, options: { recompute?: boolean; observer?: GradientRecorder } = {}) {
  model.parameters.clearGradients();
  const before = runtime.counters.dispatches;
  const tape = new Tape(launcher, options);
  const hidden = model.hidden(tape, model.batch(tape, packed));
  const { log_prob, entropy } = model.score(tape, hidden, places, targets, 0.8);
  const values = [...(await log_prob.read()), ...(await entropy.read())];
  const seed = (value: number) => tape.input(new Float32Array(targets.length).fill(value));
  tape.backward([
    [log_prob, seed(1)],
    [entropy, seed(0.3)],
  ]);
  tape.release();
  const names = [...model.parameters.slots.keys()];
  const gradients = new Map<string, Float32Array>();
  for (const name of names) gradients.set(name, await model.parameters.readGradient(name));
  return { values, gradients, dispatches: runtime.counters.dispatches - before };
}

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, label: string): void {
  expect(actual.length).toBe(expected.length);
  const largest = Array.from(expected).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const worst = Array.from(actual).reduce(
    (most, value, i) => Math.max(most, Math.abs(value - expected[i])),
    0,
  );
  expect(worst / largest, label).toBeLessThan(2e-5);
}

describe.each([
  ["tied", {}],
  ["untied", { tie_word_embeddings: false }],
] as const)("%s", (_, change) => {
  test("values, gradients, and gradients of each sample at the door equal those of fused ops", async () => {
    const [fused, unfused] = [build(change, true), build(change, false)];
    const [ours, plain] = [new GradientRecorder(runtime, false), new GradientRecorder(runtime, false)];
    const expected = await pass(fused, { observer: ours });
    const actual = await pass(unfused, { observer: plain });
    expectClose(actual.values, expected.values, "values");
    expect([...actual.gradients.keys()]).toEqual([...expected.gradients.keys()]);
    for (const [name, gradient] of expected.gradients)
      expectClose(actual.gradients.get(name) ?? [], gradient, name);
    const sizes = (name: string) => fused.parameters.get(name).size;
    const [samples, plainSamples] = [await ours.perSample(ROWS, sizes), await plain.perSample(ROWS, sizes)];
    expect([...plainSamples.keys()].sort()).toEqual([...expected.gradients.keys()].sort());
    for (const [name, gradients] of samples)
      gradients.forEach((gradient, s) => {
        expectClose(plainSamples.get(name)?.[s] ?? [], gradient, `${name} of sample ${s}`);
      });
    expect(plain.finals.sort()).toEqual(ours.finals.sort());
    expect(actual.dispatches).toBeGreaterThan(1.5 * expected.dispatches);
  });
});

test("layers that are computed again in backward give the same bits", async () => {
  const model = build({}, false);
  const plain = await pass(model);
  expect((await pass(model, { recompute: true })).gradients).toEqual(plain.gradients);
});

test("scores and samples are those of fused ops, a reference copy keeps the path, and nothing leaks", async () => {
  const [fused, unfused] = [build({}, true), build({}, false)];
  const [expected, actual] = [
    await scoreSequences(fused, SEQUENCES, 50),
    await scoreSequences(unfused, SEQUENCES, 50),
  ];
  const options = { temperature: 1, maxNewTokens: 8, endTokens: [], seed: 1 };
  const requests = SEQUENCES.map((prompt, stream) => ({ prompt, stream }));
  const sampled: Generation[][] = [];
  for (const model of [fused, unfused]) {
    const generator = new Generator(model);
    sampled.push(await generator.generate(requests, options));
    generator.release();
  }
  expected.forEach(({ logProbs, entropy }, s) => {
    expectClose(actual[s].logProbs, logProbs, `log-probabilities ${s}`);
    expectClose(actual[s].entropy, entropy, `entropies ${s}`);
    expect(sampled[1][s].tokens).toEqual(sampled[0][s].tokens);
    expectClose(sampled[1][s].logProbs, sampled[0][s].logProbs, `samples ${s}`);
  });
  const live = runtime.buffers.liveBytes;
  const copy = await referenceModel(unfused, undefined);
  expect(copy.fused).toBe(false);
  expectClose((await scoreSequences(copy, SEQUENCES, 50))[0].logProbs, expected[0].logProbs, "reference");
  copy.parameters.release();
  copy.release();
  expect(runtime.buffers.liveBytes).toBe(live);
});

test("a training by plain ops is the training by fused ones, up to rounding", async () => {
  const trained = (isFused: boolean) =>
    recordTraining(launcher, fewHouseholds(), { ...shortTraining(2, 2), model: { fused: isFused } });
  const { metrics: fused } = await trained(true);
  const { metrics: unfused } = await trained(false);
  expect(unfused.map(({ step }) => step)).toEqual(fused.map(({ step }) => step));
  fused.forEach((row, update) => {
    for (const key of ["loss", "grad_norm"]) {
      const [expected, actual] = [row[key] as number, unfused[update][key] as number];
      expect(Number.isFinite(expected)).toBe(true);
      expect(Math.abs(actual - expected), `${key} of update ${update}`).toBeLessThan(
        1e-3 * (1 + Math.abs(expected)),
      );
    }
  });
});
