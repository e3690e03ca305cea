/** From a training configuration to the world, tokenizer and policy that it names. */

import { join } from "node:path";
import { FlatParameters } from "../../autograd/flat_parameters.js";
import type { TrainConfig } from "../../config/schema.js";
import { storageOf } from "../../config/sections.js";
import { householdOptions, scienceWorldOptions } from "../../config/world_options.js";
import { ConfigError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import { Random } from "../../core/random.js";
import { withDerivedSplits } from "../../env/derived_splits.js";
import { householdWorld } from "../../env/household/world.js";
import type { World } from "../../env/world.js";
import type { Launcher } from "../../kernels/index.js";
import { type PresetName, presetConfig } from "../../model/config.js";
import { LoraAdapter } from "../../model/lora.js";
import { checkRank, type LoraConfig } from "../../model/lora_config.js";
import { storedShapes } from "../../model/parameters.js";
import { Qwen2Model } from "../../model/qwen2.js";
import { Tokenizer } from "../../model/tokenizer.js";
import { buildWordTokenizer } from "../../model/word_tokenizer.js";
import { CORRECTION_WORDS } from "../../rl/correction/instructions.js";
import { JUDGE_WORDS } from "../../rl/gcd/judge.js";
import { STEP_TAGS } from "../../rl/play/action.js";
import { readConfigText } from "../files/config_text.js";
import { pathExists } from "../files/files.js";
import {
  type AdapterFolder,
  checkBaseModel,
  readAdapterFolder,
  withAdapterFolder,
} from "../model/adapter_folder.js";
import { baseFingerprint } from "../model/base_fingerprint.js";
import { type ModelFolder, readModelParts } from "../model/model_folder.js";
import { loadPolicy, policyTokenizer } from "../model/policy_folder.js";
import { openAlfworldFolder } from "../worlds/alfworld_folder.js";
import { openExternalWorld } from "../worlds/external_world.js";
import { openOpenenvWorld } from "../worlds/openenv_client.js";
import { openScienceWorld } from "../worlds/scienceworld.js";

/** Numbers that a word tokenizer always knows, so that unseen games with more receptacles can be read. */
const NUMBERS_UP_TO = 30;

/** Opens the world of a configuration, with its further splits. @throws ConfigError when data is missing */
export async function openTrainingWorld(config: TrainConfig, logger?: Logger): Promise<World> {
  return withDerivedSplits(await openBareWorld(config, logger), config.world.splits);
}

async function openBareWorld(config: TrainConfig, logger: Logger | undefined): Promise<World> {
  const { world } = config;
  switch (world.id) {
    case "household":
      return householdWorld(householdOptions(world));
    case "alfworld":
      return openAlfworld(world, logger);
    case "scienceworld":
      return openScienceWorld(scienceWorldOptions(config));
    case "external":
      return openExternalWorld({
        command: world.command ?? [],
        timeLimit: world.process_time_limit,
        maxEnvironments: world.max_environments ?? undefined,
      });
    case "openenv":
      return openServer(world);
  }
}

async function openAlfworld(world: TrainConfig["world"], logger: Logger | undefined): Promise<World> {
  if (world.path === null) {
    throw new ConfigError(
      "[train] world.path is missing: expected the folder of ALFWorld's data. Set it, or the environment variable ALFWORLD_DATA.",
    );
  }
  return openAlfworldFolder(world.path, {
    domainFile: world.domain ?? undefined,
    grammarFile: world.grammar ?? undefined,
    logger,
  });
}

/** The world of an OpenEnv server. Its token lies in a file, since configurations are kept with runs. */
async function openServer(world: TrainConfig["world"]): Promise<World> {
  const { url, token_file, max_environments } = world;
  return openOpenenvWorld({
    url: url ?? "",
    token: token_file === null ? undefined : (await readConfigText(token_file)).trim(),
    timeLimit: world.process_time_limit,
    maxEnvironments: max_environments ?? undefined,
    actionField: world.action_field,
    textField: world.text_field,
  });
}

/** Settings of the adapter that a configuration trains; undefined where it trains the weights. @throws DataError */
export async function loraOf({ lora }: Pick<TrainConfig, "lora">): Promise<LoraConfig | undefined> {
  if (lora.path !== null) return (await readAdapterFolder(lora.path)).lora;
  const { rank, alpha, dropout, targets, rank_stabilised: isRankStabilised } = lora;
  return rank === null ? undefined : { rank, alpha, dropout, targets, isRankStabilised };
}

/** The folder of an adapter that goes on training. */
async function adapterOf({ lora }: TrainConfig): Promise<AdapterFolder | undefined> {
  return lora.path === null ? undefined : readAdapterFolder(lora.path);
}

/**
 * The adapter that a configuration asks for, on top of a frozen model; without one, the model.
 * @param known the folder at `lora.path`
 */
async function adapted(
  model: Qwen2Model,
  config: TrainConfig,
  known: AdapterFolder | undefined,
): Promise<Qwen2Model> {
  if (known) return withAdapterFolder(model, known, { requiresGrad: true });
  const lora = await loraOf(config);
  if (!lora) return model;
  checkRank(model.config, lora);
  const adapter = new LoraAdapter(model.launcher, model.parameters, model.config, lora);
  adapter.initialise(Random.of(config.model.seed, "adapter", config.seed));
  return model.withAdapter(adapter);
}

export interface OpenPolicy {
  readonly model: Qwen2Model;
  /** Of the model folder below an adapter. */
  readonly fingerprint?: string;
  readonly tokenizer: Tokenizer;
  /** `generation_config.json` of the model folder; empty for fresh weights. */
  readonly generationConfig: ModelFolder["generationConfig"];
  /** What the user should know about what was read. */
  readonly notes: readonly string[];
}

/** Whether a configuration trains an adapter, and not the policy's own weights. */
export function isAdapted({ lora }: Pick<TrainConfig, "lora">): boolean {
  return lora.rank !== null || lora.path !== null;
}

/** Whether a run has to do with what it kept of a model folder that is no longer there. */
export async function usesKept(path: string, kept: string): Promise<boolean> {
  return !(await pathExists(join(path, "config.json"))) && (await pathExists(join(kept, "config.json")));
}

/** @throws ConfigError: checkpoints of an adapter do not hold the model below it */
export function checkBase(config: TrainConfig, path: string): void {
  if (!isAdapted(config)) return;
  throw new ConfigError(
    `[model.path] model below the adapter is gone: got no config.json in ${path}, expected the folder that the run began with. Bring it back, or name its new place by model.path.`,
  );
}

/**
 * The policy, stored as `model.precision` says, and its tokenizer: of its model folder, or one token a word of the world for
 * fresh weights.
 * @param kept what a run that goes on kept of its model folder: stands in where that is gone; the weights come from a checkpoint
 * @throws AdapterError for mixed precision on an adapter without f16
 */
export async function openPolicy(
  config: TrainConfig,
  world: World,
  launcher: Launcher,
  kept?: string,
): Promise<OpenPolicy> {
  const storage = storageOf(config.model.precision);
  const { fused, gradient_checkpointing: recompute } = config.model;
  const requiresGrad = !isAdapted(config);
  if (config.model.path !== null && kept !== undefined && (await usesKept(config.model.path, kept))) {
    checkBase(config, config.model.path);
    const parts = await readModelParts(kept);
    const parameters = new FlatParameters(launcher.runtime, storedShapes(parts.config), { storage });
    const { generationConfig } = parts;
    const model = new Qwen2Model(launcher, parts.config, parameters, { fused, recompute });
    return { model, tokenizer: policyTokenizer(parts), generationConfig, notes: [] };
  }
  if (config.model.path !== null) {
    const { model, folder } = await loadPolicy(launcher, config.model.path, {
      storage,
      fused,
      recompute,
      requiresGrad,
    });
    const { generationConfig } = folder;
    const adapter = await adapterOf(config);
    return {
      model: await adapted(model, config, adapter),
      tokenizer: policyTokenizer(folder),
      generationConfig,
      notes: [...folder.notes, ...(adapter ? await checkBaseModel(adapter, folder) : [])],
      ...(!requiresGrad && { fingerprint: await baseFingerprint(folder) }),
    };
  }
  const tokenizer = await wordTokenizer(world);
  const modelConfig = {
    ...presetConfig(config.model.preset as PresetName, tokenizer.vocabularySize),
    bos_token_id: tokenizer.bosTokenId,
    eos_token_id: tokenizer.eosTokenId,
    pad_token_id: tokenizer.padTokenId,
  };
  const parameters = new FlatParameters(launcher.runtime, storedShapes(modelConfig), {
    storage,
    requiresGrad,
  });
  const model = new Qwen2Model(launcher, modelConfig, parameters, { fused, recompute });
  model.initialise(Random.of(config.model.seed, "weights", config.seed));
  return {
    model: await adapted(model, config, await adapterOf(config)),
    tokenizer,
    generationConfig: {},
    notes: [],
  };
}

/** One token a word of the world. @throws ConfigError for a world that shows no texts */
export async function wordTokenizer(world: World): Promise<Tokenizer> {
  if (!world.sampleTexts) {
    throw new ConfigError(
      `[train] world ${world.id} shows no sample texts to build a tokenizer from. Set model.path.`,
    );
  }
  // words of questions, instructions and step tags too: every fresh policy can be asked and told
  const words = [...JUDGE_WORDS, ...CORRECTION_WORDS, ...STEP_TAGS].join(" ");
  const texts = [...(await world.sampleTexts()), "> ; :", words];
  return new Tokenizer(
    buildWordTokenizer(texts, { numbersUpTo: NUMBERS_UP_TO, roles: ["user", "assistant"] }),
  );
}
