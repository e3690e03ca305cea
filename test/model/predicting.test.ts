/** States that predict answers, computed without those of the other tokens in the last layer: the same values and gradients. */
import { describe, expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Tape } from "../../src/autograd/tape.js";
import { Random } from "../../src/core/random.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { LoraAdapter } from "../../src/model/lora.js";
import { packSequences } from "../../src/model/packing.js";
import { elementCount, parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model, type Qwen2ModelOptions } from "../../src/model/qwen2.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);
const packed = packSequences([
  [3, 1, 4, 1, 5, 9],
  [2, 6, 5],
  [8, 9, 7, 9, 3],
]);
const FEW = { places: Uint32Array.of(4, 5, 8, 12), targets: Uint32Array.of(7, 1, 2, 3) };

function build(options: Qwen2ModelOptions, isFrozen = false): Qwen2Model {
  const config = { ...presetConfig("nano", 80), hidden_size: 32, intermediate_size: 36 };
  const parameters = new FlatParameters(runtime, storedShapes(config), { requiresGrad: !isFrozen });
  const random = new Random(4);
  for (const { name, shape } of parameterShapes(config)) {
    const centre = name.includes("norm") ? 1 : 0;
    const values = Float32Array.from({ length: elementCount(shape) }, () => centre + 0.2 * random.normal());
    parameters.load(name, values);
  }
  return new Qwen2Model(launcher, config, parameters, options);
}

function withAdapter(model: Qwen2Model): Qwen2Model {
  const lora = { rank: 2, alpha: 4, dropout: 0.3, targets: ["q_proj", "o_proj", "down_proj"] as const };
  const adapter = new LoraAdapter(launcher, model.parameters, model.config, lora);
  adapter.initialise(Random.of(1, "adapter"));
  return model.withAdapter(adapter);
}

/** Log-probabilities and all gradients; how many rows of states there were. */
async function pass(model: Qwen2Model, arePicked: boolean, { places, targets } = FEW) {
  const { trained, recompute } = model;
  trained.clearGradients();
  const tape = new Tape(launcher, { recompute });
  const seed = model.adapter ? 5 : undefined;
  const states = arePicked
    ? model.predicting(tape, packed, places, seed)
    : { hidden: model.hidden(tape, model.batch(tape, packed), { dropoutSeed: seed }), index: places };
  const { log_prob } = model.score(tape, states.hidden, states.index, targets, 0.8);
  const values = [...(await log_prob.read())];
  const weights = Float32Array.from(targets, (_, t) => 1 - 0.7 * t);
  tape.backward([[log_prob, tape.input(weights)]]);
  const [rows] = states.hidden.shape;
  tape.release();
  const gradients = new Map<string, Float32Array>();
  for (const name of trained.slots.keys()) gradients.set(name, await trained.readGradient(name));
  return { values, gradients, rows };
}

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, label: string): void {
  expect(actual.length, label).toBe(expected.length);
  const largest = Array.from(expected).reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
  const worst = Array.from(actual, (value, i) => Math.abs(value - expected[i]));
  expect(Math.max(...worst) / largest, label).toBeLessThan(2e-5);
}

describe.each([
  ["fused", () => build({})],
  ["plain ops", () => build({ fused: false })],
  ["layers computed again in backward", () => build({ recompute: true })],
  ["an adapter beside the weights, with dropout", () => withAdapter(build({}, true))],
] as const)("%s", (_, make) => {
  test("values and gradients are those of a pass that computes every token", async () => {
    const model = make();
    const expected = await pass(model, false);
    const actual = await pass(model, true);
    expect([expected.rows, actual.rows]).toEqual([14, FEW.places.length]);
    expectClose(actual.values, expected.values, "values");
    for (const [name, gradient] of expected.gradients)
      expectClose(actual.gradients.get(name) ?? [], gradient, name);
    model.release();
    model.parameters.release();
  });
});

test("where most tokens predict, all are computed", async () => {
  const model = build({});
  const most = { places: Uint32Array.from({ length: 11 }, (_, n) => n), targets: new Uint32Array(11) };
  expect((await pass(model, true, most)).rows).toBe(14);
  model.release();
  model.parameters.release();
});
