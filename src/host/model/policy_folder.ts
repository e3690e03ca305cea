/** A model folder as a policy ready to run: weights on the GPU, tokenizer beside them. */
import { FlatParameters, type FlatParametersOptions } from "../../autograd/flat_parameters.js";
import type { Launcher } from "../../kernels/index.js";
import { storedShapes } from "../../model/parameters.js";
import { Qwen2Model, type Qwen2ModelOptions } from "../../model/qwen2.js";
import {
  type AdapterFolder,
  checkAdapter,
  checkBaseModel,
  readAdapterFolder,
  withAdapterFolder,
} from "./adapter_folder.js";
import { loadWeights } from "./load_weights.js";
import { type ModelFolder, openTokenizer, readModelFolder } from "./model_folder.js";

export interface LoadedPolicy {
  readonly model: Qwen2Model;
  readonly folder: ModelFolder;
}

export type LoadPolicyOptions = FlatParametersOptions &
  Pick<Qwen2ModelOptions, "fused" | "recompute"> & {
    /** Folder of an adapter on the model. Its factors are what is trainable then. */
    readonly lora?: string | undefined;
  };

/** A model folder and an adapter on it, of which all but the weights is read and checked. */
export interface PolicyFiles {
  readonly folder: ModelFolder;
  readonly adapter: AdapterFolder | undefined;
}

/**
 * Reads what a policy is made of, without a GPU.
 * @param lora folder of an adapter on the model
 * @throws DataError when files are missing or malformed, or the adapter is of another model
 */
export async function openPolicyFiles(path: string, lora?: string): Promise<PolicyFiles> {
  const folder = await readModelFolder(path);
  if (lora === undefined) return { folder, adapter: undefined };
  const adapter = await readAdapterFolder(lora);
  checkAdapter(adapter, folder.config);
  const notes = [...folder.notes, ...(await checkBaseModel(adapter, folder))];
  return { folder: { ...folder, notes }, adapter };
}

/**
 * Uploads the weights of a model folder.
 * @param from the folder, or what `openPolicyFiles` read of it and of an adapter
 * @param options `requiresGrad` false: no gradient memory (scoring, playing); `storage`: of matrices; `fused` false: plain ops;
 * `lora`: an adapter, which without gradients is added to the weights
 * @throws DataError when files are missing or malformed, hold values that are not finite, or the adapter is of another model
 */
export async function loadPolicy(
  launcher: Launcher,
  from: string | PolicyFiles,
  { fused, recompute, lora, ...options }: LoadPolicyOptions,
): Promise<LoadedPolicy> {
  const { folder, adapter } = typeof from === "string" ? await openPolicyFiles(from, lora) : from;
  const parameters = new FlatParameters(launcher.runtime, storedShapes(folder.config), {
    ...options,
    ...(adapter && { requiresGrad: false }),
  });
  await loadWeights(parameters, folder);
  const model = new Qwen2Model(launcher, folder.config, parameters, { fused, recompute });
  if (!adapter) return { model, folder };
  const requiresGrad = options.requiresGrad !== false;
  return { model: await withAdapterFolder(model, adapter, { requiresGrad }), folder };
}

/** The tokenizer of a policy. @throws DataError when the folder has none */
export const policyTokenizer = openTokenizer;
