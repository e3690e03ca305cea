/** Whether two runs began reinforcement learning from the same policy: else more than their training differs. */
import { isAbsolute, relative, resolve } from "node:path";
import type { TrainConfig } from "../../config/schema.js";
import { differences } from "../train/resume.js";

/** A run as far as its start goes. */
export interface StartedRun {
  /** Its folder. */
  readonly run: string;
  readonly config: TrainConfig;
}

/**
 * Names of the settings by which the policies differ that the two runs began reinforcement learning with. None where one run
 * began with the policy that the other one exported. Settings are compared, not weights: files that changed under one name are not
 * noticed.
 */
export function startDifferences(first: StartedRun, second: StartedRun): string[] {
  if (beganWith(first, second) || beganWith(second, first)) return [];
  return differences(startOf(first.config), startOf(second.config));
}

/** Whether `run` imitated nothing and began with a model folder inside the other run's folder. */
function beganWith({ config }: StartedRun, { run }: StartedRun): boolean {
  if (config.model.path === null || imitates(config)) return false;
  const inside = relative(resolve(run), resolve(config.model.path));
  return inside !== "" && !inside.startsWith("..") && !isAbsolute(inside);
}

function imitates({ imitation }: TrainConfig): boolean {
  return imitation.episodes !== 0 && imitation.max_steps > 0;
}

/** The settings that decide the policy after imitation. A fresh policy's words are those of its world. */
function startOf(config: TrainConfig): object {
  const { model, imitation, world, prompt, seed, gcd } = config;
  const isFresh = model.path === null;
  return {
    model: isFresh ? model : { path: model.path, precision: model.precision },
    world: isFresh || imitates(config) ? world : null,
    ...(imitates(config)
      ? { imitation, prompt, seed, gcd: { cold_start_share: gcd.cold_start_share } }
      : { imitation: null, prompt: null, seed: null, gcd: null }),
  };
}
