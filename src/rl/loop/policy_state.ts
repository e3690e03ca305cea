/** Weights, optimiser and reference policy of a run, as checkpoint tensors and back. */
import { FlatParameters } from "../../autograd/flat_parameters.js";
import { DataError } from "../../core/errors.js";
import type { RecordedTensor } from "../../core/run_record.js";
import { storedShapes } from "../../model/parameters.js";
import { Qwen2Model } from "../../model/qwen2.js";
import type { AdamW } from "../../optim/adamw.js";

/** Where checkpoint tensors are read from. */
export interface TensorReader {
  readonly tensors: ReadonlyMap<string, unknown>;
  read(name: string): Promise<Float32Array>;
}

const REFERENCE = "reference.";

/**
 * Model tensors of a checkpoint: the policy, and the reference policy under a prefix. Read back when their turn comes. Of a policy
 * with an adapter they are its factors: neither the model below nor the reference policy, which it is, ever changes.
 */
export function modelTensors(model: Qwen2Model, reference: Qwen2Model | undefined): RecordedTensor[] {
  const shapes = model.checkpointShapes;
  const tensors = shapes.map(({ name, shape }) => ({ name, shape, data: () => model.trained.read(name) }));
  if (!reference || model.adapter) return tensors;
  return [
    ...tensors,
    ...shapes.map(({ name, shape }) => ({
      name: REFERENCE + name,
      shape,
      data: () => reference.parameters.read(name),
    })),
  ];
}

/** Optimiser tensors of a checkpoint; the integer counter travels as the bits of float32 values. */
export function optimizerTensors(optimizer: AdamW): RecordedTensor[] {
  return optimizer.state().map(({ name, shape, read }) => ({
    name,
    shape,
    data: async () => {
      const values = await read();
      return values instanceof Float32Array ? values : new Float32Array(values.buffer);
    },
  }));
}

/** Gives back what `referenceModel` made. @param model of which it is the reference */
export function releaseReference(reference: Qwen2Model, model: Qwen2Model): void {
  if (reference.parameters !== model.parameters) reference.parameters.release();
  reference.release();
}

/** Loads weights in place. */
export async function restoreModel(model: Qwen2Model, from: TensorReader, prefix = ""): Promise<void> {
  for (const { name } of model.checkpointShapes) model.trained.load(name, await from.read(prefix + name));
}

/** Loads the optimiser in place. */
export async function restoreOptimizer(optimizer: AdamW, from: TensorReader): Promise<void> {
  const saved = new Map<string, Float32Array | Uint32Array>();
  for (const { name, dtype } of optimizer.state()) {
    if (!from.tensors.has(name)) {
      throw new DataError(
        `[resume] optimiser tensor ${name} is missing from the checkpoint. Resume from one of the same model.`,
      );
    }
    const values = await from.read(name);
    saved.set(name, dtype === "u32" ? new Uint32Array(values.slice().buffer) : values);
  }
  optimizer.load(saved);
}

/**
 * The reference policy. Of a model with an adapter: the model below it, whose parameters both share. Else a frozen copy of the
 * model (of what its ops read: f16 matrices in mixed precision), from its present weights or from a checkpoint that holds one.
 */
export async function referenceModel(model: Qwen2Model, from: TensorReader | undefined): Promise<Qwen2Model> {
  if (model.adapter)
    return new Qwen2Model(model.launcher, model.config, model.parameters, { fused: model.fused });
  const shapes = storedShapes(model.config);
  const { storage } = model.parameters;
  const parameters = new FlatParameters(model.launcher.runtime, shapes, { requiresGrad: false, storage });
  const copy = new Qwen2Model(model.launcher, model.config, parameters, { fused: model.fused });
  if (from) {
    await restoreModel(copy, from, REFERENCE);
  } else {
    for (const { name } of shapes) parameters.copyFrom(model.parameters, name);
  }
  return copy;
}
