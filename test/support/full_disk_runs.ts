/** A run and an experiment on a disk that is full at one write after the other: they go on to the same bits. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { type LoadedConfig, loadConfig } from "../../src/config/load.js";
import { silentLogger } from "../../src/core/logger.js";
import type { RolloutRow } from "../../src/core/run_record.js";
import type { Runtime } from "../../src/gpu/runtime.js";
import { planExperiment } from "../../src/host/experiment/plan.js";
import { writeReport } from "../../src/host/experiment/report.js";
import { prepareStart, runCells } from "../../src/host/experiment/run_cell.js";
import type { TrainLoop } from "../../src/host/run/train_loop.js";
import { trainRun } from "../../src/host/run/train_run.js";
import { presetConfig } from "../../src/model/config.js";
import { elementCount, parameterShapes } from "../../src/model/parameters.js";
import { quickFolder, temporaryFolder } from "./folders.js";
import { onFullDisk } from "./full_disk.js";

const shape = presetConfig("nano", 8, {
  ...{ hidden_size: 4, intermediate_size: 4, num_hidden_layers: 1 },
  ...{ num_attention_heads: 1, num_key_value_heads: 1 },
});

/** Stands in for training: each update's weights follow from those before, so that a lost or repeated update shows. */
const loop: TrainLoop = async ({ config, folder, sink, checkpoint, evaluated }) => {
  let weight = checkpoint ? ((await checkpoint.model.read("w"))[0] as number) : config.seed;
  const total = config.grpo.max_steps;
  const at = (step: number) => ({ step, stage: "grpo" });
  for (let step = (checkpoint?.step ?? 0) + 1; step <= total; step++) {
    weight = Math.fround(Math.sin(weight + step));
    await sink.rollouts(step, [{ step, kind: "policy", action: String(weight) } as RolloutRow]);
    await sink.metrics({ ...at(step), loss: weight });
    const tensor = { name: "w", shape: [1], data: Float32Array.of(weight) };
    const tensors = { model: [tensor], optimizer: [tensor] };
    await sink.checkpoint({ ...at(step), tensors, state: { weight } });
  }
  const rate = { success: 0.5, success_low: 0, success_high: 1 };
  const evaluation = { ...at(total), split: "in_domain", mode: "greedy", episodes: 2, ...rate } as const;
  if (evaluated.length === 0) await sink.evaluation(evaluation);
  const tensors = parameterShapes(shape).map((parameter) => ({
    ...parameter,
    data: new Float32Array(elementCount(parameter.shape)).fill(weight),
  }));
  await folder.exportModel({ config: shape, tensors });
  return { step: total, finished: true, summary: {} };
};

const deps = {
  runtime: {} as Runtime,
  session: {
    ...{ argv: [], version: "0", node: "v20", platform: "linux-x64", adapter: null },
    git: { commit: "abc", dirty: true, diff: "the difference\n" },
  },
  signal: new AbortController().signal,
  stopReason: () => undefined,
  logger: silentLogger,
  loop,
};

const settings = ["grpo.max_steps=2", "checkpoint.save_total_limit=1"];

const configs = new Map<string, Promise<LoadedConfig>>();
/** Configuration of a run in a folder; checking one takes longer than writing the run. */
function runIn(out: string): Promise<LoadedConfig> {
  const overrides = ["name=run", `out=${out}`, ...settings];
  const loaded = configs.get(out) ?? loadConfig({ files: [], readText: async () => "", env: {}, overrides });
  configs.set(out, loaded);
  return loaded;
}

/** Begins a run, or goes on with it as a user would. */
export async function train(out: string): Promise<void> {
  const loaded = await runIn(out);
  const run = existsSync(join(out, "run", "run.json")) ? join(out, "run") : undefined;
  await trainRun({ ...deps, ...loaded, run });
}

const EXPERIMENT = `
base: { grpo: { max_steps: 1 } }
start: { train: { grpo: { max_steps: 1 } } }
splits: { L0: { of: in_domain } }
axes: { method: { plain: } }
seeds: [0]
`;

/** Does an experiment, or what is left of it, as the command does. @throws the failure of a cell */
export async function experiment(out: string): Promise<void> {
  const file = join(description, "tiny.yaml");
  const plan = await planExperiment({ file, out, env: {}, flags: [] });
  const start = await prepareStart(plan, deps);
  const { failures } = await runCells(plan, plan.cells, start as string, {
    ...deps,
    afterCell: () => writeReport(plan),
  });
  await writeReport(plan);
  if (failures.length > 0) throw new Error(failures[0].message);
}

const description = temporaryFolder();
writeFileSync(join(description, "tiny.yaml"), EXPERIMENT);

/** Every file by its content; times and what sessions say of themselves are left out. */
function contentOf(folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
  return Object.fromEntries(
    files
      .map(({ parentPath, name }) => join(parentPath, name))
      .filter((path) => !/(run\.log|code\.\d+\.diff|run\.json)$/.test(path))
      .sort()
      .map((path) => [
        path.slice(folder.length),
        readFileSync(path, "latin1")
          .replaceAll(folder, "")
          .replaceAll(/"time":[\d.]+/g, ""),
      ]),
  );
}

/** Files that this process holds open, where the system tells. */
function openFiles(): number {
  return existsSync("/proc/self/fd") ? readdirSync("/proc/self/fd").length : 0;
}

/** Does `action` on a disk that is full from each of its writes on, then again with space. */
export async function atWrites(
  action: (folder: string) => Promise<void>,
  { lasts, stride }: { readonly lasts: boolean; readonly stride: number },
): Promise<number> {
  const whole = quickFolder();
  const { writes, error: none } = await onFullDisk({ from: Number.POSITIVE_INFINITY, lasts }, () =>
    action(whole),
  );
  expect(none).toBeUndefined();
  const expected = contentOf(whole);
  const folder = quickFolder();
  const opened = openFiles();
  for (let from = 0; from < writes; from += stride) {
    const { error } = await onFullDisk({ from, lasts }, () => action(folder));
    // what the reports of an experiment say of a failed cell is text
    if (error !== undefined)
      expect(String(error), `write ${from}`).toMatch(new RegExp(`ENOSPC.* '${folder}`));
    else expect(lasts, `write ${from} failed and nobody heard of it`).toBe(false);
    await action(folder);
    expect(contentOf(folder), `write ${from}`).toEqual(expected);
    expect(openFiles(), `write ${from}`).toBeLessThanOrEqual(opened);
    for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
  }
  return writes;
}
