/** Hands a prepared run to the training loop. */

import type { TrainConfig } from "../../config/schema.js";
import type { Logger } from "../../core/logger.js";
import type { Evaluation, RunSink } from "../../core/run_record.js";
import type { LoadedCheckpoint } from "../../host/run/checkpoints.js";
import type { RunFolder } from "../../host/run/run_folder.js";
import { openPolicy, openTrainingWorld } from "../../host/run/training_setup.js";
import { Launcher } from "../../kernels/index.js";
import { parameterShapes } from "../../model/parameters.js";
import { runTraining } from "../../rl/loop/train.js";
import type { CliContext } from "../kit/options.js";
import type { GpuSession } from "../kit/session.js";

/** Everything that training needs from its surroundings. */
export interface TrainingRequest {
  readonly config: TrainConfig;
  readonly session: GpuSession;
  /** Open; the caller ends it. For `exportModel`. */
  readonly folder: RunFolder;
  /** Where records go: the folder, with progress shown on the way. */
  readonly sink: RunSink;
  /** To go on from; undefined at a start. */
  readonly checkpoint: LoadedCheckpoint | undefined;
  /** Aborted when training should save a checkpoint after the current update and return. */
  readonly signal: AbortSignal;
  /** Writes to `run.log` and to the terminal, above the progress bar. */
  readonly logger: Logger;
  readonly context: CliContext;
}

/** How training ended. */
export interface TrainingResult {
  /** Updates done, all stages together. */
  readonly step: number;
  /** Every update of the configuration was done; false after `signal` was obeyed. */
  readonly finished: boolean;
  /** Numbers for the last line and for `--json`: metric name -> value. */
  readonly summary: Readonly<Record<string, number>>;
  /** Every evaluation of this process. */
  readonly evaluations?: readonly Evaluation[];
}

export type StartTraining = (request: TrainingRequest) => Promise<TrainingResult>;

/** Trains and exports the policy. */
export const startTraining: StartTraining = async ({
  config,
  session,
  folder,
  sink,
  checkpoint,
  signal,
  logger,
}) => {
  const world = await openTrainingWorld(config);
  const { model, tokenizer } = await openPolicy(config, world, new Launcher(session.runtime));
  logger.info(`policy: ${model.parameters.count} parameters, vocabulary ${model.config.vocab_size}`);
  const resume = checkpoint && {
    step: checkpoint.step,
    model: checkpoint.model,
    optimizer: checkpoint.optimizer,
  };
  const now = () => performance.now();
  const result = await runTraining(config, { world, tokenizer, model, sink, resume, signal, now, logger });
  if (result.finished) {
    await folder.exportModel({
      config: model.config,
      tensors: parameterShapes(model.config).map(({ name, shape }) => ({
        name,
        shape,
        data: () => model.parameters.read(name),
      })),
      tokenizer: tokenizer.files,
    });
  }
  model.release();
  model.parameters.release();
  const summary = Object.fromEntries(
    result.evaluations
      .filter(({ step }) => step === result.step)
      .map(({ split, mode, success }) => [`eval/${split}/${mode}/success`, success]),
  );
  return { step: result.step, finished: result.finished, summary, evaluations: result.evaluations };
};
