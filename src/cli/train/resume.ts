/** Finds the run that `--resume` means, and what of its configuration may still change. */
import { basename, dirname, join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { isSection } from "../../config/fields.js";
import { type Layer, textLayer } from "../../config/layers.js";
import type { TrainConfig } from "../../config/schema.js";
import type { Environment } from "../../core/environment.js";
import { ConfigError } from "../../core/errors.js";
import { shown } from "../../core/shown.js";
import { readConfigText } from "../../host/files/config_text.js";
import { pathExists } from "../../host/files/files.js";
import { configSum, findLatestRun, RUN_FILES, readRunInfo } from "../../host/run/run_info.js";

/**
 * Folder of the run to go on with.
 * @param resume folder, or `latest`: the run of the configured name, else the one in `out` that was active last
 * @returns undefined when `latest` names a run that is not there yet: it is to be started, so that a scheduler can use one
 *   command line for start and restart
 * @throws ConfigError when a folder is named that holds no run, or there is no latest one
 */
export async function findRun(
  resume: string,
  { name, out }: Pick<TrainConfig, "name" | "out">,
): Promise<string | undefined> {
  if (resume === "latest" && name !== null) {
    return (await pathExists(join(out, name, RUN_FILES.info))) ? join(out, name) : undefined;
  }
  const found = resume === "latest" ? await findLatestRun(out) : resume;
  if (found !== undefined && (await pathExists(join(found, RUN_FILES.config)))) return found;
  throw new ConfigError(
    `[--resume] no run to go on with: got ${resume === "latest" ? `no run in ${out}` : resume}, expected a run folder. ` +
      "Name the folder, or leave --resume out to start a new run.",
  );
}

/** Settings of a run folder, as the layer above the defaults. */
export async function runLayer(run: string): Promise<Layer> {
  const file = join(run, RUN_FILES.config);
  const text = await readConfigText(file);
  const { configSum: expected } = await readRunInfo(run);
  const found = configSum(text);
  const layer = textLayer(text, file);
  // runs of older versions have no checksum; their file holds every section, the last one too
  const isWhole = expected === undefined ? isSection(layer.settings.log) : expected === found;
  if (isWhole) return layer;
  throw new ConfigError(
    `[${file}] settings of the run are not those that it wrote: got ${text.length} characters with the checksum ` +
      `${found.slice(0, 16)}, expected ${expected?.slice(0, 16) ?? "every section"}. Restore the file; to change settings ` +
      "give them on the command line.",
  );
}

/** Where a world is found and how many of its processes run. */
const PLACES = [
  "model.path",
  "world.path",
  "world.jar",
  "world.max_environments",
  "world.process_time_limit",
];

/** Sections and fields that may change when a run goes on: they do not reach into the updates that were done. */
const CHANGEABLE = [
  "device",
  "coupling.every",
  "coupling.samples",
  "coupling.gram",
  "eval",
  "checkpoint",
  "log",
  "grpo.max_steps",
  ...PLACES,
];

/** Names of the settings that differ, `a.b` deep down to fields. */
export function differences(before: unknown, after: unknown, prefix = ""): string[] {
  if (!isSection(before) || !isSection(after)) return isDeepStrictEqual(before, after) ? [] : [prefix];
  return Object.keys(after).flatMap((key) =>
    differences(before[key], after[key], prefix === "" ? key : `${prefix}.${key}`),
  );
}

/**
 * Checks that a resumed run stays the run that it was.
 * @returns names of the settings that changed and may
 * @throws ConfigError naming those that may not
 */
export function checkResumable(before: TrainConfig, after: TrainConfig): string[] {
  // where a run lies is not a setting of it
  const changed = differences(before, { ...after, name: before.name, out: before.out });
  // with a GRPO stage behind it, a longer imitation stage would move updates that may be done already
  const free = before.grpo.max_steps === 0 ? [...CHANGEABLE, "imitation.max_steps"] : CHANGEABLE;
  const refused = changed.filter(
    (path) => !free.some((name) => path === name || path.startsWith(`${name}.`)),
  );
  if (refused.length === 0) return changed;
  throw new ConfigError(
    `[--resume] settings of the run differ: got other values of ${refused.join(", ")}, expected those that the run was ` +
      "started with. Leave them out, or start a new run.",
  );
}

/**
 * A run that goes on stays where it is.
 * @param given settings of files, flags and overrides, without defaults
 * @param env whose UNCOUPLE_RUNS_DIR is meant for new runs
 * @throws ConfigError when they name another place
 */
export function refuseOtherPlace(run: string, given: unknown, env: Environment): void {
  const { name, out } = isSection(given) ? given : {};
  const folder = resolve(run);
  const isElsewhere =
    typeof out === "string" && out !== env.UNCOUPLE_RUNS_DIR && resolve(out) !== dirname(folder);
  const isOther = typeof name === "string" && name !== basename(folder);
  if (!isElsewhere && !isOther) return;
  const [setting, value] = isOther ? ["name", name] : ["out", out];
  throw new ConfigError(
    `[--resume] setting has no effect: got ${setting} ${shown(value)} beside the folder ${run}, expected that of the run. ` +
      `Leave ${setting} out.`,
  );
}
