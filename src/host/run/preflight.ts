/** What can be said against a run before it has a folder: its world, its splits, its model. */
import { access, constants, open } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { TrainConfig } from "../../config/schema.js";
import { stagesOf } from "../../config/schema.js";
import { ConfigError } from "../../core/errors.js";
import { cut, printable } from "../../core/shown.js";
import type { World } from "../../env/world.js";
import { presetConfig, type Qwen2Config } from "../../model/config.js";
import { checkRank } from "../../model/lora_config.js";
import { CONTENT_PLACE, encodeContent } from "../../rl/play/prompt.js";
import { beforeWork } from "../files/before_work.js";
import { checkWritable } from "../files/writable.js";
import { checkBaseModel, readAdapterFolder } from "../model/adapter_folder.js";
import { baseFingerprint } from "../model/base_fingerprint.js";
import {
  type ModelFolder,
  type ModelParts,
  openTokenizer,
  readModelFolder,
  readModelParts,
} from "../model/model_folder.js";
import { openPolicyFiles } from "../model/policy_folder.js";
import { checkAlfworldFolder } from "../worlds/alfworld_folder.js";
import { findScienceWorldJar } from "../worlds/scienceworld_jar.js";
import { checkNameFree } from "./run_claim.js";
import { RUN_FILES, recordedBase } from "./run_info.js";
import { checkBase, isAdapted, openTrainingWorld, usesKept } from "./training_setup.js";

/**
 * Checks what a run needs, without a GPU and without leaving anything behind.
 * @param run folder of a run that goes on
 * @throws ConfigError for everything that would end the run later: a folder that cannot be written to, a name that is taken,
 *   unknown or empty splits, programs and files of a world that are not there, a model folder that cannot be used, answers
 *   longer than the model reads
 */
export async function checkBeforeWork(config: TrainConfig, run: string | undefined): Promise<void> {
  await beforeWork(async () => {
    await checkPlace(config, run);
    await checkWorld(config, stagesOf(config).length > 0);
    await checkModel(config, run);
  });
}

/** The same for the worlds of several runs, whose models may not be there yet. @throws ConfigError */
export async function checkWorlds(configs: readonly TrainConfig[]): Promise<void> {
  // runs of one experiment mostly share their world
  const different = new Map(configs.map((config) => [JSON.stringify([config.world, config.eval]), config]));
  await beforeWork(async () => {
    for (const config of different.values()) await checkWorld(config, stagesOf(config).length > 0);
  });
}

/**
 * The same for the policy of a run that is only looked at.
 * @throws ConfigError
 */
export async function checkPolicyOfRun(config: TrainConfig, run: string): Promise<void> {
  await beforeWork(async () => {
    await checkWorld(config, true);
    await checkModel(config, run);
  });
}

/**
 * The same for an evaluation of `model.path`.
 * @param lora folder of an adapter on the model
 * @returns what the user should know about what was read
 * @throws ConfigError
 */
export async function checkEvaluation(
  config: TrainConfig,
  lora: string | undefined,
): Promise<readonly string[]> {
  return beforeWork(async () => {
    const { path } = config.model;
    const folder = path === null ? undefined : (await openPolicyFiles(path, lora)).folder;
    if (folder) checkParts(folder, config);
    await checkWorld(config, false);
    return folder?.notes ?? [];
  });
}

/** The run's folder can be made, or written to. */
async function checkPlace({ out, name }: TrainConfig, run: string | undefined): Promise<void> {
  if (run !== undefined) return checkWritable(run);
  await checkWritable(out);
  if (name !== null) await checkNameFree(resolve(out, name));
}

/** @param trains whether the split of training is needed, too */
async function checkWorld(config: TrainConfig, trains: boolean): Promise<void> {
  const { world, eval: evaluation } = config;
  const given = evaluation.splits ?? [];
  if (world.id === "alfworld" && world.path !== null) {
    const named = [...(trains ? [world.train_split] : []), ...given];
    const folders = named.map((split) =>
      Object.hasOwn(world.splits, split) ? world.splits[split].of : split,
    );
    await checkAlfworldFolder(world.path, [...new Set(folders)]);
  }
  if (world.id === "alfworld") for (const file of [world.domain, world.grammar]) await checkFile(file);
  if (world.id === "openenv") await checkFile(world.token_file);
  if (world.id === "scienceworld") await findScienceWorldJar(world.jar ?? undefined);
  if (world.id === "external") await checkProgram(world.command?.[0]);
  // other worlds start processes or read many files
  if (world.id !== "household") return;
  const opened = await openTrainingWorld(config);
  try {
    if (trains) checkSplit(opened, world.train_split, world.task_types, "world.train_split");
    const splits = evaluation.splits ?? opened.splits.filter((split) => split !== world.train_split);
    for (const split of splits) checkSplit(opened, split, evaluation.task_types, "eval.splits");
  } finally {
    await opened.close?.();
  }
}

/** @throws what the system says of a file that is named and cannot be read */
async function checkFile(path: string | null): Promise<void> {
  if (path !== null) await (await open(path, "r")).close();
}

/** @throws ConfigError for none, what the system says of one that cannot be run; a name without a folder is looked for at its start */
async function checkProgram(program: string | undefined): Promise<void> {
  if (program === undefined) {
    throw new ConfigError(
      "[world.command] no program: got none, expected program and arguments. Write for example [python3, world.py].",
    );
  }
  if (program.includes("/")) await access(program, constants.X_OK);
}

/** @param field that names the split */
function checkSplit(world: World, split: string, types: readonly string[] | null, field: string): void {
  if (!world.splits.includes(split)) {
    throw new ConfigError(
      `[${field}] no such split: got "${split}", expected one of ${world.splits.join(", ")}. Change it.`,
    );
  }
  const tasks = world.tasks(split);
  if (tasks.some(({ type }) => types === null || types.includes(type))) return;
  const known = [...new Set(tasks.map(({ type }) => type))];
  throw new ConfigError(
    `[${field}] split has no task of these types: got ${types?.join(", ") ?? "no types"} in ${split}, expected some of ` +
      `${known.join(", ") || "its types, of which it has none"}. Change the types, or leave the split out.`,
  );
}

async function checkModel(config: TrainConfig, run: string | undefined): Promise<void> {
  const { model, lora } = config;
  if (lora.path !== null) await readAdapterFolder(lora.path);
  if (model.path === null) {
    checkAdapter(presetConfig(model.preset, 1000), config);
    return checkLengths(presetConfig(model.preset, 1000), config);
  }
  const kept = run === undefined ? undefined : join(run, RUN_FILES.model);
  const isKept = kept !== undefined && (await usesKept(model.path, kept));
  if (isKept) checkBase(config, model.path);
  if (isKept) return checkParts(await readModelParts(kept), config);
  const folder = await readModelFolder(model.path);
  checkParts(folder, config);
  if (lora.path !== null) await checkBaseModel(await readAdapterFolder(lora.path), folder);
  if (run !== undefined && isAdapted(config)) await checkSameBase(run, folder);
}

/** @throws ConfigError when the model below the adapter of a run that goes on is another one than the run began with */
async function checkSameBase(run: string, folder: ModelFolder): Promise<void> {
  const [expected, found] = [await recordedBase(run), await baseFingerprint(folder)];
  if (expected === undefined || found === expected) return;
  throw new ConfigError(
    `[model.path] model below the adapter is another one: got one with the fingerprint ${found} in ${folder.path}, expected ${expected}, which the run began with. ` +
      "Bring that model back, or name its place by model.path.",
  );
}

/** What a model folder holds beside its weights fits the settings. */
function checkParts(folder: ModelParts, config: TrainConfig): void {
  const tokenizer = openTokenizer(folder);
  if (tokenizer.eosTokenId === null) {
    throw new ConfigError(
      `[${folder.path}] tokenizer names no end token: got none, expected eos_token in tokenizer_config.json, or ` +
        "eos_token_id in generation_config.json. Add it.",
    );
  }
  if (config.prompt.format !== "plain") {
    const { text: shown } = encodeContent(tokenizer, config.prompt.format, CONTENT_PLACE);
    if (!shown.includes(CONTENT_PLACE)) {
      throw new ConfigError(
        `[${folder.path}] chat template leaves out what a user says: got "${printable(cut(shown))}", expected a text that holds it. Mend chat_template.jinja or chat_template in tokenizer_config.json, or set prompt.format to plain.`,
      );
    }
  }
  checkAdapter(folder.config, config);
  checkLengths(folder.config, config);
}

function checkAdapter(model: Qwen2Config, { lora: { rank, targets } }: TrainConfig): void {
  if (rank !== null) checkRank(model, { rank, targets });
}

function checkLengths(
  { max_position_embeddings: longest }: Qwen2Config,
  { prompt, grpo }: Pick<TrainConfig, "prompt" | "grpo">,
): void {
  const tokens = grpo.max_completion_length + (prompt.max_tokens ?? 1);
  if (tokens <= longest) return;
  throw new ConfigError(
    `[grpo.max_completion_length] prompt and answer are longer than the model reads: got at least ${tokens} tokens, expected ` +
      `at most ${longest} (max_position_embeddings). Lower grpo.max_completion_length or prompt.max_tokens.`,
  );
}
