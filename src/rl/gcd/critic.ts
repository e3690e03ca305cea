/** The world's expert as a critic: an action is good when it brings the goal nearer. Ours (RECON). */
import { ConfigError } from "../../core/errors.js";
import { groupBy } from "../../core/group_by.js";
import type { Environment, World } from "../../env/world.js";
import type { PlayedRow } from "../rows.js";
import type { Verdict } from "./labels.js";

/**
 * Verdicts on played rows: the episodes are played again, and the length of the expert's plan before and after each action is
 * compared. Shorter is good, anything else bad.
 * @remarks one plan for each row; an expert that sees the whole world calls looking around bad
 * @throws ConfigError when the world has no expert or no snapshots
 */
export async function expertVerdicts(
  world: World,
  rows: readonly PlayedRow[],
  seed: number,
): Promise<(Verdict | undefined)[]> {
  const environment = world.create();
  try {
    requireExpert(world, environment);
    const verdicts: (Verdict | undefined)[] = rows.map(() => undefined);
    const episodes = groupBy([...rows.keys()], (index) => `${rows[index].group}/${rows[index].episode}`);
    for (const members of episodes.values()) {
      const order = [...members].sort((a, b) => rows[a].step - rows[b].step);
      await environment.reset({ seed, options: { taskId: rows[order[0]].taskId } });
      let before = await planLength(world, environment, rows[order[0]].taskId);
      for (const index of order) {
        const { won } = (await environment.step(rows[index].action)).info;
        const after = won ? 0 : await planLength(world, environment, rows[index].taskId);
        verdicts[index] = compare(before, after);
        before = after;
      }
    }
    return verdicts;
  } finally {
    await environment.close();
  }
}

/** @throws ConfigError when the world cannot be asked */
export function requireExpert(world: World, environment: Environment): void {
  if (world.expert && environment.snapshot && environment.restore) return;
  throw new ConfigError(
    `[gcd] world ${world.id} has no expert that can judge from any state: expected an expert and snapshots. Choose another ` +
      "gcd.label_source, and set gcd.cold_start_share to 0.",
  );
}

/** Commands that the expert still needs; undefined where it finds no way. */
export async function planLength(
  world: World,
  environment: Environment,
  taskId: string,
): Promise<number | undefined> {
  return (await world.expert?.(taskId, await environment.snapshot?.()))?.length;
}

/** Good when the plan became shorter; undefined where there was none before. */
export function compare(before: number | undefined, after: number | undefined): Verdict | undefined {
  if (before === undefined) return undefined;
  return after !== undefined && after < before ? "good" : "bad";
}
