/** A model as Hugging Face lays it out, read: config.json, safetensors, tokenizer files, in one folder. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { DataError } from "../../core/errors.js";
import { parseQwen2Config, type Qwen2Config } from "../../model/config.js";
import { endTokenIds } from "../../model/end_tokens.js";
import { elementCount, parameterShapes } from "../../model/parameters.js";
import { checkFloats, type TensorEntry } from "../../model/safetensors.js";
import { Tokenizer, type TokenizerFiles } from "../../model/tokenizer.js";
import { declaredTokens, isObject, type JsonObject, vocabularyOf } from "../../model/tokenizer_files.js";
import { readJsonFile, readOptionalJsonFile, readTextFile } from "../files/json_file.js";
import type { TensorFiles } from "../files/tensor_files.js";
import { checkTensors, EMBEDDING, OUTPUT, openWeights } from "./weight_files.js";

export interface ModelFolder {
  readonly path: string;
  /** Names in the folder. */
  readonly entries: readonly string[];
  readonly config: Qwen2Config;
  /** Null when the folder has no tokenizer.json. */
  readonly tokenizer: TokenizerFiles | null;
  /** Parsed `generation_config.json`, empty when there is none. */
  readonly generationConfig: JsonObject;
  /** Ids that end an answer, from generation_config.json or, where that has none, config.json. */
  readonly endTokenIds: readonly number[];
  /** The tensors of `parameterShapes(config)`, checked; perhaps also ones that can be ignored. */
  readonly tensors: TensorFiles;
  /** What the user should know about what was read. */
  readonly notes: readonly string[];
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

/** Names in a folder. @throws DataError when it cannot be listed */
async function listFolder(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    throw new DataError(
      `[${path}] model folder cannot be read: got ${(error as NodeJS.ErrnoException).code}, expected a folder with ` +
        "config.json, safetensors and tokenizer files. Check the path.",
      { cause: error },
    );
  }
}

/** A file that holds a JSON object, or undefined when there is none. */
async function readObject(folder: string, name: string): Promise<JsonObject | undefined> {
  const path = join(folder, name);
  const json = await readOptionalJsonFile(path);
  if (json === undefined || isObject(json)) return json;
  throw new DataError(
    `[${path}] file is malformed: got no JSON object, expected one. Download the file again.`,
  );
}

const NAMED_TEMPLATES = "additional_chat_templates";

async function readTemplates(folder: string, entries: readonly string[]): Promise<Partial<TokenizerFiles>> {
  const file = "chat_template.jinja";
  const chatTemplate = entries.includes(file) ? await readTextFile(join(folder, file)) : undefined;
  const named: Record<string, string> = {};
  if (entries.includes(NAMED_TEMPLATES)) {
    for (const name of await listFolder(join(folder, NAMED_TEMPLATES))) {
      if (!name.endsWith(".jinja")) continue;
      named[name.slice(0, -".jinja".length)] = await readTextFile(join(folder, NAMED_TEMPLATES, name));
    }
  }
  return {
    ...(chatTemplate !== undefined && { chatTemplate }),
    ...(Object.keys(named).length > 0 && { namedChatTemplates: named }),
  };
}

async function readTokenizer(folder: string, entries: readonly string[]): Promise<TokenizerFiles | null> {
  const tokenizerJson = await readObject(folder, "tokenizer.json");
  if (tokenizerJson === undefined) return null;
  const specialTokensMap = await readObject(folder, "special_tokens_map.json");
  const addedTokens = await readObject(folder, "added_tokens.json");
  return {
    tokenizerJson,
    tokenizerConfig: (await readObject(folder, "tokenizer_config.json")) ?? {},
    ...(await readTemplates(folder, entries)),
    ...(specialTokensMap && { specialTokensMap }),
    ...(addedTokens && { addedTokens }),
  };
}

/** @throws DataError when a tokenizer has ids that the model has no row for */
function checkSize({ tokenizer, config, path }: Pick<ModelFolder, "tokenizer" | "config" | "path">): void {
  if (tokenizer === null || !isObject(tokenizer.tokenizerJson.model)) return;
  const file = join(path, "tokenizer.json");
  const vocabulary = vocabularyOf(tokenizer.tokenizerJson, file);
  const { added } = declaredTokens(tokenizer, vocabulary, file);
  const size =
    1 + [...vocabulary.values(), ...added.map(({ id }) => id)].reduce((a, b) => Math.max(a, b), -1);
  if (size <= config.vocab_size) return;
  throw new DataError(
    `[${file}] tokenizer does not fit the model: got ${size} tokens, expected at most vocab_size ${config.vocab_size} of ` +
      "config.json. Use the tokenizer that belongs to the model.",
  );
}

/** All of a model folder but its weights. */
export type ModelParts = Omit<ModelFolder, "tensors" | "notes">;

/** Reads what lies beside the weights. Same errors as `readModelFolder`. */
export async function readModelParts(path: string): Promise<ModelParts> {
  const entries = await listFolder(path);
  const configPath = join(path, "config.json");
  const config = parseQwen2Config(await readJsonFile(configPath), configPath);
  const generationFile = "generation_config.json";
  const generationConfig = (await readObject(path, generationFile)) ?? {};
  const tokenizer = await readTokenizer(path, entries);
  checkSize({ tokenizer, config, path });
  const ends = endTokenIds(config, generationConfig, join(path, generationFile));
  return { path, entries, config, tokenizer, generationConfig, endTokenIds: ends };
}

/**
 * Opens a model folder: reads config.json, the tokenizer files and the headers of the weights, and checks names and
 * shapes. Tensor data is read later, tensor by tensor, through `tensors.read`.
 * @remarks a model with tied embeddings may store `lm_head.weight` all the same: it must equal the embedding, which is
 *   compared here. Stored rotary frequencies (`rotary_emb.inv_freq`) are ignored.
 * @throws DataError when a file is missing or malformed, the tokenizer has more tokens than the model rows, or with a list of
 *   all missing, unexpected and misshapen tensors
 */
export async function readModelFolder(path: string): Promise<ModelFolder> {
  const parts = await readModelParts(path);
  const { config, entries } = parts;
  const { tensors, notes } = await openWeights(path, entries);
  checkTensors(config, tensors.tensors, path);
  for (const { name } of parameterShapes(config)) checkFloats(tensors.tensors.get(name) as TensorEntry, path);
  await checkTiedOutput(config, tensors, path);
  return { ...parts, tensors, notes };
}

/**
 * The tokenizer of a model folder, with its end tokens.
 * @throws DataError when there is none, or it is malformed
 */
export function openTokenizer(folder: ModelParts): Tokenizer {
  const file = join(folder.path, "tokenizer.json");
  if (folder.tokenizer === null) {
    const others = folder.entries.filter((name) =>
      /^(vocab\.(json|txt)|merges\.txt|.*\.(model|tiktoken))$/.test(name),
    );
    const cure =
      others.length > 0
        ? "Make it from them: AutoTokenizer.from_pretrained(folder).save_pretrained(folder) in transformers."
        : "Copy it and tokenizer_config.json from the model.";
    throw new DataError(
      `[${file}] tokenizer is missing: got ${others.join(", ") || "no file"}, expected the model's tokenizer.json. ${cure}`,
    );
  }
  return new Tokenizer(folder.tokenizer, file, { endTokenIds: folder.endTokenIds });
}
