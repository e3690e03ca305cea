/** The configurations for published chat models: they can be planned as they are, fit the GPU that they name, and train. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { randomWeights } from "../../bench/make_model.js";
import { runCli } from "../../src/cli/program.js";
import { register as train } from "../../src/cli/train/train.js";
import { loadConfig, mergeSettings } from "../../src/config/load.js";
import type { TrainConfigInput } from "../../src/config/schema.js";
import { readConfigText } from "../../src/host/files/config_text.js";
import { writeModelFolder } from "../../src/host/model/model_folder_write.js";
import { planRequest } from "../../src/host/run/memory.js";
import { checkBeforeWork } from "../../src/host/run/preflight.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { planMemory } from "../../src/rl/loop/memory_plan.js";
import { qwenFiles } from "../model/qwen_files.js";
import { smallGameText } from "../support/alfworld_small_game.js";
import { temporaryFolder } from "../support/folders.js";
import { halfPrecision, needing } from "../support/needs.js";
import { testRuntime } from "../support/runtime.js";
import { TextStream } from "../support/streams.js";
import { fewHouseholds, recordTraining } from "../support/training.js";

const folder = fileURLToPath(new URL("../../configs/", import.meta.url));
const NAMES = readdirSync(folder).filter((name) => name.startsWith("qwen2.5-"));
const GIB = 2 ** 30;
/** Of a GPU of 80 GB, what other things than the run may take. */
const SPARE = 8 * GIB;

const launcher = new Launcher(await testRuntime());
const half = halfPrecision(launcher.facts.features);
const root = temporaryFolder();
const model = join(root, "model");
const data = join(root, "alfworld");
const jar = join(root, "scienceworld.jar");
const env = { ...process.env, ALFWORLD_DATA: data, SCIENCEWORLD_JAR: jar };

/** A published model's tokenizer and layout, with four thin layers. */
beforeAll(async () => {
  const shape = { num_hidden_layers: 4, max_position_embeddings: 32768, eos_token_id: 151645 };
  const config = presetConfig("nano", 151936, shape);
  const tokenizer = qwenFiles();
  const endTokenIds = [151645, 151643];
  await writeModelFolder(model, { config, tensors: randomWeights(config, 1), tokenizer, endTokenIds });
  writeFileSync(jar, "");
  for (const split of ["train", "valid_seen", "valid_unseen"])
    for (const type of ["pick_cool_then_place_in_recep", "pick_two_obj_and_place"]) {
      const game = join(data, "json_2.1.1", split, `${type}-Cup-None-Box-1`, "trial_1");
      mkdirSync(game, { recursive: true });
      writeFileSync(join(game, "game.tw-pddl"), smallGameText());
    }
});

const settingsOf = (name: string) => parse(readFileSync(join(folder, name), "utf8")) as TrainConfigInput;

test("there is one for each model and world", () => {
  const sizes = ["1.5b", "7b"];
  const worlds = ["alfworld", "scienceworld"];
  expect(NAMES).toEqual(sizes.flatMap((size) => worlds.map((world) => `qwen2.5-${size}-${world}.yaml`)));
});

test("a dry run shows one as it is", async () => {
  const [stdout, stderr] = [new TextStream(), new TextStream()];
  const args = ["train", "-c", join(folder, NAMES[0]), "--dry-run", "--json", `model.path=${model}`];
  expect(await runCli([...args, `out=${root}`], { stdout, stderr, env }, [train])).toBe(0);
  const { config, memory } = JSON.parse(stdout.text);
  expect(memory.texts.prompt).toBe(config.prompt.max_tokens);
});

describe.each(NAMES)("%s", (name) => {
  test("passes the checks before work, and fits a GPU of 80 GB with the model that it names", async () => {
    const sources = { files: [join(folder, name)], readText: readConfigText, env };
    const { config } = await loadConfig({ ...sources, overrides: [`model.path=${model}`, `out=${root}`] });
    await checkBeforeWork(config, undefined);
    const [size = ""] = /qwen2\.5-[\d.]+b/.exec(name) ?? [];
    expect(settingsOf(name).model?.path?.toLowerCase()).toContain(size);
    const request = await planRequest(config, undefined, { isSoftware: false });
    const plan = await planMemory({ ...request, model: presetConfig(size) });
    expect(plan.texts.prompt).toBe(config.prompt.max_tokens);
    expect(plan.heldBytes, JSON.stringify(plan.rows)).toBeLessThan(80e9 - SPARE);
  });

  needing(half).test("trains two iterations, with GCD and correction switched on", async () => {
    const small = {
      world: { id: "household", train_split: "train", splits: {}, max_steps: 2, max_environments: null },
      model: { path: model },
      imitation: { episodes: 2, max_steps: 1, batch_size: 4 },
      grpo: { max_steps: 2, tasks_per_step: 1, num_generations: 2, max_completion_length: 6 },
      gcd: { enabled: true, label_source: "rule", max_completion_length: 3 },
      correction: { enabled: true, every: 1, min_visits: 1 },
      eval: { at_start: false, splits: [] },
    };
    const run = await recordTraining(launcher, fewHouseholds(), mergedInto(settingsOf(name), small));
    expect(run.metrics.map(({ stage }) => stage)).toEqual(["imitation", "grpo", "grpo"]);
    for (const row of run.metrics) expect(Number.isFinite(row.loss)).toBe(true);
    const [, first] = run.metrics;
    expect(first["prompts/shortened_rate"]).toBe(0);
    expect(first["gcd/questions"]).toBeDefined();
    // sampler and trainer read the same text with the same weights, in halves
    expect(first["sampling/logp_diff_max"]).toBeLessThan(0.05);
  });
});

function mergedInto<T>(settings: T, changes: object): T {
  return mergeSettings(settings, changes) as T;
}
