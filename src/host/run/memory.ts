/** The memory plan of a configuration: its model, its adapter, and how long the texts of its world are. */
import { freemem } from "node:os";
import { join } from "node:path";
import type { TrainConfig } from "../../config/schema.js";
import { mean } from "../../core/statistics.js";
import type { World } from "../../env/world.js";
import { parseQwen2Config, presetConfig, type Qwen2Config } from "../../model/config.js";
import type { Tokenizer } from "../../model/tokenizer.js";
import { taskOrder } from "../../rl/loop/data_order.js";
import { expertRows } from "../../rl/loop/imitation.js";
import { ASSUMED_TEXTS, type PlanRequest, type TextSizes } from "../../rl/loop/memory_plan.js";
import { PromptBuilder } from "../../rl/play/prompt.js";
import { readJsonFile } from "../files/json_file.js";
import { importDawn } from "../gpu/dawn.js";
import { openTokenizer, readModelParts } from "../model/model_folder.js";
import { RUN_FILES } from "./run_info.js";
import { loraOf, openTrainingWorld, usesKept, wordTokenizer } from "./training_setup.js";

/** Words of a small world: what a word tokenizer has before it is built. */
const ASSUMED_WORDS = 512;
/** Episodes of the expert whose prompts are measured. */
const MEASURED_EPISODES = 16;

/**
 * What a plan is made of. Texts of the household world are measured, on episodes of its expert; those of others are assumed to be
 * as long as `prompt.max_tokens` lets them be.
 * @param run folder of a run that goes on
 * @throws DataError when model or adapter folder cannot be read
 */
export async function planRequest(
  config: TrainConfig,
  run: string | undefined,
  facts: PlanRequest["facts"],
): Promise<PlanRequest> {
  await importDawn();
  const lora = await loraOf(config);
  const folder = await folderOf(config, run);
  if (config.world.id !== "household") {
    const model = await modelOf(config, folder, ASSUMED_WORDS);
    return { config, lora, facts, model, texts: assumedTexts(config) };
  }
  const world = await openTrainingWorld(config);
  const tokenizer = folder ? openTokenizer(await readModelParts(folder)) : await wordTokenizer(world);
  const model = await modelOf(config, folder, tokenizer.vocabularySize);
  return { config, lora, facts, model, texts: await measuredTexts(config, world, tokenizer) };
}

async function folderOf({ model }: TrainConfig, run: string | undefined): Promise<string | undefined> {
  if (model.path === null) return undefined;
  const kept = run === undefined ? undefined : join(run, RUN_FILES.model);
  return kept !== undefined && (await usesKept(model.path, kept)) ? kept : model.path;
}

async function modelOf(
  { model }: TrainConfig,
  folder: string | undefined,
  words: number,
): Promise<Qwen2Config> {
  if (folder === undefined) return presetConfig(model.preset, words);
  const file = join(folder, "config.json");
  return parseQwen2Config(await readJsonFile(file), file);
}

/** Texts of a world that is not opened: prompts as long as they may be, where that is set. */
function assumedTexts({ prompt: { max_tokens: most } }: TrainConfig): TextSizes {
  return most === null ? ASSUMED_TEXTS : { ...ASSUMED_TEXTS, prompt: most, shownPrompt: most };
}

async function measuredTexts(config: TrainConfig, world: World, tokenizer: Tokenizer): Promise<TextSizes> {
  const { train_split: split } = config.world;
  const tasks = taskOrder(config.seed, "memory", world.tasks(split)).slice(0, MEASURED_EPISODES);
  const prompts = new PromptBuilder(tokenizer, { ...config.prompt, context: "step" });
  const options = { seed: config.seed, detours: 0, maxSteps: config.world.max_steps };
  const rows = await expertRows({ world, prompts, endToken: tokenizer.eosTokenId ?? 0 }, tasks, options);
  const longest = (of: (row: (typeof rows)[number]) => number) => Math.max(...rows.map(of));
  return {
    ...ASSUMED_TEXTS,
    prompt: longest(({ prompt }) => prompt.length),
    shownPrompt: Math.ceil(mean(rows.map(({ prompt }) => prompt.length))),
    shown: longest(({ answer }) => answer.length),
  };
}

/** Bytes that a run may take where they are known: of a software adapter, what the machine has free. */
export function freeBytes(isSoftware: boolean): number | undefined {
  return isSoftware ? freemem() : undefined;
}
