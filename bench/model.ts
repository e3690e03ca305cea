/** The decoder of a workload, opened and asked for log-probabilities. */
import { FlatParameters } from "../src/autograd/flat_parameters.js";
import { Tape } from "../src/autograd/tape.js";
import type { Launcher } from "../src/kernels/engine/launch.js";
import { packSequences } from "../src/model/packing.js";
import { storedShapes } from "../src/model/parameters.js";
import { Qwen2Model } from "../src/model/qwen2.js";
import type { Precision } from "./precision.js";
import type { TrainingProblem, Workload } from "./workloads.js";

/** The model with the problem's weights; the caller releases it and then its parameters. */
export function openModel(
  launcher: Launcher,
  { config }: Workload,
  { weights }: TrainingProblem,
  precision: Precision,
  requiresGrad: boolean,
): Qwen2Model {
  const storage = precision === "mixed" ? "f16" : "f32";
  const parameters = new FlatParameters(launcher.runtime, storedShapes(config), { requiresGrad, storage });
  for (const { name, data } of weights) parameters.load(name, data);
  return new Qwen2Model(launcher, config, parameters);
}

/**
 * Log-probabilities of targets in one full pass over a sequence.
 * @param first index of the token from which targets[0] is predicted; the others follow
 */
export async function targetLogProbs(
  model: Qwen2Model,
  sequence: readonly number[],
  first: number,
  targets: Uint32Array,
): Promise<Float32Array | Uint32Array> {
  const tape = new Tape(model.launcher, { record: false, activations: model.activations });
  const hidden = model.hidden(tape, model.batch(tape, packSequences([sequence])));
  const places = targets.map((_, t) => first + t);
  const { log_prob } = model.score(tape, hidden, places, targets);
  const values = await log_prob.read();
  tape.release();
  return values;
}
