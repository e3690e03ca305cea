/** Writes a model folder that Hugging Face's libraries load. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "../../core/errors.js";
import { configJson, type Qwen2Config } from "../../model/config.js";
import { withEndTokens } from "../../model/end_tokens.js";
import type { FloatDtype } from "../../model/safetensors.js";
import { INDEX_FILE, planShards, shardIndexJson } from "../../model/safetensors_shards.js";
import { safetensorsChunks, type TensorSource } from "../../model/safetensors_write.js";
import type { TokenizerFiles } from "../../model/tokenizer.js";
import type { JsonObject } from "../../model/tokenizer_files.js";
import { pathExists, replaceDirectoryAtomic, writeFileAtomic } from "../files/files.js";
import { jsonText } from "../files/json_file.js";
import { checkTensors } from "./weight_files.js";

/** What a model folder is written from. */
export interface ModelFolderContent {
  readonly config: Qwen2Config;
  /** The tensors of `parameterShapes(config)`; each is asked for its data when its turn comes. */
  readonly tensors: readonly TensorSource[];
  readonly tokenizer?: TokenizerFiles | null;
  /** `generation_config.json` of the model that was trained: kept, with the end tokens added. Default: the token ids of the
   *  configuration. */
  readonly generationConfig?: JsonObject;
  /** Ids that end an answer of this model: both configurations list them. Default: those that they have. */
  readonly endTokenIds?: readonly number[];
}

export interface WriteModelOptions {
  /** Dtype on disk. Default: `torch_dtype` of the configuration, which is written to match. */
  readonly dtype?: FloatDtype;
  /** Bytes of tensor data above which another file begins. Default 5 GB. */
  readonly maxShardBytes?: number;
  /** Replace a model folder that is already there. Default false. */
  readonly replace?: boolean;
}

const TORCH_DTYPES = { F32: "float32", F16: "float16", BF16: "bfloat16" } as const;

function fileDtype(config: Qwen2Config): FloatDtype {
  return config.torch_dtype === "float32" ? "F32" : config.torch_dtype === "float16" ? "F16" : "BF16";
}

/** @throws ConfigError for anything there but an empty folder or, with `replace`, a folder that holds a model */
export async function checkModelTarget(path: string, replace: boolean): Promise<void> {
  if (!(await pathExists(path))) return;
  if (!(await stat(path)).isDirectory()) {
    throw new ConfigError(
      `[${path}] model cannot be written: got a file of that name, expected a folder or nothing. Choose another name.`,
    );
  }
  const entries = await readdir(path);
  if (entries.length === 0 || (replace && entries.includes("config.json"))) return;
  throw new ConfigError(
    `[${path}] folder is not empty: got ${entries.length} entries, expected a new or empty folder` +
      `${replace ? ", or one that holds a model (config.json)" : ""}. Choose another name.`,
  );
}

async function writeTokenizer(folder: string, files: TokenizerFiles): Promise<void> {
  await writeFileAtomic(join(folder, "tokenizer.json"), jsonText(files.tokenizerJson));
  await writeFileAtomic(join(folder, "tokenizer_config.json"), jsonText(files.tokenizerConfig));
  for (const [name, content] of [
    ["special_tokens_map.json", files.specialTokensMap],
    ["added_tokens.json", files.addedTokens],
  ] as const) {
    if (content !== undefined) await writeFileAtomic(join(folder, name), jsonText(content));
  }
  if (files.chatTemplate !== undefined) {
    await writeFileAtomic(join(folder, "chat_template.jinja"), files.chatTemplate);
  }
  for (const [name, template] of Object.entries(files.namedChatTemplates ?? {})) {
    await writeFileAtomic(join(folder, "additional_chat_templates", `${name}.jinja`), template);
  }
}

/**
 * Writes all of a model folder but its weights. The folder appears whole or not at all.
 * @param path folder that is not there
 * @param beside further JSON files by name
 */
export async function writeModelParts(
  path: string,
  content: Omit<ModelFolderContent, "tensors">,
  beside: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  await replaceDirectoryAtomic(path, async (folder) => {
    for (const [name, json] of Object.entries(beside))
      await writeFileAtomic(join(folder, name), jsonText(json));
    await writeFileAtomic(join(folder, "config.json"), jsonText(configJson(content.config)));
    await writeFileAtomic(
      join(folder, "generation_config.json"),
      jsonText(content.generationConfig ?? generationDefaults(content.config)),
    );
    if (content.tokenizer) await writeTokenizer(folder, content.tokenizer);
  });
}

/** What `generation_config.json` says of a model that brought none. */
function generationDefaults(config: Qwen2Config): JsonObject {
  const { bos_token_id, eos_token_id, pad_token_id } = config;
  const ids = Object.entries({ bos_token_id, eos_token_id, pad_token_id }).filter(([, id]) => id !== null);
  return { _from_model_config: true, ...Object.fromEntries(ids) };
}

function generationJson({ config, generationConfig, endTokenIds = [] }: ModelFolderContent): JsonObject {
  const isGiven = generationConfig !== undefined && Object.keys(generationConfig).length > 0;
  const base = isGiven ? generationConfig : generationDefaults(config);
  const ends = withEndTokens(base.eos_token_id, endTokenIds);
  return ends === null ? base : { ...base, eos_token_id: ends };
}

/**
 * Writes a model folder that Hugging Face's libraries load: config.json, model.safetensors (or shards with an index),
 * generation_config.json and, where given, the tokenizer files. The folder appears whole or not at all.
 * @param path folder to make
 * @throws ConfigError when the folder is there and may not be replaced
 * @throws DataError when the tensors are not those of the configuration, or a value does not fit the dtype
 */
export async function writeModelFolder(
  path: string,
  content: ModelFolderContent,
  options: WriteModelOptions = {},
): Promise<void> {
  const dtype = options.dtype ?? fileDtype(content.config);
  const { eos_token_id: ends } = content.config;
  const config: Qwen2Config = {
    ...content.config,
    torch_dtype: TORCH_DTYPES[dtype],
    eos_token_id: withEndTokens(ends, content.endTokenIds ?? []),
  };
  checkTensors(config, new Map(content.tensors.map((tensor) => [tensor.name, tensor])), path);
  await checkModelTarget(path, options.replace ?? false);
  const shards = planShards(content.tensors, dtype, options.maxShardBytes);
  await replaceDirectoryAtomic(path, async (folder) => {
    await writeFileAtomic(join(folder, "config.json"), jsonText(configJson(config)));
    await writeFileAtomic(
      join(folder, "generation_config.json"),
      jsonText(generationJson({ ...content, config })),
    );
    if (content.tokenizer) await writeTokenizer(folder, content.tokenizer);
    for (const { file, tensors } of shards) {
      await writeFileAtomic(join(folder, file), safetensorsChunks(tensors, { dtype }));
    }
    if (shards.length > 1) {
      await writeFileAtomic(join(folder, INDEX_FILE), jsonText(shardIndexJson(shards, dtype)));
    }
  });
}
