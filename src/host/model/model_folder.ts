/** A model as Hugging Face lays it out: config.json, safetensors, tokenizer files, in one folder. */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError, DataError } from "../../core/errors.js";
import { configJson, parseQwen2Config, type Qwen2Config } from "../../model/config.js";
import { elementCount, parameterShapes } from "../../model/parameters.js";
import type { FloatDtype } from "../../model/safetensors.js";
import { INDEX_FILE, planShards, SINGLE_FILE, shardIndexJson } from "../../model/safetensors_shards.js";
import { safetensorsChunks, type TensorSource } from "../../model/safetensors_write.js";
import { Tokenizer, type TokenizerFiles } from "../../model/tokenizer.js";
import { pathExists, replaceDirectoryAtomic, writeFileAtomic } from "../files/files.js";
import { jsonText, readJsonFile, readOptionalJsonFile } from "../files/json_file.js";
import { openShards, openTensorFile, type TensorFiles } from "../files/tensor_files.js";

type JsonObject = Readonly<Record<string, unknown>>;

export interface ModelFolder {
  readonly path: string;
  readonly config: Qwen2Config;
  /** Null when the folder has no tokenizer.json. */
  readonly tokenizer: TokenizerFiles | null;
  /** Parsed `generation_config.json`, empty when there is none. */
  readonly generationConfig: JsonObject;
  /** The tensors of `parameterShapes(config)`, checked; perhaps also ones that can be ignored. */
  readonly tensors: TensorFiles;
}

const EMBEDDING = "model.embed_tokens.weight";
const OUTPUT = "lm_head.weight";

/** Rotary frequencies that old checkpoints stored: they follow from the configuration. */
const IGNORED = /\.rotary_emb\.inv_freq$/;

/** Compares expected and present tensors. @returns one line for each difference */
function differences(
  config: Qwen2Config,
  present: ReadonlyMap<string, { readonly shape: readonly number[] }>,
): string[] {
  const expected = new Map(parameterShapes(config).map(({ name, shape }) => [name, shape]));
  const problems: string[] = [];
  for (const [name, shape] of expected) {
    const found = present.get(name)?.shape;
    if (found === undefined) problems.push(`missing ${name} [${shape.join(", ")}]`);
    else if (found.join() !== shape.join()) {
      problems.push(`misshapen ${name} [${found.join(", ")}] where [${shape.join(", ")}] is expected`);
    }
  }
  for (const [name, { shape }] of present) {
    const tiedOutput = name === OUTPUT && config.tie_word_embeddings;
    if (tiedOutput && shape.join() === expected.get(EMBEDDING)?.join()) continue;
    if (!expected.has(name) && !IGNORED.test(name)) problems.push(`unexpected ${name} [${shape.join(", ")}]`);
  }
  return problems;
}

function checkTensors(
  config: Qwen2Config,
  present: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  where: string,
): void {
  const problems = differences(config, present);
  if (problems.length === 0) return;
  const shown = problems.slice(0, 20);
  if (problems.length > shown.length) shown.push(`${problems.length - shown.length} more`);
  throw new DataError(
    `[${where}] tensors do not fit config.json: got ${shown.join("; ")}, expected exactly the tensors of a Qwen2 model ` +
      "of this configuration. Use weights and config.json of the same model.",
  );
}

const COMPARED_ELEMENTS = 1 << 22;

/** A stored output projection of a tied model may only repeat the embedding. */
async function checkTiedOutput(config: Qwen2Config, tensors: TensorFiles, where: string): Promise<void> {
  if (!config.tie_word_embeddings || !tensors.tensors.has(OUTPUT)) return;
  const total = elementCount([config.vocab_size, config.hidden_size]);
  for (let first = 0; first < total; first += COMPARED_ELEMENTS) {
    const count = Math.min(COMPARED_ELEMENTS, total - first);
    const embedding = await tensors.readElements(EMBEDDING, first, count);
    const output = await tensors.readElements(OUTPUT, first, count);
    const index = embedding.findIndex((value, i) => !Object.is(value, output[i]));
    if (index >= 0) {
      throw new DataError(
        `[${where}] ${OUTPUT} differs from the embedding it is tied to: got ${output[index]} at element ` +
          `${first + index}, expected ${embedding[index]}. Set tie_word_embeddings to false in config.json, or remove ` +
          "the tensor.",
      );
    }
  }
}

async function readTokenizer(folder: string): Promise<TokenizerFiles | null> {
  const tokenizerJson = await readOptionalJsonFile(join(folder, "tokenizer.json"));
  if (tokenizerJson === undefined) return null;
  const tokenizerConfig = (await readOptionalJsonFile(join(folder, "tokenizer_config.json"))) ?? {};
  const template = join(folder, "chat_template.jinja");
  return {
    tokenizerJson: tokenizerJson as JsonObject,
    tokenizerConfig: tokenizerConfig as JsonObject,
    ...((await pathExists(template)) && { chatTemplate: await readFile(template, "utf8") }),
  };
}

/**
 * Opens a model folder: reads config.json, the tokenizer files and the headers of the weights, and checks names and
 * shapes. Tensor data is read later, tensor by tensor, through `tensors.read`.
 * @remarks a model with tied embeddings may store `lm_head.weight` all the same: it must equal the embedding, which is
 *   compared here. Stored rotary frequencies (`rotary_emb.inv_freq`) are ignored.
 * @throws DataError when a file is missing or malformed, or with a list of all missing, unexpected and misshapen tensors
 */
export async function readModelFolder(path: string): Promise<ModelFolder> {
  const configPath = join(path, "config.json");
  const config = parseQwen2Config(await readJsonFile(configPath), configPath);
  const index = join(path, INDEX_FILE);
  const tensors = (await pathExists(index))
    ? await openShards(index)
    : await openTensorFile(join(path, SINGLE_FILE));
  checkTensors(config, tensors.tensors, path);
  await checkTiedOutput(config, tensors, path);
  return {
    path,
    config,
    tokenizer: await readTokenizer(path),
    generationConfig: ((await readOptionalJsonFile(join(path, "generation_config.json"))) ??
      {}) as JsonObject,
    tensors,
  };
}

/**
 * The tokenizer of a model folder.
 * @throws DataError when there is none, it is malformed, or it has more tokens than the model has rows
 */
export function openTokenizer(folder: ModelFolder): Tokenizer {
  const file = join(folder.path, "tokenizer.json");
  if (folder.tokenizer === null) {
    throw new DataError(
      `[${file}] tokenizer is missing: got no file, expected the model's tokenizer.json. Copy it and ` +
        "tokenizer_config.json from the model.",
    );
  }
  const tokenizer = new Tokenizer(folder.tokenizer, file);
  if (tokenizer.vocabularySize > folder.config.vocab_size) {
    throw new DataError(
      `[${file}] tokenizer does not fit the model: got ${tokenizer.vocabularySize} tokens, expected at most ` +
        `vocab_size ${folder.config.vocab_size} of config.json. Use the tokenizer that belongs to the model.`,
    );
  }
  return tokenizer;
}

/** What a model folder is written from. */
export interface ModelFolderContent {
  readonly config: Qwen2Config;
  /** The tensors of `parameterShapes(config)`; each is asked for its data when its turn comes. */
  readonly tensors: readonly TensorSource[];
  readonly tokenizer?: TokenizerFiles | null;
  /** Default: the token ids of the configuration. */
  readonly generationConfig?: JsonObject;
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

/** Refuses to replace anything but an empty folder or, when asked to, a folder that holds a model. */
async function checkTarget(path: string, replace: boolean): Promise<void> {
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
  if (files.chatTemplate !== undefined) {
    await writeFileAtomic(join(folder, "chat_template.jinja"), files.chatTemplate);
  }
}

function generationDefaults(config: Qwen2Config): JsonObject {
  const ids = {
    bos_token_id: config.bos_token_id,
    eos_token_id: config.eos_token_id,
    pad_token_id: config.pad_token_id,
  };
  return {
    _from_model_config: true,
    ...Object.fromEntries(Object.entries(ids).filter(([, id]) => id !== null)),
  };
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
  const config: Qwen2Config = { ...content.config, torch_dtype: TORCH_DTYPES[dtype] };
  checkTensors(config, new Map(content.tensors.map((tensor) => [tensor.name, tensor])), path);
  await checkTarget(path, options.replace ?? false);
  const shards = planShards(content.tensors, dtype, options.maxShardBytes);
  await replaceDirectoryAtomic(path, async (folder) => {
    await writeFileAtomic(join(folder, "config.json"), jsonText(configJson(config)));
    await writeFileAtomic(
      join(folder, "generation_config.json"),
      jsonText(content.generationConfig ?? generationDefaults(config)),
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
