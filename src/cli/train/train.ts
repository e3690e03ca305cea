/** `uncouple train`: settings in, run folder out. */

import { type LoadedConfig, loadConfig, resolveLayers } from "../../config/load.js";
import { runName, stagesOf, type TrainConfig } from "../../config/schema.js";
import { ConfigError, EXIT } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import { checkHalf } from "../../gpu/device_facts.js";
import { readConfigText } from "../../host/files/config_text.js";
import { findOwnPackage } from "../../host/files/packages.js";
import { readGitState } from "../../host/run/git.js";
import {
  type ResumedRun,
  RunFolder,
  type RunFolderOptions,
  type SessionFacts,
} from "../../host/run/run_folder.js";
import { readRunInfo } from "../../host/run/run_info.js";
import type { KeptTuning } from "../../host/tuning/tuning_record.js";
import { estimateMemory } from "../../rl/loop/memory_estimate.js";
import type { CliContext, Register } from "../kit/options.js";
import { type GpuSession, withGpu } from "../kit/session.js";
import { StopListener, StoppedError } from "../kit/stop_signal.js";
import { tuningLine } from "../kit/tuning.js";
import { memoryTable, plannedModel } from "./dry_run.js";
import { Progress } from "./progress.js";
import { checkResumable, findRun, runLayer } from "./resume.js";
import { type StartTraining, startTraining, type TrainingResult } from "./start_training.js";
import { flagSettings, type TrainOptions, trainCommand, wishesOf } from "./train_options.js";

/** What is to be done, settled before a GPU is touched. */
interface Plan extends LoadedConfig {
  /** Folder to go on with; undefined = a new run. */
  readonly run: string | undefined;
}

/** The command, with a training loop of the caller's choice. */
export function trainWith(start: StartTraining): Register {
  return (program, context) => {
    trainCommand(program).action(async (words, options) => {
      if (options.dryRun) await showPlan(await settle(options, words, context), options, context);
      else await trainOnce(options, words, context, start);
    });
  };
}

export const register: Register = trainWith(startTraining);

/** A finished run. */
export interface FinishedRun {
  readonly result: TrainingResult;
  /** Its folder. */
  readonly path: string;
}

/**
 * One run from settings to its last line.
 * @throws StoppedError when the run was asked to stop, after its checkpoint
 */
export async function trainOnce(
  options: TrainOptions,
  words: readonly string[],
  context: CliContext,
  start: StartTraining,
): Promise<FinishedRun> {
  return train(await settle(options, words, context), options, context, start);
}

/** Reads and checks all settings, and finds the run to go on with. */
async function settle(options: TrainOptions, words: readonly string[], context: CliContext): Promise<Plan> {
  const { resume, overrides } = wishesOf(options, words);
  const { env, terminal } = context;
  const sources = {
    files: options.config ?? [],
    readText: readConfigText,
    env,
    flags: flagSettings(options),
    overrides,
  };
  const given = await loadConfig(sources);
  const run = resume === undefined ? undefined : await findRun(resume, given.config);
  if (run === undefined) return { ...checkStages(given), run };
  const base = await runLayer(run);
  const loaded = await loadConfig({ ...sources, base });
  const changed = checkResumable(resolveLayers([base]).config, loaded.config);
  if (changed.length > 0) terminal.warn(`changed since the run was started: ${changed.join(", ")}`);
  return { ...checkStages(loaded), run };
}

function checkStages(loaded: LoadedConfig): LoadedConfig {
  if (stagesOf(loaded.config).length > 0) return loaded;
  throw new ConfigError(
    "[train] nothing to train: got imitation.episodes 0 and grpo.max_steps 0, expected at least one stage. Set one of " +
      "them above 0.",
  );
}

async function showPlan({ config, resolved }: Plan, { json }: TrainOptions, { terminal }: CliContext) {
  const memory = estimateMemory({ config, model: await plannedModel(config) });
  if (json) terminal.printJson({ config, memory });
  else terminal.print(`${resolved}\n${memoryTable(memory)}`);
}

async function train(
  plan: Plan,
  options: TrainOptions,
  context: CliContext,
  start: StartTraining,
): Promise<FinishedRun> {
  const { config } = plan;
  const gpu = {
    adapter: config.device.adapter ?? "auto",
    preset: config.device.preset,
    matmul: config.device.matmul,
    cacheDir: options.cacheDir,
    tune: config.device.tune,
    tuning: "first_use" as const,
    // other kernels add in another order: a run goes on with those that it began with
    begun: plan.run === undefined ? [] : await tuningsOf(plan.run),
  };
  return withGpu(gpu, context, async (session) => {
    if (config.model.precision === "mixed") checkHalf(session.runtime.facts);
    await warnAboutMemory(config, session, context.terminal);
    const opened = await openFolder(plan, session, context);
    const { path } = opened.folder;
    context.terminal.info(`run folder: ${path}`);
    const { result, stop } = await runIn(opened, { config, session, context, start });
    if (options.json) context.terminal.printJson({ run: path, ...result });
    else if (result.finished) context.terminal.print(resultText(result, path));
    if (result.finished) return { result, path };
    const why = stop?.message ?? "stopped";
    throw new StoppedError(
      `${why} after update ${result.step}; go on with: uncouple train --resume ${path}`,
      stop?.exitCode ?? EXIT.stopped,
    );
  });
}

async function warnAboutMemory(config: TrainConfig, { adapter }: GpuSession, logger: Logger): Promise<void> {
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  const limits = { maxBufferSize, maxStorageBufferBindingSize };
  const { warnings } = estimateMemory({ config, model: await plannedModel(config), limits });
  for (const warning of warnings) logger.warn(`memory: ${warning}`);
}

async function tuningsOf(run: string): Promise<KeptTuning[]> {
  const { sessions } = await readRunInfo(run);
  return sessions.flatMap(({ tuning }) => (tuning ? [tuning] : []));
}

async function sessionFacts({ choice, tuning }: GpuSession, { env }: CliContext): Promise<SessionFacts> {
  return {
    argv: process.argv.slice(2),
    version: (await findOwnPackage())?.version ?? "unknown",
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    git: await readGitState(process.cwd(), env),
    adapter: { ...choice },
    tuning: { key: tuning.key, choices: tuning.choices },
  };
}

async function openFolder(plan: Plan, session: GpuSession, context: CliContext): Promise<ResumedRun> {
  const { config, resolved, input, run } = plan;
  const clock = () => new Date();
  const shared: RunFolderOptions = {
    config: resolved,
    input,
    session: await sessionFacts(session, context),
    keepCheckpoints: config.checkpoint.save_total_limit,
    clock,
    logger: context.terminal,
  };
  if (run !== undefined) return RunFolder.resume(run, shared);
  const { out, seed } = config;
  const taken = config.name === null ? "suffix" : "refuse";
  const name = runName(config, clock());
  return { folder: await RunFolder.create({ ...shared, out, name, seed, taken }), checkpoint: undefined };
}

interface Surroundings {
  readonly config: TrainConfig;
  readonly session: GpuSession;
  readonly context: CliContext;
  readonly start: StartTraining;
}

/** Updates that a configuration asks for, all stages together. */
function totalUpdates(config: TrainConfig): number {
  return stagesOf(config).reduce((sum, stage) => sum + config[stage].max_steps, 0);
}

interface Ended {
  readonly result: TrainingResult;
  /** The wish to stop that came on the way. */
  readonly stop: StoppedError | undefined;
}

/** Trains in an open folder and records there how it ended. */
async function runIn({ folder, checkpoint }: ResumedRun, around: Surroundings): Promise<Ended> {
  const { config, session, context, start } = around;
  const { terminal } = context;
  const progress = new Progress({
    stream: terminal.errorStream,
    isLive: terminal.isLive,
    total: totalUpdates(config),
    done: checkpoint?.step ?? 0,
    clock: () => performance.now(),
    print: (line) => terminal.info(line),
  });
  const logger = folder.logger(progress.logger(terminal));
  logger.info(tuningLine(session.tuning));
  if (checkpoint) logger.info(`going on after update ${checkpoint.step} (${checkpoint.path})`);
  const listener = new StopListener({
    source: process,
    announce: (message) => logger.warn(message),
    exit: (code) => process.exit(code),
  });
  const { signal } = listener;
  const sink = progress.watch(folder);
  try {
    const result = await start({ config, session, folder, sink, checkpoint, signal, logger, context });
    const stop = result.finished ? undefined : listener.reason;
    await folder.finish(result.finished ? "finished" : "stopped", result.step, stop?.message);
    return { result, stop };
  } catch (error) {
    const status = error instanceof StoppedError ? "stopped" : "failed";
    const reason = error instanceof Error ? error.message : String(error);
    // the first error is the one to show; a full disk may keep the record from being written as well
    await folder
      .finish(status, undefined, reason)
      .catch((failure) => terminal.warn(`the end of the run was not recorded: ${failure}`));
    throw error;
  } finally {
    progress.stop();
    listener.close();
  }
}

function resultText({ step, summary }: TrainingResult, path: string): string {
  const numbers = Object.entries(summary).map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`);
  return [`finished after ${step} updates`, ...numbers, `run folder: ${path}`].join("\n");
}
