/** What checkpoints hold of a policy, its optimiser and its reference policy, and how it comes back. */
import { expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import type { RecordedTensor } from "../../src/core/run_record.js";
import { Launcher } from "../../src/kernels/index.js";
import { parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { AdamW } from "../../src/optim/adamw.js";
import { adamSettings, stageOptimizer } from "../../src/rl/loop/optimizer.js";
import {
  modelTensors,
  optimizerTensors,
  referenceModel,
  releaseReference,
  restoreModel,
  restoreOptimizer,
  type TensorReader,
} from "../../src/rl/loop/policy_state.js";
import { type Stage, type StageSettings, stageAt, totalSteps } from "../../src/rl/loop/stage.js";
import { loraPolicy } from "../support/lora_policy.js";
import { halfPrecision, needing } from "../support/needs.js";
import { testRuntime } from "../support/runtime.js";
import { tinyModel } from "../support/tiny_model.js";

const launcher = new Launcher(await testRuntime());
const { buffers } = launcher.runtime;

async function valuesOf(tensors: readonly RecordedTensor[]): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const { name, data } of tensors) values.set(name, typeof data === "function" ? await data() : data);
  return values;
}
const readerOf = (tensors: ReadonlyMap<string, Float32Array>): TensorReader => ({
  tensors,
  read: async (name) => tensors.get(name) as Float32Array,
});

test("a reference policy is a frozen copy, saved beside the policy, and read from there", async () => {
  const live = buffers.liveBytes;
  const model = tinyModel(launcher);
  const names = parameterShapes(model.config).map(({ name }) => name);
  const start = await valuesOf(modelTensors(model, undefined));
  expect([...start.keys()]).toEqual(names);
  const reference = await referenceModel(model, undefined);
  expect(reference.parameters.requiresGrad).toBe(false);
  expect(reference.fused).toBe(model.fused);
  const norm = "model.norm.weight";
  const moved = (start.get(norm) as Float32Array).map((value) => 2 * value);
  model.parameters.load(norm, moved);
  const tensors = modelTensors(model, reference);
  expect(tensors.map(({ shape }) => shape)).toEqual(
    [...parameterShapes(model.config), ...parameterShapes(model.config)].map(({ shape }) => shape),
  );
  const saved = await valuesOf(tensors);
  expect([...saved.keys()]).toEqual([...names, ...names.map((name) => `reference.${name}`)]);
  expect(saved.get(norm)).toEqual(moved);
  for (const name of names) expect(saved.get(`reference.${name}`), name).toEqual(start.get(name));
  // a run that goes on has the policy of then, and the reference of its beginning
  const other = tinyModel(launcher, 2);
  await restoreModel(other, readerOf(saved));
  const again = await referenceModel(other, readerOf(saved));
  expect(await valuesOf(modelTensors(other, again))).toEqual(saved);
  for (const [one, of] of [
    [reference, model],
    [again, other],
  ] as const) {
    releaseReference(one, of);
    of.release();
    of.parameters.release();
  }
  expect(buffers.liveBytes).toBe(live);
});

test("below an adapter it is the model itself, which is not saved and stays", async () => {
  const policy = loraPolicy(launcher, { fused: false });
  const reference = await referenceModel(policy, undefined);
  expect([reference.adapter, reference.fused]).toEqual([undefined, false]);
  expect(reference.parameters).toBe(policy.parameters);
  const saved = await valuesOf(modelTensors(policy, reference));
  expect(saved.size).toBe(policy.checkpointShapes.length);
  expect([...saved.keys()].filter((name) => !name.includes("lora"))).toEqual([]);
  const norm = await policy.parameters.read("model.norm.weight");
  const live = buffers.liveBytes;
  releaseReference(reference, policy);
  expect(buffers.liveBytes).toBe(live);
  expect(await policy.parameters.read("model.norm.weight")).toEqual(norm);
  const plain = tinyModel(launcher);
  const unfused = new Qwen2Model(
    launcher,
    plain.config,
    new FlatParameters(launcher.runtime, storedShapes(plain.config)),
    { fused: false },
  );
  expect((await referenceModel(unfused, undefined)).fused).toBe(false);
});

const settings: StageSettings = {
  ...{
    max_steps: 3,
    learning_rate: 0.5,
    lr_scheduler_type: "constant",
    warmup_steps: 0,
    max_grad_norm: 0.25,
  },
  ...{ weight_decay: 0.125, adam_beta1: 0.5, adam_beta2: 0.75, adam_epsilon: 0.1, adam_moments: "f16" },
  tokens_per_micro_batch: 100,
};

test("the optimiser of a stage is that of its settings, without a scaled loss", () => {
  expect(adamSettings(settings)).toEqual({
    ...{ lr: 0.5, betas: [0.5, 0.75], eps: 0.1, moments: "f16", weightDecay: 0.125, maxGradNorm: 0.25 },
  });
  const model = tinyModel(launcher);
  const optimizer = stageOptimizer(model, settings);
  expect(optimizer.parameters).toBe(model.parameters);
  expect(optimizer.lossScale).toBeUndefined();
});

needing(halfPrecision(launcher.facts.features)).test("in half precision its loss is scaled", () => {
  const model = tinyModel(launcher);
  const half = new FlatParameters(launcher.runtime, storedShapes(model.config), { storage: "f16" });
  const mixed = { launcher, trained: half, parameters: half } as unknown as Qwen2Model;
  expect(stageOptimizer(mixed, settings).lossScale).toBeDefined();
});

test("moments and the counter of steps come back as they were; what is missing is named", async () => {
  const model = tinyModel(launcher);
  const open = () => new AdamW({ parameters: model.parameters, launcher, lr: 0.1 });
  const optimizer = open();
  const norm = model.parameters.get("model.norm.weight").grad;
  model.parameters.clearGradients();
  norm?.upload(Float32Array.from({ length: model.config.hidden_size }, (_, c) => c - 3));
  for (let step = 0; step < 3; step++) optimizer.step();
  const saved = await valuesOf(optimizerTensors(optimizer));
  // the counter as the bits of float32 values
  const counter = saved.get("counter") as Float32Array;
  expect(counter).toBeInstanceOf(Float32Array);
  expect(new Uint32Array(counter.slice().buffer)[0]).toBe(3);
  const other = open();
  await restoreOptimizer(other, readerOf(saved));
  expect(await valuesOf(optimizerTensors(other))).toEqual(saved);
  expect(await other.stats()).toEqual(await optimizer.stats());
  const { "exp_avg.model.norm.weight": gone, ...rest } = Object.fromEntries(saved);
  expect(gone).toBeDefined();
  await expect(restoreOptimizer(other, readerOf(new Map(Object.entries(rest))))).rejects.toThrow(
    "[resume] optimiser tensor exp_avg.model.norm.weight is missing from the checkpoint. Resume from one of the same model.",
  );
});

test("updates are counted through the stages", () => {
  const stages = [2, 0, 3].map((max_steps) => ({ settings: { ...settings, max_steps } }) as Stage);
  expect(totalSteps(stages)).toBe(5);
  expect([0, 1, 2, 4].map((step) => stageAt(stages, step))).toEqual([
    { stage: stages[0], first: 0 },
    { stage: stages[0], first: 0 },
    { stage: stages[2], first: 2 },
    { stage: stages[2], first: 2 },
  ]);
  expect(stageAt(stages, 5)).toBeUndefined();
});
