/** One training run in a folder of its own, from settings to its end: what the command line and experiments start. */
import { runName, type TrainConfig } from "../../config/schema.js";
import { AlertWatch } from "../../core/alerts.js";
import { DivergenceGuard } from "../../core/divergence.js";
import type { Logger } from "../../core/logger.js";
import type { RunSink } from "../../core/run_record.js";
import type { Runtime } from "../../gpu/runtime.js";
import { errorText } from "../files/error_codes.js";
import { type ResumedRun, RunFolder, type RunFolderOptions, type SessionFacts } from "./run_folder.js";
import { type LoopResult, type TrainLoop, trainLoop } from "./train_loop.js";

export interface TrainRunRequest {
  readonly config: TrainConfig;
  /** YAML of the resolved configuration, and of what the user gave. */
  readonly resolved: string;
  readonly input: string;
  /** Folder to go on with; undefined = a new run, named and placed by the configuration. */
  readonly run: string | undefined;
  readonly runtime: Runtime;
  readonly session: SessionFacts;
  /** Aborted when the run should end with a checkpoint. */
  readonly signal: AbortSignal;
  /** Why it was aborted, for the record. */
  readonly stopReason: () => string | undefined;
  /** Hears what is written to `run.log` as well. */
  readonly logger: Logger;
  /** Called with the open run before training starts. @returns where records go: `opened.folder`, or something around it */
  readonly watch?: (opened: ResumedRun) => RunSink;
  /** Default: the real one. */
  readonly loop?: TrainLoop;
}

export interface TrainRun extends LoopResult {
  /** The run folder. */
  readonly path: string;
}

/**
 * Trains, or goes on training, and records how it ended.
 * @throws what the loop throws, after recording the run as failed
 * @throws ConfigError when the name is taken or the run to go on with cannot be
 */
export async function trainRun(request: TrainRunRequest): Promise<TrainRun> {
  const { config, runtime, signal, stopReason, loop = trainLoop } = request;
  const opened = await openFolder(request);
  const { folder, checkpoint, evaluated } = opened;
  const logger = folder.logger(request.logger);
  const isMixed = config.model.precision === "mixed";
  const guard = new DivergenceGuard(isMixed);
  const alerts = new AlertWatch(isMixed);
  // what was told before the interruption is not told again
  for (const row of opened.metrics) alerts.look(row);
  const sink = guarded(request.watch?.(opened) ?? folder, { guard, alerts, folder, logger });
  if (checkpoint) logger.info(`going on after update ${checkpoint.step} (${checkpoint.path})`);
  try {
    const result = await loop({ config, runtime, folder, sink, checkpoint, evaluated, signal, logger });
    const status = result.finished ? "finished" : "stopped";
    await folder.finish(status, result.step, result.finished ? undefined : stopReason());
    return { ...result, path: folder.path };
  } catch (error) {
    const reason = errorText(error);
    // the first error is the one to show; a full disk may keep the record from being written as well
    await folder
      .finish("failed", undefined, reason)
      .catch((failure) => request.logger.warn(`the end of the run was not recorded: ${failure}`));
    throw error;
  }
}

/** Who looks at the metrics of each update. */
interface Lookers {
  readonly guard: DivergenceGuard;
  readonly alerts: AlertWatch;
  readonly folder: RunFolder;
  readonly logger: Logger;
}

/** A sink that looks at the metrics, after they are recorded. */
function guarded(sink: RunSink, { guard, alerts, folder, logger }: Lookers): RunSink {
  return {
    metrics: async (row) => {
      await sink.metrics(row);
      for (const alert of alerts.look(row)) {
        logger.warn(`update ${alert.step}: ${alert.text}`);
        await folder.alert(alert);
      }
      guard.look(row);
    },
    evaluation: (row) => sink.evaluation(row),
    transcripts: async (step, episodes) => sink.transcripts?.(step, episodes),
    rollouts: (step, rows) => sink.rollouts(step, rows),
    checkpoint: (checkpoint) => sink.checkpoint(checkpoint),
  };
}

async function openFolder({
  config,
  resolved,
  input,
  run,
  session,
  logger,
}: TrainRunRequest): Promise<ResumedRun> {
  const clock = () => new Date();
  const shared: RunFolderOptions = {
    config: resolved,
    input,
    session,
    keepCheckpoints: config.checkpoint.save_total_limit,
    clock,
    logger,
  };
  if (run !== undefined) return RunFolder.resume(run, shared);
  const { out, seed } = config;
  const taken = config.name === null ? "suffix" : "refuse";
  const name = runName(config, clock());
  const folder = await RunFolder.create({ ...shared, out, name, seed, taken });
  return { folder, checkpoint: undefined, evaluated: [], metrics: [] };
}
