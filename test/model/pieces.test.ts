/** Matrices larger than what an adapter binds: the same policy, with a limit made small for the purpose. */
import { expect, test } from "vitest";
import { FlatParameters, type FlatParametersOptions } from "../../src/autograd/flat_parameters.js";
import { Tape } from "../../src/autograd/tape.js";
import { fromBfloat16Bits, toBfloat16Bits } from "../../src/core/half_floats.js";
import { Random } from "../../src/core/random.js";
import { gatherRows, Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { LoraAdapter } from "../../src/model/lora.js";
import { LORA_TARGETS, type LoraConfig } from "../../src/model/lora_config.js";
import { packSequences } from "../../src/model/packing.js";
import { elementCount, parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { AdamW } from "../../src/optim/adamw.js";
import { referenceModel } from "../../src/rl/loop/policy_state.js";
import { testRuntime } from "../support/runtime.js";

/** 256 rows of 512 floats and a little: every matrix of the policy below lies in two to four pieces. */
const LIMIT = 600_000;
const whole = new Launcher(await testRuntime());
const small = new Launcher(await testRuntime({ maxBindingBytes: LIMIT }));
const config = {
  ...presetConfig("nano", 700),
  hidden_size: 512,
  intermediate_size: 512,
  num_hidden_layers: 1,
  num_attention_heads: 8,
};
// tokens of every piece of the embedding, at its edges too
const SEQUENCES = [
  [3, 255, 256, 511, 512, 699],
  [256, 0, 600],
];
const packed = packSequences(SEQUENCES);
const places = Uint32Array.from(
  SEQUENCES.flatMap((tokens, s) => tokens.slice(1).map((_, t) => packed.offsets[s] + t)),
);
const targets = Uint32Array.from(SEQUENCES.flatMap((tokens) => tokens.slice(1)));

const drawn = parameterShapes(config).map(({ name, shape }) => {
  const random = Random.of(4, name);
  const centre = name.includes("norm") ? 1 : 0;
  return {
    name,
    shape,
    values: Float32Array.from({ length: elementCount(shape) }, () => centre + 0.2 * (random.uniform() - 0.5)),
  };
});

function build(
  launcher: Launcher,
  { round, ...options }: FlatParametersOptions & { readonly round?: boolean } = {},
): Qwen2Model {
  const parameters = new FlatParameters(launcher.runtime, storedShapes(config), options);
  for (const { name, shape, values } of drawn) {
    const isRounded = round && shape.length === 2;
    parameters.load(name, isRounded ? fromBfloat16Bits(toBfloat16Bits(values)) : values);
  }
  return new Qwen2Model(launcher, config, parameters);
}

async function scores(model: Qwen2Model, record = false) {
  const tape = new Tape(model.launcher, { record, activations: model.activations });
  const hidden = model.hidden(tape, model.batch(tape, packed));
  const { log_prob, entropy } = model.score(tape, hidden, places, targets, 0.8);
  const values = [...(await log_prob.read()), ...(await entropy.read())];
  if (record) {
    const seed = (value: number) => tape.input(new Float32Array(targets.length).fill(value));
    model.trained.clearGradients();
    tape.backward([
      [log_prob, seed(1)],
      [entropy, seed(0.3)],
    ]);
  }
  tape.release();
  return values;
}

const bytesOf = ({ buffer }: Float32Array) => Buffer.from(buffer);

function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  label: string,
  most = 2e-5,
): void {
  expect(actual.length).toBe(expected.length);
  const largest = Array.from(expected).reduce((size, value) => Math.max(size, Math.abs(value)), 0);
  let worst = 0;
  for (let i = 0; i < expected.length; i++) worst = Math.max(worst, Math.abs(actual[i] - expected[i]));
  expect(worst / largest, label).toBeLessThan(most);
}

test("every matrix is in pieces that can be bound, and comes back as it was put in", async () => {
  const { parameters } = build(small);
  for (const { name, shape } of storedShapes(config))
    expect([name, parameters.get(name).pieces !== undefined]).toEqual([name, shape.length === 2]);
  for (const { elements } of parameters.buckets) expect(4 * elements).toBeLessThanOrEqual(LIMIT);
  for (const { name, values } of drawn)
    expect(Buffer.compare(bytesOf(await parameters.read(name)), bytesOf(values)), name).toBe(0);
  parameters.release();
});

test("values, gradients and an optimiser step are those of whole matrices", async () => {
  const results = [];
  for (const launcher of [whole, small]) {
    const model = build(launcher);
    const values = await scores(model, true);
    const gradients = new Map<string, Float32Array>();
    for (const { name } of model.parameters.named)
      gradients.set(name, await model.parameters.readGradient(name));
    const optimizer = new AdamW({ parameters: model.parameters, launcher, lr: 1e-2, maxGradNorm: 1 });
    optimizer.step();
    results.push({ values, gradients, after: await scores(model), optimizer, model });
  }
  const [expected, actual] = results;
  expectClose(actual.values, expected.values, "values");
  for (const [name, gradient] of expected.gradients)
    expectClose(actual.gradients.get(name) ?? [], gradient, name);
  expectClose(actual.after, expected.after, "values after a step");
  expect(Math.abs(actual.after[0] - actual.values[0])).toBeGreaterThan(1e-3);
  // a frozen copy has pieces of other sizes where it is stored in fewer bytes
  const copy = await referenceModel(actual.model, undefined);
  expect(await scores(copy)).toEqual(actual.after);
});

test("bf16 matrices give the very values of f32 ones that were rounded to bf16, whole and in pieces", async () => {
  const expected = await scores(build(whole, { round: true, requiresGrad: false }));
  const bfloat = { storage: "bf16", requiresGrad: false } as const;
  expect(await scores(build(whole, bfloat))).toEqual(expected);
  const inPieces = build(small, bfloat);
  const { pieces, dtype } = inPieces.parameters.get("model.embed_tokens.weight");
  expect([dtype, pieces?.length]).toEqual(["bf16", 2]);
  expectClose(await scores(inPieces), expected, "values");
});

test("an adapter on matrices in pieces has the values, gradients and export of one on whole matrices", async () => {
  const lora: LoraConfig = { rank: 3, alpha: 5, dropout: 0, targets: LORA_TARGETS };
  const results = [];
  for (const [launcher, storage] of [
    [whole, "f32"],
    [small, "f32"],
    [small, "bf16"],
  ] as const) {
    const model = build(launcher, { round: true, requiresGrad: false, storage });
    const adapter = new LoraAdapter(launcher, model.parameters, config, lora);
    for (const { name, shape } of adapter.parameters.named) {
      const random = Random.of(6, name);
      adapter.parameters.load(
        name,
        Float32Array.from({ length: elementCount(shape) }, () => 0.1 * random.normal()),
      );
    }
    const adapted = model.withAdapter(adapter);
    const values = await scores(adapted, true);
    const gradients = new Map<string, Float32Array>();
    for (const { name } of adapter.parameters.named)
      gradients.set(name, await adapter.parameters.readGradient(name));
    const up = await adapted.read("model.layers.0.mlp.up_proj.weight");
    results.push({ values, gradients, up, isMerged: adapter.isMerged });
  }
  const [expected, ...others] = results;
  expect(results.map(({ isMerged }) => isMerged)).toEqual([true, false, false]);
  for (const actual of others) {
    expectClose(actual.values, expected.values, "values");
    expect(actual.gradients.size).toBe(14);
    for (const [name, gradient] of expected.gradients)
      expectClose(actual.gradients.get(name) ?? [], gradient, name, 5e-5);
    expectClose(actual.up, expected.up, "exported weight", 1e-6);
  }
});

test("an op that cannot take pieces says so", () => {
  const { parameters } = build(small);
  const tape = new Tape(small, { record: false });
  const a = parameters.get("model.layers.0.self_attn.o_proj.weight");
  const index = tape.input(Uint32Array.of(3));
  expect(() => tape.apply(gatherRows, { x: a, index })).toThrow(
    "x is larger than what this adapter can bind: got [512,512] in 2 pieces",
  );
  tape.release();
});
