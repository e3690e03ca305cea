/** A low-rank adapter as PEFT lays it out: adapter_config.json and adapter_model.safetensors in one folder. */
import { join } from "node:path";
import { DataError } from "../../core/errors.js";
import { cut, printable } from "../../core/shown.js";
import type { Qwen2Config } from "../../model/config.js";
import { LoraAdapter } from "../../model/lora.js";
import { factorShapes, type LoraConfig, parsePeftConfig, peftConfigJson } from "../../model/lora_config.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import { safetensorsChunks } from "../../model/safetensors_write.js";
import { replaceDirectoryAtomic, writeFileAtomic } from "../files/files.js";
import { jsonText, readJsonFile } from "../files/json_file.js";
import { openTensorFile, type TensorFiles } from "../files/tensor_files.js";
import { baseFingerprint } from "./base_fingerprint.js";
import { checkFinite } from "./finite.js";
import type { ModelFolder } from "./model_folder.js";

const CONFIG_FILE = "adapter_config.json";
const TENSOR_FILE = "adapter_model.safetensors";
/** In the metadata of the factors: PEFT refuses strange fields in its configuration, and passes this over. */
const BASE_FIELD = "base_model_fingerprint";

export interface AdapterFolder {
  readonly path: string;
  readonly lora: LoraConfig;
  readonly tensors: TensorFiles;
  /** Of the model that it was trained on; adapters from elsewhere have none. */
  readonly baseFingerprint: string | undefined;
}

/** The model below an adapter. */
export interface AdapterBase {
  /** Name or folder; null = none. */
  readonly path: string | null;
  readonly fingerprint?: string | undefined;
}

/**
 * Opens an adapter folder: its settings and the names and shapes of its factors.
 * @throws DataError when a file is missing or malformed, or something in it is not supported, by name
 */
export async function readAdapterFolder(path: string): Promise<AdapterFolder> {
  const file = join(path, CONFIG_FILE);
  const json = await readJsonFile(file);
  const tensors = await openTensorFile(join(path, TENSOR_FILE));
  const lora = parsePeftConfig(json, file, tensors.tensors.keys());
  return { path, lora, tensors, baseFingerprint: tensors.metadata[BASE_FIELD] };
}

/**
 * A model with the adapter of a folder.
 * @param model its parameters are frozen; they and it stay with their owner
 * @param options `requiresGrad` false: the changes are added to the model's own weights, and nothing else is kept; of bf16
 *   weights, which cannot be written, the factors are kept beside
 * @throws DataError when the factors are not those of this model, or hold values that are not finite
 */
export async function withAdapterFolder(
  model: Qwen2Model,
  adapterFolder: AdapterFolder,
  { requiresGrad }: { readonly requiresGrad: boolean },
): Promise<Qwen2Model> {
  const { launcher, config, parameters } = model;
  const { lora } = adapterFolder;
  checkAdapter(adapterFolder, config);
  const adapter = new LoraAdapter(launcher, parameters, config, lora, { requiresGrad });
  for (const { name } of adapter.parameters.named) {
    adapter.parameters.load(name, await readFactor(adapterFolder, name));
  }
  if (requiresGrad || !adapter.isMerged) return model.withAdapter(adapter);
  adapter.addTo(parameters);
  adapter.release();
  return model;
}

/** A factor's values. @throws DataError when they are not finite */
export async function readFactor({ path, tensors }: AdapterFolder, name: string): Promise<Float32Array> {
  const values = await tensors.read(name);
  checkFinite(values, path, name, "Use another adapter");
  return values;
}

/**
 * Whether a model is the one that an adapter was trained on.
 * @returns what the user should know: nothing, or that it cannot be told
 * @throws DataError when it is another one
 */
export async function checkBaseModel(
  { path, baseFingerprint: expected }: AdapterFolder,
  model: Pick<ModelFolder, "path" | "config" | "tensors">,
): Promise<string[]> {
  if (expected === undefined) {
    return [
      `[${path}] adapter does not say by which weights it was trained: whether ${model.path} is its model is not checked`,
    ];
  }
  const found = await baseFingerprint(model);
  if (found === expected) return [];
  throw new DataError(
    `[${path}] adapter was trained on another model: got one with the fingerprint ${found} in ${model.path}, expected ${expected}. ` +
      "Use the model that the adapter was trained on.",
  );
}

/** @throws DataError when the factors of an adapter are not those of a model of this shape */
export function checkAdapter({ path, lora, tensors: { tensors } }: AdapterFolder, config: Qwen2Config): void {
  const expected = new Map(factorShapes(config, lora).map(({ name, shape }) => [name, shape]));
  const problems: string[] = [];
  for (const [name, shape] of expected) {
    const found = tensors.get(name)?.shape;
    if (found === undefined) problems.push(`missing ${name} [${shape.join(", ")}]`);
    else if (found.join() !== shape.join())
      problems.push(`misshapen ${name} [${found.join(", ")}] where [${shape.join(", ")}] is expected`);
  }
  for (const [name, { shape }] of tensors)
    if (!expected.has(name)) problems.push(`unexpected ${printable(cut(name))} [${shape.join(", ")}]`);
  if (problems.length === 0 && expected.size > 0) return;
  const shown = problems.slice(0, 8);
  if (problems.length > shown.length) shown.push(`${problems.length - shown.length} more`);
  throw new DataError(
    `[${join(path, TENSOR_FILE)}] factors do not fit the model: got ${shown.join("; ") || "none"}, expected A and B of rank ${lora.rank} for the same matrices of each of its ${config.num_hidden_layers} layers. ` +
      "Use the model that the adapter was trained on.",
  );
}

/**
 * Writes an adapter folder that PEFT loads. It appears whole or not at all, in place of one that is there.
 * @param base the model below: its name for `adapter_config.json`, its fingerprint for `checkBaseModel`
 */
export async function writeAdapterFolder(
  path: string,
  adapter: LoraAdapter,
  { path: base, fingerprint }: AdapterBase,
): Promise<void> {
  const { parameters, lora } = adapter;
  const tensors = parameters.named.map(({ name, shape }) => ({
    name,
    shape,
    data: () => parameters.read(name),
  }));
  const metadata: Record<string, string> = fingerprint === undefined ? {} : { [BASE_FIELD]: fingerprint };
  await replaceDirectoryAtomic(path, async (folder) => {
    await writeFileAtomic(join(folder, CONFIG_FILE), jsonText(peftConfigJson(lora, base)));
    await writeFileAtomic(join(folder, TENSOR_FILE), safetensorsChunks(tensors, { dtype: "F32", metadata }));
  });
}
