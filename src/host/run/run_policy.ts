/** The policy of a run as it was at one of its checkpoints. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { TrainConfig } from "../../config/schema.js";
import { ConfigError } from "../../core/errors.js";
import type { World } from "../../env/world.js";
import type { Launcher } from "../../kernels/index.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import type { Tokenizer } from "../../model/tokenizer.js";
import { restoreModel } from "../../rl/loop/policy_state.js";
import { pathExists } from "../files/files.js";
import { type LoadedCheckpoint, readCheckpoint, stepName, stepOfName } from "./checkpoints.js";
import { RUN_FILES, readRunInfo } from "./run_info.js";
import { openPolicy, openTrainingWorld } from "./training_setup.js";

export interface RunPolicy {
  /** `<run> at <update>` */
  readonly name: string;
  /** Folder of the run. */
  readonly run: string;
  readonly config: TrainConfig;
  readonly world: World;
  readonly model: Qwen2Model;
  readonly tokenizer: Tokenizer;
  readonly checkpoint: LoadedCheckpoint;
}

/** A run at one of its checkpoints, read without a GPU. */
export type RunAt = Pick<RunPolicy, "run" | "config" | "checkpoint">;

/**
 * @param config the run's resolved settings
 * @param step update of the checkpoint; undefined = the newest
 * @throws ConfigError when the run has no such checkpoint
 * @throws DataError for a folder that holds no run, or a checkpoint that is not whole
 */
export async function readRunAt(run: string, step: number | undefined, config: TrainConfig): Promise<RunAt> {
  const folder = join(run, RUN_FILES.checkpoints);
  const checkpoint = await findCheckpoint(folder, step);
  if (checkpoint) return { run, config, checkpoint };
  throw new ConfigError(
    `[${folder}] no such checkpoint: got ${step === undefined ? "none at all" : `no ${stepName(step)}`}, expected one. ` +
      "Name another --checkpoint, or train with checkpoint.save_steps.",
  );
}

/** Opens a run's policy with trainable parameters. The caller releases model and parameters. */
export async function openRunPolicy(
  { run, config, checkpoint }: RunAt,
  launcher: Launcher,
): Promise<RunPolicy> {
  const { name } = await readRunInfo(run);
  const world = await openTrainingWorld(config);
  // a run may have been moved away from the model folder that it began with
  const { model, tokenizer } = await openPolicy(config, world, launcher, join(run, RUN_FILES.model));
  await restoreModel(model, checkpoint.model);
  return { name: `${name} at ${checkpoint.step}`, run, config, world, model, tokenizer, checkpoint };
}

/** Reads only: the run may still be training, and its leftovers are not ours to mend. */
async function findCheckpoint(
  folder: string,
  step: number | undefined,
): Promise<LoadedCheckpoint | undefined> {
  const names = (await pathExists(folder)) ? await readdir(folder) : [];
  const steps = names.map(stepOfName).filter((found) => found !== undefined);
  const wanted = step ?? Math.max(...steps);
  return steps.includes(wanted) ? readCheckpoint(join(folder, stepName(wanted))) : undefined;
}

export function releasePolicy({ model }: RunPolicy): void {
  model.release();
  model.parameters.release();
}
