/** The one door for gradients of parameters: what observers see there, sample by sample, adds up to the gradient. */
import { describe, expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Tape } from "../../src/autograd/tape.js";
import { Random } from "../../src/core/random.js";
import { gatherRows, Launcher, linearLogProb } from "../../src/kernels/index.js";
import { presetConfig, type Qwen2Config } from "../../src/model/config.js";
import { packSequences } from "../../src/model/packing.js";
import { elementCount, parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model, SCORED_ROWS, TOKEN_ROWS } from "../../src/model/qwen2.js";
import { GradientRecorder, offsetsOf, type SampleRows } from "../support/gradient_recorder.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);

/** Sequences whose tokens from the third on are scored; one of the ids comes twice. */
const SEQUENCES = [
  [3, 1, 4, 1, 5, 9],
  [2, 6, 5],
  [8, 9, 7, 9, 3],
];
const OFFSETS: SampleRows = {
  [TOKEN_ROWS]: offsetsOf(SEQUENCES.map(({ length }) => length)),
  [SCORED_ROWS]: offsetsOf(SEQUENCES.map(({ length }) => length - 2)),
};

function build(change: Partial<Qwen2Config>, isTrainable = true): Qwen2Model {
  const config = { ...presetConfig("nano", 80), hidden_size: 32, intermediate_size: 36, ...change };
  const parameters = new FlatParameters(runtime, storedShapes(config), { requiresGrad: isTrainable });
  const random = new Random(4);
  for (const { name, shape } of parameterShapes(config)) {
    const centre = name.includes("norm") ? 1 : 0;
    const values = Float32Array.from({ length: elementCount(shape) }, () => centre + 0.2 * random.normal());
    parameters.load(name, values);
  }
  return new Qwen2Model(launcher, config, parameters);
}

const sizesOf = (model: Qwen2Model) => (name: string) => model.parameters.get(name).size;

/** Forward and backward of the sum of the scored log-probabilities. @param tile columns of the vocabulary at a time */
function pass(model: Qwen2Model, tape: Tape, tile = 0): void {
  model.parameters.clearGradients();
  const packed = packSequences(SEQUENCES);
  const places = SEQUENCES.flatMap((tokens, s) => tokens.slice(2).map((_, t) => packed.offsets[s] + t + 1));
  const targets = Uint32Array.from(SEQUENCES.flatMap((tokens) => tokens.slice(2)));
  const x = model.hidden(tape, model.batch(tape, packed));
  const index = tape.nameRows(tape.input(Uint32Array.from(places)), SCORED_ROWS);
  const hidden = tape.apply(gatherRows, { x, index }).y;
  const { log_prob } = tape.apply(
    linearLogProb,
    { hidden, weight: model.headWeight, target: tape.input(targets) },
    { tile_columns: tile },
  );
  tape.backward([[log_prob, tape.input(new Float32Array(targets.length).fill(1))]]);
}

describe.each([
  ["tied", {}, 0],
  ["untied, two tiles of the vocabulary", { tie_word_embeddings: false }, 64],
] as const)("%s", (_, change, tile) => {
  test("per-sample gradients of every parameter, summed, are the gradient of the batch", async () => {
    const model = build(change);
    const recorder = new GradientRecorder(runtime, false);
    const tape = new Tape(launcher, { observer: recorder });
    pass(model, tape, tile);
    tape.release();
    const sums = await recorder.sums(OFFSETS, sizesOf(model));
    const names = [...model.parameters.slots.keys()];
    expect([...sums.keys()].sort()).toEqual([...names].sort());
    for (const name of names) {
      const expected = await model.parameters.readGradient(name);
      const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const sum = sums.get(name) as Float64Array;
      const worst = expected.reduce((most, value, i) => Math.max(most, Math.abs(value - sum[i])), 0);
      expect(worst / largest, name).toBeLessThan(2e-5);
    }
    expect(recorder.finals.sort()).toEqual([...names].sort());
  });

  test("an observer changes no bit, unless it takes the gradients on itself", async () => {
    const model = build(change);
    const gradients = async (answer: boolean | undefined) => {
      const tape = new Tape(
        launcher,
        answer === undefined ? {} : { observer: new GradientRecorder(runtime, answer) },
      );
      pass(model, tape, tile);
      tape.release();
      const names = [...model.parameters.slots.keys()];
      return Promise.all(names.map((name) => model.parameters.readGradient(name)));
    };
    const plain = await gradients(undefined);
    expect(await gradients(false)).toEqual(plain);
    for (const gradient of await gradients(true)) expect(gradient.every((value) => value === 0)).toBe(true);
  });
});

test("frozen parameters do not come to the door", async () => {
  const model = build({}, false);
  const recorder = new GradientRecorder(runtime, false);
  const tape = new Tape(launcher, { observer: recorder });
  const packed = packSequences(SEQUENCES);
  model.hidden(tape, model.batch(tape, packed));
  tape.backward([]);
  tape.release();
  expect(recorder.seen).toEqual([]);
});

test("a tape that recomputes its layers gives the same bits, to observers too, from less memory", async () => {
  const model = build({ num_hidden_layers: 4 });
  model.reserve(8);
  const names = [...model.parameters.slots.keys()];
  const run = async (recompute: boolean, observer?: GradientRecorder) => {
    const before = runtime.buffers.liveBytes;
    runtime.buffers.resetPeak();
    const tape = new Tape(launcher, { recompute, ...(observer && { observer }) });
    pass(model, tape);
    tape.release();
    const peak = runtime.buffers.peakBytes - before;
    if (!observer) expect(runtime.buffers.liveBytes).toBe(before);
    return { peak, gradients: await Promise.all(names.map((name) => model.parameters.readGradient(name))) };
  };
  const [plain, again] = [await run(false), await run(true)];
  expect(again.gradients).toEqual(plain.gradients);
  expect(again.peak).toBeLessThan(plain.peak);
  const recorder = new GradientRecorder(runtime, false);
  expect((await run(true, recorder)).gradients).toEqual(plain.gradients);
  expect(recorder.finals.sort()).toEqual([...names].sort());
  expect([...(await recorder.sums(OFFSETS, sizesOf(model))).keys()].sort()).toEqual([...names].sort());
});
