/** The command line of `uncouple eval`, turned into a configuration. */
import { join, resolve } from "node:path";
import { type Layer, settingLayer } from "../../config/layers.js";
import { type LoadedConfig, loadConfig } from "../../config/load.js";
import type { Environment } from "../../core/environment.js";
import { ConfigError } from "../../core/errors.js";
import { readConfigText } from "../../host/files/config_text.js";
import { pathExists } from "../../host/files/files.js";
import { RUN_FILES } from "../../host/run/run_info.js";
import { runLayer } from "../train/resume.js";

/** Options as commander gives them. */
export interface EvalOptions {
  readonly model?: string;
  readonly run?: string;
  readonly config?: string[];
  readonly env?: string;
  readonly data?: string;
  readonly split?: string[];
  readonly episodes?: number;
  readonly k?: number;
  readonly greedy?: true;
  readonly sampled?: true;
  readonly temperature?: number;
  readonly seed?: number;
}

/** What is to be evaluated. */
export interface EvalPlan extends LoadedConfig {
  /** Run folder that the policy comes from; undefined for a model from elsewhere. */
  readonly run: string | undefined;
}

/**
 * The configuration of an evaluation. Weakest first: the run that the policy comes from, files, environment variables, options,
 * overrides.
 * @throws ConfigError when neither a model nor a run is named, or the run has no policy yet
 */
export async function evalPlan(
  options: EvalOptions,
  overrides: readonly string[],
  env: Environment,
): Promise<EvalPlan> {
  const { model, run } = await findPolicy(options);
  const base: Layer[] = run === undefined ? [] : [await runLayer(run)];
  const loaded = await loadConfig({
    base,
    files: options.config ?? [],
    readText: readConfigText,
    env,
    flags: flags(options),
    overrides,
    top: [settingLayer(["model", "path"], model, "--model")],
  });
  return { ...loaded, run };
}

async function findPolicy({ model, run }: EvalOptions): Promise<{ model: string; run: string | undefined }> {
  if ((model === undefined) === (run === undefined)) {
    throw new ConfigError(
      `[eval] policy is not named: got ${model === undefined ? "neither --model nor --run" : "both --model and --run"}, expected ` +
        "one of them. Name a model folder or a run folder.",
    );
  }
  if (model !== undefined) {
    const around = join(resolve(model), "..");
    const isExport =
      (await pathExists(join(around, RUN_FILES.info))) && (await pathExists(join(around, RUN_FILES.config)));
    return { model, run: isExport ? around : undefined };
  }
  const folder = run as string;
  const exported = join(folder, RUN_FILES.export);
  if (await pathExists(exported)) return { model: exported, run: folder };
  const isRun = await pathExists(join(folder, RUN_FILES.info));
  throw new ConfigError(
    `[${folder}] no policy there: got ${isRun ? "a run that is not finished" : "no run folder"}, expected a finished run. ` +
      `${isRun ? `Go on with it: uncouple train --resume ${folder}` : "Check --run"}.`,
  );
}

function flags(options: EvalOptions) {
  const { greedy, sampled, env, data, split, episodes, k, temperature, seed } = options;
  const modes = [...(greedy ? ["greedy"] : []), ...(sampled || k !== undefined ? ["sampled"] : [])];
  const table: [flag: string, value: unknown, path: string[]][] = [
    ["--env", env, ["world", "id"]],
    ["--data", data, ["world", "path"]],
    ["--split", split, ["eval", "splits"]],
    ["--episodes", episodes, ["eval", "episodes"]],
    ["--k", k, ["eval", "samples"]],
    ["--greedy and --sampled", modes.length > 0 ? modes : undefined, ["eval", "modes"]],
    ["--temperature", temperature, ["eval", "temperature"]],
    ["--seed", seed, ["eval", "seed"]],
  ];
  return table
    .filter(([, value]) => value !== undefined)
    .map(([flag, value, path]) => ({ flag: `${flag} ${value}`, value, path }));
}
