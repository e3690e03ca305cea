/** The training loop with all that it needs, opened from a configuration. */
import { join } from "node:path";
import type { TrainConfig } from "../../config/schema.js";
import type { Logger } from "../../core/logger.js";
import type { Evaluation, RunSink } from "../../core/run_record.js";
import type { World } from "../../env/world.js";
import type { Runtime } from "../../gpu/runtime.js";
import { Launcher } from "../../kernels/index.js";
import { parameterShapes } from "../../model/parameters.js";
import { runTraining } from "../../rl/loop/train.js";
import type { LoadedCheckpoint } from "./checkpoints.js";
import type { RunFolder } from "./run_folder.js";
import { RUN_FILES } from "./run_info.js";
import { hostTimer } from "./timer.js";
import { openPolicy, openTrainingWorld } from "./training_setup.js";

/** Everything that a training loop needs from its surroundings. */
export interface LoopRequest {
  readonly config: TrainConfig;
  readonly runtime: Runtime;
  /** Open; the caller ends it. */
  readonly folder: RunFolder;
  /** Where records go: the folder, perhaps with somebody watching. */
  readonly sink: RunSink;
  /** To go on from; undefined at a start. */
  readonly checkpoint: LoadedCheckpoint | undefined;
  /** Evaluations recorded after the checkpoint's very step. */
  readonly evaluated: readonly Evaluation[];
  /** Aborted when training should save a checkpoint and return. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
}

/** How training ended. */
export interface LoopResult {
  /** Updates done, all stages together. */
  readonly step: number;
  /** Every update and evaluation of the configuration was done; false after `signal` was obeyed. */
  readonly finished: boolean;
  /** Numbers for the last line: metric name -> value. */
  readonly summary: Readonly<Record<string, number>>;
  /** Every evaluation of this process. */
  readonly evaluations?: readonly Evaluation[];
}

/** Trains in an open folder. Tests pass stand-ins. */
export type TrainLoop = (request: LoopRequest) => Promise<LoopResult>;

/** Trains, and exports the policy at the end. */
export const trainLoop: TrainLoop = async (request) => {
  const world = await openTrainingWorld(request.config, request.logger);
  try {
    return await trainIn(world, request);
  } finally {
    await world.close?.();
  }
};

async function trainIn(world: World, request: LoopRequest): Promise<LoopResult> {
  const { config, runtime, folder, sink, checkpoint, evaluated, signal, logger } = request;
  const { model, tokenizer, generationConfig, notes, fingerprint } = await openPolicy(
    config,
    world,
    new Launcher(runtime),
    checkpoint && join(folder.path, RUN_FILES.model),
  );
  const kept = { config: model.config, tokenizer: tokenizer.files, generationConfig };
  await folder.keepModel(kept, fingerprint);
  for (const note of notes) logger.warn(note);
  const trained = model.adapter ? `, of them trained: an adapter of ${model.trained.count}` : "";
  logger.info(
    `policy: ${model.parameters.count} parameters${trained}, vocabulary ${model.config.vocab_size}`,
  );
  const resume = checkpoint && { ...checkpoint, evaluated };
  const now = () => performance.now();
  const deps = { world, tokenizer, model, sink, resume, signal, now, timer: hostTimer, logger };
  const result = await runTraining(config, deps);
  if (result.finished) {
    if (model.adapter) await folder.exportAdapter(model.adapter, { path: config.model.path, fingerprint });
    await folder.exportModel({
      config: model.config,
      tensors: parameterShapes(model.config).map(({ name, shape }) => ({
        name,
        shape,
        data: () => model.read(name),
      })),
      tokenizer: tokenizer.files,
      generationConfig,
      endTokenIds: tokenizer.endTokenIds,
    });
  }
  model.release();
  model.parameters.release();
  const summary = Object.fromEntries(
    [...evaluated, ...result.evaluations]
      .filter(({ step }) => step === result.step)
      .map(({ split, mode, success }) => [`eval/${split}/${mode}/success`, success]),
  );
  return { step: result.step, finished: result.finished, summary, evaluations: result.evaluations };
}
