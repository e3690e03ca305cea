/** A run folder that a command reads. */
import { ConfigError } from "../../core/errors.js";
import type { Series } from "../../watch/api.js";
import { OpenRun } from "../../watch/open_run.js";
import { RunTree } from "../../watch/run_tree.js";

/** @throws ConfigError when there is no run in the folder */
export async function openRunAt(path: string): Promise<OpenRun> {
  const tree = await RunTree.open(path);
  if (tree.only === undefined)
    throw new ConfigError(
      `[${path}] no run: got a folder without run.json, expected a run folder. Name one of \`uncouple run ls\`.`,
    );
  const run = new OpenRun(tree, tree.only, Date.now);
  await run.refresh();
  return run;
}

/** Every update, none averaged. */
export function allOf({ metrics, generation }: OpenRun, keys: readonly string[]): Series {
  return metrics.series(keys, 0, generation, Number.POSITIVE_INFINITY);
}

/** Updates that have the metric. */
export function pointsOf({ step, values }: Series, key: string): [number, number][] {
  return step.flatMap((one, index): [number, number][] => {
    const value = values[key]?.[index] ?? null;
    return value === null ? [] : [[one, value]];
  });
}
