/** Training an adapter: what moves, what a checkpoint holds, that a resumed run is the same one, and its folder. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { trainConfigSchema } from "../../src/config/schema.js";
import {
  readAdapterFolder,
  withAdapterFolder,
  writeAdapterFolder,
} from "../../src/host/model/adapter_folder.js";
import { checkBase, openPolicy } from "../../src/host/run/training_setup.js";
import { Launcher } from "../../src/kernels/index.js";
import type { LoraAdapter } from "../../src/model/lora.js";
import { loraScale } from "../../src/model/lora_config.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { AdamW } from "../../src/optim/adamw.js";
import { restoreModel } from "../../src/rl/loop/policy_state.js";
import { imitationObjective } from "../../src/rl/objective/imitation.js";
import { Learner } from "../../src/rl/update/learner.js";
import { scoreSequences } from "../../src/rl/update/score.js";
import { temporaryFolder } from "../support/folders.js";
import { testRuntime } from "../support/runtime.js";
import {
  type ConfigInput,
  fewHouseholds,
  recordTraining,
  type SavedCheckpoint,
  shortTraining,
  withoutMemory,
} from "../support/training.js";

const launcher = new Launcher(await testRuntime());
const world = fewHouseholds();
const targets: ("q_proj" | "down_proj" | "up_proj")[] = ["q_proj", "up_proj", "down_proj"];
const lora = { rank: 2, alpha: 6, dropout: 0.2, targets };
const short = shortTraining(1, 2);
const input: ConfigInput = {
  ...short,
  grpo: { ...short.grpo, tasks_per_step: 1, num_iterations: 1 },
  eval: { ...short.eval, episodes: 1, at_start: false },
  lora,
  model: { gradient_checkpointing: true },
};
const SEQUENCES = [
  [5, 6, 7, 8, 9],
  [9, 8, 7],
];

/** The policy of a configuration, in memory of the caller's. */
async function open(changes: object = {}): Promise<Qwen2Model> {
  return (await openPolicy(trainConfigSchema.parse({ ...input, ...changes }), world, launcher)).model;
}

async function restored({ model: values }: SavedCheckpoint): Promise<Qwen2Model> {
  const model = await open();
  const read = async (name: string) => values.get(name) as Float32Array;
  await restoreModel(model, { tensors: values, read });
  return model;
}

test("checkpoints hold factors alone, a resumed run goes on bit for bit, and a folder gives the policy back", async () => {
  const whole = await recordTraining(launcher, world, input);
  const [first, second, last] = whole.checkpoints;
  expect([...last.model.keys()].slice(0, 2)).toEqual([
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
    "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
  ]);
  expect([...last.optimizer.keys()].length).toBe(1 + 2 * last.model.size);
  for (const [name, values] of last.model) {
    expect(values, name).not.toEqual(second.model.get(name));
    expect(second.model.get(name), name).not.toEqual(first.model.get(name));
  }
  // the reference policy is the model below: the cold start has moved away from it
  expect(whole.metrics[1].kl as number).toBeGreaterThan(1e-6);
  const rest = await recordTraining(launcher, world, input, second);
  expect(rest.metrics.map(withoutMemory)).toEqual(whole.metrics.slice(2).map(withoutMemory));
  expect(rest.checkpoints).toEqual([last]);

  const trained = await restored(last);
  const expected = await scoreSequences(trained, SEQUENCES);
  const folder = join(temporaryFolder(), "adapter");
  await writeAdapterFolder(folder, trained.adapter as LoraAdapter, { path: "base" });
  const adapter = await readAdapterFolder(folder);
  expect(adapter.lora).toMatchObject({ rank: 2, alpha: 6, targets });
  const continued = await open({ lora: { path: folder } });
  expect(continued.adapter?.lora).toMatchObject({ rank: 2, alpha: 6, dropout: 0.2, targets });
  expect(await scoreSequences(continued, SEQUENCES)).toEqual(expected);

  const { config, parameters } = await open();
  const below = new Qwen2Model(launcher, config, parameters);
  const loaded = await withAdapterFolder(below, adapter, { requiresGrad: true });
  expect(await scoreSequences(loaded, SEQUENCES)).toEqual(expected);
  const merged = await withAdapterFolder(below, adapter, { requiresGrad: false });
  expect(merged.adapter).toBeUndefined();
  expect(await scoreSequences(merged, SEQUENCES)).toEqual(expected);
  await expectRefusals(below, folder);
});

test("settings reach the adapter, and layers computed again need less memory for the same bits", async () => {
  const stabilised = await open({ lora: { ...lora, rank: 4, rank_stabilised: true } });
  expect(loraScale((stabilised.adapter as LoraAdapter).lora)).toBe(3);
  const config = trainConfigSchema.parse(input);
  expect(() => checkBase(config, "gone")).toThrow(
    /model below the adapter is gone: got no config.json in gone/,
  );
  expect(() => checkBase({ ...config, lora: { ...config.lora, rank: null } }, "gone")).not.toThrow();
  const row = { prompt: Array.from({ length: 90 }, (_, t) => 5 + (t % 70)), answer: [6, 7, 8] };
  const updated = async (gradient_checkpointing: boolean) => {
    const model = await open({ model: { gradient_checkpointing } });
    const { buffers } = launcher.runtime;
    const optimizer = new AdamW({ parameters: model.trained, launcher, lr: 0.01 });
    buffers.resetPeak();
    const before = buffers.peakBytes;
    await new Learner(model, optimizer, 1000).update(imitationObjective([row], 0), 0.01);
    const bytes = buffers.peakBytes - before;
    const values = await Promise.all(model.trained.named.map(({ name }) => model.trained.read(name)));
    return { bytes, values };
  };
  const [kept, again] = [await updated(false), await updated(true)];
  expect(again.values).toEqual(kept.values);
  expect(again.bytes).toBeLessThan(0.75 * kept.bytes);
});

async function expectRefusals(model: Qwen2Model, folder: string): Promise<void> {
  const other = { ...model.config, num_hidden_layers: 3 };
  const deeper = Object.assign(Object.create(model), { config: other }) as Qwen2Model;
  await expect(
    withAdapterFolder(deeper, await readAdapterFolder(folder), { requiresGrad: true }),
  ).rejects.toThrow(
    /missing base_model\.model\.model\.layers\.2\.self_attn\.q_proj\.lora_A\.weight \[2, 64\]/,
  );
  const file = join(folder, "adapter_config.json");
  const settings = JSON.parse(readFileSync(file, "utf8"));
  for (const [change, message] of [
    [{ use_dora: true }, "use_dora: got true, which is not supported"],
    [{ rank_pattern: { q_proj: 4 } }, 'rank_pattern: got {"q_proj":4}, which is not supported'],
    [{ r: 0 }, "r: got 0, expected a whole number of 1 or more"],
    [{ lora_alpha: 1e300 }, "lora_alpha: got 1e+300, expected a number above 0, at most 1e9"],
  ] as const) {
    writeFileSync(file, JSON.stringify({ ...settings, ...change }));
    await expect(readAdapterFolder(folder)).rejects.toThrow(message);
  }
}

test("precision bf16 keeps the matrices below an adapter as bits, trains the factors alone, and is refused without one", async () => {
  const model = await open({ model: { precision: "bf16", gradient_checkpointing: true } });
  expect([model.parameters.storage, model.adapter?.isMerged, model.activations]).toEqual([
    "bf16",
    false,
    "f32",
  ]);
  const before = await scoreSequences(model, SEQUENCES);
  const optimizer = new AdamW({ parameters: model.trained, launcher, lr: 1e-2 });
  const rows = SEQUENCES.map((tokens) => ({ prompt: tokens.slice(0, 1), answer: tokens.slice(1) }));
  const place = { kind: "imitation", group: 0, episode: 0, step: 0, taskId: "", taskType: "" } as const;
  const learner = new Learner(model, optimizer, 100);
  const below = await model.parameters.read("model.layers.0.mlp.down_proj.weight");
  for (let step = 0; step < 3; step++)
    await learner.update(imitationObjective(rows.map((row) => ({ ...row, ...place }))), 1e-2);
  const sum = (scores: typeof before) =>
    scores.flatMap(({ logProbs }) => logProbs).reduce((a, b) => a + b, 0);
  expect(sum(await scoreSequences(model, SEQUENCES))).toBeGreaterThan(sum(before) + 0.1);
  expect(await model.parameters.read("model.layers.0.mlp.down_proj.weight")).toEqual(below);
  expect(await model.read("model.layers.0.mlp.down_proj.weight")).not.toEqual(below);
  for (const owned of [optimizer, model, model.parameters]) owned.release();
  const { error } = trainConfigSchema.safeParse({ model: { precision: "bf16" } });
  expect(error?.issues.map(({ path, message }) => `${path.join(".")}: ${message}`)).toEqual([
    expect.stringContaining("model.precision: f32 or mixed without lora.rank or lora.path"),
  ]);
});
