/** Which files of a model folder its weights are read from, and what is said about tensors that do not fit. */
import { join } from "node:path";
import { DataError } from "../../core/errors.js";
import { cut, printable } from "../../core/shown.js";
import type { Qwen2Config } from "../../model/config.js";
import { parameterShapes } from "../../model/parameters.js";
import { INDEX_FILE, SINGLE_FILE } from "../../model/safetensors_shards.js";
import { openShards, openTensorFile, type TensorFiles } from "../files/tensor_files.js";

export const EMBEDDING = "model.embed_tokens.weight";
export const OUTPUT = "lm_head.weight";

export interface OpenWeights {
  readonly tensors: TensorFiles;
  /** What the user should know: which of two sets was read. */
  readonly notes: readonly string[];
}

/** Files that hold weights in ways that are not read, and what to do about them. */
const OTHERS: readonly (readonly [pattern: RegExp, cure: string])[] = [
  [
    /^adapter_model\.safetensors$/,
    "These are weights of an adapter (LoRA): merge them into the model first.",
  ],
  [
    /^pytorch_model.*\.bin(\.index\.json)?$/,
    "Convert them to safetensors, by save_pretrained of transformers.",
  ],
  [/\.(pt|pth|ckpt|bin)$/, "Convert them to safetensors."],
  [/\.gguf$/, "Use the safetensors that it was made from."],
  [
    /^model-\d+-of-\d+\.safetensors$/,
    `These are parts of a set: fetch ${INDEX_FILE}, which names all of them.`,
  ],
  [/\.safetensors$/, `Give the file the name ${SINGLE_FILE}.`],
];

/**
 * Opens the weights of a folder: `model.safetensors`, else the files that `model.safetensors.index.json` names, in the order in
 * which transformers looks.
 * @param entries names in the folder
 * @throws DataError when there are none, naming what there is
 */
export async function openWeights(folder: string, entries: readonly string[]): Promise<OpenWeights> {
  const [single, index] = [join(folder, SINGLE_FILE), join(folder, INDEX_FILE)];
  if (entries.includes(SINGLE_FILE)) {
    const tensors = await openTensorFile(single);
    const note = `[${folder}] two sets of weights: ${SINGLE_FILE} was read, ${INDEX_FILE} and its files were not`;
    return { tensors, notes: entries.includes(INDEX_FILE) ? [note] : [] };
  }
  if (entries.includes(INDEX_FILE)) return { tensors: await openShards(index), notes: [] };
  for (const [pattern, cure] of OTHERS) {
    const found = entries.filter((name) => pattern.test(name));
    if (found.length === 0) continue;
    throw new DataError(
      `[${single}] file is missing: got ${printable(cut(found.join(", "), 120))}, expected ${SINGLE_FILE} or ${INDEX_FILE}. ${cure}`,
    );
  }
  throw new DataError(
    `[${single}] file is missing: got ENOENT, expected ${SINGLE_FILE} or ${INDEX_FILE}. Check the path, or download the ` +
      "file again.",
  );
}

/** Rotary frequencies that old checkpoints stored: they follow from the configuration. */
const IGNORED = /\.rotary_emb\.inv_freq$/;

type Shapes = ReadonlyMap<string, { readonly shape: readonly number[] }>;

/** What was done to names, by what has to be put in front of a present one, or taken away, to find an expected one. */
const RENAMINGS: readonly (readonly [restore: (name: string) => string, what: string, cure: string])[] = [
  [
    (name) => `model.${name}`,
    "names without `model.`: the weights of Qwen2Model (AutoModel)",
    "Save the model by AutoModelForCausalLM.",
  ],
  [
    (name) => name.replace(/^_orig_mod\./, ""),
    "names that begin with `_orig_mod.`, as torch.compile makes them",
    "Save the model that was compiled, without the wrapper.",
  ],
  [
    (name) => name.replace(/^module\./, ""),
    "names that begin with `module.`, as DataParallel makes them",
    "Save the model inside the wrapper.",
  ],
  [
    (name) => name.replace(/^base_model\.model\./, "").replace(/\.base_layer\./, "."),
    "names of an adapter (PEFT)",
    "Merge the adapter into the model first.",
  ],
  [
    (name) =>
      name
        .replace(/^(model\.)?(language_model|text_model|transformer|policy|actor)\./, "")
        .replace(/^(?!model\.|lm_head)/, "model."),
    "names of a part of a larger model",
    "Save the language model alone.",
  ],
];

/** Says how present names differ from expected ones as a whole, where one change explains most of them. */
function renaming(expected: ReadonlyMap<string, unknown>, present: Shapes): string | undefined {
  const strange = [...present.keys()].filter((name) => !expected.has(name) && !IGNORED.test(name));
  if (strange.length < expected.size / 2) return undefined;
  for (const [restore, what, cure] of RENAMINGS) {
    const explained = strange.filter((name) => expected.has(restore(name)) && restore(name) !== name);
    if (explained.length > strange.length / 2) {
      return `got ${present.size} tensors with ${what}, such as ${printable(cut(explained[0]))}, expected ${EMBEDDING} and so on. ${cure}`;
    }
  }
  return undefined;
}

/** Compares expected and present tensors. @returns one line for each difference */
function differences(
  config: Qwen2Config,
  expected: ReadonlyMap<string, readonly number[]>,
  present: Shapes,
): string[] {
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
    if (!expected.has(name) && !IGNORED.test(name)) {
      problems.push(`unexpected ${printable(cut(name))} [${shape.join(", ")}]`);
    }
  }
  return problems;
}

/** @throws DataError when tensors are not those of the configuration */
export function checkTensors(config: Qwen2Config, present: Shapes, where: string): void {
  const expected = new Map(parameterShapes(config).map(({ name, shape }) => [name, shape]));
  const problems = differences(config, expected, present);
  if (problems.length === 0) return;
  const renamed = renaming(expected, present);
  if (renamed !== undefined) throw new DataError(`[${where}] tensors have other names: ${renamed}`);
  const shownProblems = problems.slice(0, 20);
  if (problems.length > shownProblems.length)
    shownProblems.push(`${problems.length - shownProblems.length} more`);
  const untied =
    problems.length === 1 && problems[0].startsWith(`missing ${OUTPUT}`)
      ? " If the output is the embedding, config.json must say so: tie_word_embeddings true."
      : "";
  throw new DataError(
    `[${where}] tensors do not fit config.json: got ${shownProblems.join("; ")} among ${present.size} tensors, expected ` +
      "exactly the tensors of a Qwen2 model of this configuration. Use weights and config.json of the same model." +
      untied,
  );
}
