/** The one door for gradients of parameters: what observers see there, sample by sample, adds up to the gradient. */
import { describe, expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Tape } from "../../src/autograd/tape.js";
import { Tensor } from "../../src/autograd/tensor.js";
import { Random } from "../../src/core/random.js";
import type { ArrayView } from "../../src/kernels/engine/op.js";
import type { ObservedGradient } from "../../src/kernels/engine/weight_gradient.js";
import { gatherRows, Launcher, linearLogProb } from "../../src/kernels/index.js";
import { presetConfig, type Qwen2Config } from "../../src/model/config.js";
import { packSequences } from "../../src/model/packing.js";
import { elementCount, parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model, SCORED_ROWS, TOKEN_ROWS } from "../../src/model/qwen2.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);

/** Sequences whose tokens from the third on are scored; one of the ids comes twice. */
const SEQUENCES = [
  [3, 1, 4, 1, 5, 9],
  [2, 6, 5],
  [8, 9, 7, 9, 3],
];
const offsetsOf = (lengths: readonly number[]) => {
  const offsets = [0];
  for (const length of lengths) offsets.push(offsets[offsets.length - 1] + length);
  return offsets;
};
const OFFSETS: Readonly<Record<string, readonly number[]>> = {
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

/** Keeps copies of all factors: their memory is used again after the observer has returned. */
class Recorder {
  readonly seen: { readonly observed: ObservedGradient; readonly copies: Map<ArrayView, Tensor> }[] = [];
  readonly finals: string[] = [];

  constructor(readonly answer: boolean) {}

  factors(observed: ObservedGradient): boolean {
    const copies = new Map<ArrayView, Tensor>();
    const keep = (view: ArrayView) => {
      const copy = Tensor.empty(runtime, view.shape, view.dtype);
      runtime.copy({ ...view.range, bytes: copy.range.bytes }, copy.range);
      copies.set(view, copy);
    };
    const { factors } = observed;
    keep(factors.gradient);
    if (factors.kind !== "lookup") keep(factors.input);
    if (factors.kind === "gain") keep(factors.rows);
    if (factors.kind === "product" && factors.scale) {
      keep(factors.scale.rows);
      keep(factors.scale.columns);
    }
    if (factors.kind === "lookup")
      for (const one of [factors.order, factors.id, factors.segment_start]) keep(one);
    this.seen.push({ observed, copies });
    return this.answer;
  }

  final(parameter: string): void {
    this.finals.push(parameter);
  }

  /** Gradients by parameter, in float64, of the rows of each sample apart and then added. */
  async sums(model: Qwen2Model): Promise<Map<string, Float64Array>> {
    const result = new Map<string, Float64Array>();
    const of = (name: string) => {
      const sum = result.get(name) ?? new Float64Array(model.parameters.get(name).size);
      result.set(name, sum);
      return sum;
    };
    for (const { observed, copies } of this.seen) {
      const read = async (view: ArrayView) => (await (copies.get(view) as Tensor).read()) as Float32Array;
      const offsets = OFFSETS[observed.rows as string];
      const spans = offsets.slice(1).map((end, s) => [offsets[s], end] as const);
      expect(offsets.at(-1)).toBe(observed.factors.N);
      await addFactors(observed, spans, read, of);
    }
    return result;
  }
}

async function addFactors(
  { factors, parameter, bias }: ObservedGradient,
  spans: readonly (readonly [number, number])[],
  read: (view: ArrayView) => Promise<Float32Array>,
  of: (name: string) => Float64Array,
): Promise<void> {
  const gradient = await read(factors.gradient);
  if (factors.kind === "lookup") {
    const [order, id, starts] = [
      await read(factors.order),
      await read(factors.id),
      await read(factors.segment_start),
    ];
    const sum = of(parameter as string);
    id.forEach((row, u) => {
      for (let at = starts[u]; at < starts[u + 1]; at++)
        for (let c = 0; c < factors.C; c++) sum[row * factors.C + c] += gradient[order[at] * factors.C + c];
    });
    return;
  }
  const input = await read(factors.input);
  if (factors.kind === "gain") {
    const rows = await read(factors.rows);
    const { N, C } = factors;
    const parts = gradient.length / (N * C);
    const sum = of(parameter as string);
    for (const [start, end] of spans)
      for (let n = start; n < end; n++)
        for (let c = 0; c < C; c++)
          for (let p = 0; p < parts; p++)
            sum[c] += gradient[(p * N + n) * C + c] * input[n * C + c] * rows[n];
    return;
  }
  const { O, I, first = 0, scale } = factors;
  const [rows, columns] = scale ? [await read(scale.rows), await read(scale.columns)] : [];
  for (const [start, end] of spans)
    for (let n = start; n < end; n++)
      for (let o = 0; o < O; o++) {
        const d = gradient[n * O + o];
        if (bias !== undefined) of(bias)[o] += d;
        for (let i = 0; i < I; i++)
          of(parameter as string)[(first + o) * I + i] +=
            d * input[n * I + i] * (rows && columns ? rows[n] * columns[i] : 1);
      }
}

describe.each([
  ["tied", {}, 0],
  ["untied, two tiles of the vocabulary", { tie_word_embeddings: false }, 64],
] as const)("%s", (_, change, tile) => {
  test("per-sample gradients of every parameter, summed, are the gradient of the batch", async () => {
    const model = build(change);
    const recorder = new Recorder(false);
    const tape = new Tape(launcher, { observer: recorder });
    pass(model, tape, tile);
    tape.release();
    const sums = await recorder.sums(model);
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
      const tape = new Tape(launcher, answer === undefined ? {} : { observer: new Recorder(answer) });
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
  const recorder = new Recorder(false);
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
  const run = async (recompute: boolean, observer?: Recorder) => {
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
  const recorder = new Recorder(false);
  expect((await run(true, recorder)).gradients).toEqual(plain.gradients);
  expect(recorder.finals.sort()).toEqual([...names].sort());
  expect([...(await recorder.sums(model)).keys()].sort()).toEqual([...names].sort());
});
