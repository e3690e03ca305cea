/** `uncouple train`: settings in, run folder out. */

import { isOverride, settingLayer } from "../../config/layers.js";
import { type LoadedConfig, loadConfig, resolveLayers } from "../../config/load.js";
import { presetFields } from "../../config/presets.js";
import { stagesOf, totalUpdates } from "../../config/schema.js";
import { ArgumentError, ConfigError, EXIT } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import { checkHalf } from "../../gpu/device_facts.js";
import { beforeWork } from "../../host/files/before_work.js";
import { readConfigText } from "../../host/files/config_text.js";
import { findOwnPackage } from "../../host/files/packages.js";
import { readGitState } from "../../host/run/git.js";
import { freeBytes, planRequest } from "../../host/run/memory.js";
import { checkBeforeWork } from "../../host/run/preflight.js";
import type { SessionFacts } from "../../host/run/run_folder.js";
import { readRunInfo } from "../../host/run/run_info.js";
import { type LoopResult, type TrainLoop, trainLoop } from "../../host/run/train_loop.js";
import { type TrainRun, trainRun } from "../../host/run/train_run.js";
import type { KeptTuning } from "../../host/tuning/tuning_record.js";
import { memoryCures, planMemory } from "../../rl/loop/memory_plan.js";
import type { CliContext, Register } from "../kit/options.js";
import { type GpuSession, withGpu } from "../kit/session.js";
import { StopListener, StoppedError } from "../kit/stop_signal.js";
import { tuningLine } from "../kit/tuning.js";
import { checkFits, memoryTable, presetTable } from "./dry_run.js";
import { Progress } from "./progress.js";
import { checkResumable, findRun, refuseOtherPlace, runLayer } from "./resume.js";
import { flagSettings, type TrainOptions, trainCommand, wishesOf } from "./train_options.js";

/** What is to be done, settled before a GPU is touched. */
interface Plan extends LoadedConfig {
  /** Folder to go on with; undefined = a new run. */
  readonly run: string | undefined;
}

/** The command, with a training loop of the caller's choice. */
export function trainWith(start: TrainLoop): Register {
  return (program, context) => {
    trainCommand(program).action(async (words, options) => {
      if (options.dryRun) await showPlan(await settle(options, words, context), options, context);
      else await trainOnce(options, words, context, start);
    });
  };
}

export const register: Register = trainWith(trainLoop);

/** A finished run. */
export interface FinishedRun {
  readonly result: LoopResult;
  /** Its folder. */
  readonly path: string;
}

/**
 * One run from settings to its last line.
 * @throws StoppedError when the run was asked to stop, after its checkpoint
 */
async function trainOnce(
  options: TrainOptions,
  words: readonly string[],
  context: CliContext,
  start: TrainLoop,
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
  if (run === undefined) {
    await checkBeforeWork(checkStages(given).config, run);
    return { ...given, run };
  }
  refuseOtherPlace(run, given.settings, env);
  const base = await beforeWork(() => runLayer(run));
  // UNCOUPLE_RUNS_DIR is for new runs
  const { name, out } = base.settings;
  const places = Object.entries({ name, out }).map(([key, value]) => settingLayer([key], value, run));
  const loaded = await loadConfig({ ...sources, base: [base], top: places });
  const changed = checkResumable(resolveLayers([base]).config, loaded.config);
  if (changed.length > 0) terminal.warn(`changed since the run was started: ${changed.join(", ")}`);
  refusePlaces(options);
  await checkBeforeWork(checkStages(loaded).config, run);
  return { ...loaded, run };
}

/** A run that goes on stays where it is. `--resume latest` reads both to find it. */
function refusePlaces({ resume, name, out }: TrainOptions): void {
  if (resume === true || resume === "latest" || typeof resume !== "string" || isOverride(resume)) return;
  const flag = name !== undefined ? "--name" : out !== undefined ? "--out" : undefined;
  if (flag === undefined) return;
  throw new ConfigError(
    `[--resume] option has no effect: got ${flag} beside the folder ${resume}, expected the folder alone. Leave ${flag} out.`,
  );
}

function checkStages(loaded: LoadedConfig): LoadedConfig {
  if (stagesOf(loaded.config).length > 0) return loaded;
  throw new ConfigError(
    "[train] nothing to train: got imitation.episodes 0 and grpo.max_steps 0, expected at least one stage. Set one of " +
      "them above 0.",
  );
}

async function showPlan({ config, resolved, run }: Plan, { json }: TrainOptions, { terminal }: CliContext) {
  const isSoftware = ["lavapipe", "swiftshader"].includes(config.device.adapter ?? "");
  const request = await planRequest(config, run, { isSoftware });
  const plan = await planMemory(request);
  const cures = await memoryCures(request, plan);
  const memory = { ...plan, cures };
  const preset = presetFields(config.grpo);
  if (json) terminal.printJson({ config, preset, memory });
  else terminal.print([resolved, presetTable(config.grpo.algo, preset), memoryTable(plan, cures)].join("\n"));
  const free = freeBytes(isSoftware);
  if (free !== undefined) checkFits(plan, free, cures);
}

async function train(
  plan: Plan,
  options: TrainOptions,
  context: CliContext,
  loop: TrainLoop,
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
    await checkMemory(plan, session);
    const { path, stop, ...result } = await watched(plan, session, context, loop);
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

/** The run with its progress on the terminal, ended early by signals of the system. */
async function watched(
  plan: Plan,
  session: GpuSession,
  context: CliContext,
  loop: TrainLoop,
): Promise<TrainRun & { stop: StoppedError | undefined }> {
  const { terminal } = context;
  const { config, resolved, input, run } = plan;
  let progress: Progress | undefined;
  const listener = new StopListener({
    source: process,
    announce: (message) => terminal.warn(message),
    exit: (code) => process.exit(code),
  });
  const logger: Logger = {
    info: (message) => (progress?.logger(terminal) ?? terminal).info(message),
    warn: (message) => (progress?.logger(terminal) ?? terminal).warn(message),
  };
  try {
    const result = await trainRun({
      config,
      resolved,
      input,
      run,
      runtime: session.runtime,
      session: await sessionFacts(session, context),
      signal: listener.signal,
      stopReason: () => listener.reason?.message,
      logger,
      loop,
      watch: ({ folder, checkpoint }) => {
        terminal.info(`run folder: ${folder.path}`);
        folder.logger(terminal).info(tuningLine(session.tuning));
        progress = new Progress({
          stream: terminal.errorStream,
          isLive: terminal.isLive,
          total: totalUpdates(config),
          done: checkpoint?.step ?? 0,
          clock: () => performance.now(),
          print: (line) => terminal.info(line),
        });
        return progress.watch(folder);
      },
    });
    return { ...result, stop: listener.reason };
  } finally {
    progress?.stop();
    listener.close();
  }
}

/** @throws ConfigError for a run that would end for want of memory, before it has a folder */
async function checkMemory({ config, run }: Plan, { runtime }: GpuSession): Promise<void> {
  const request = await planRequest(config, run, runtime.facts);
  try {
    const plan = await planMemory(request);
    const free = freeBytes(runtime.facts.isSoftware);
    if (free !== undefined && plan.totalBytes > free) checkFits(plan, free, await memoryCures(request, plan));
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    throw new ConfigError(error.message, { cause: error });
  }
}

async function tuningsOf(run: string): Promise<KeptTuning[]> {
  const { sessions } = await readRunInfo(run);
  return sessions.flatMap(({ tuning }) => (tuning ? [tuning] : []));
}

/** What this process tells about itself in the record of a run. */
export async function sessionFacts(
  { choice, tuning }: GpuSession,
  { env }: CliContext,
): Promise<SessionFacts> {
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

function resultText({ step, summary }: LoopResult, path: string): string {
  const numbers = Object.entries(summary).map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`);
  return [`finished after ${step} updates`, ...numbers, `run folder: ${path}`].join("\n");
}
