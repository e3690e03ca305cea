/** A world with further splits, each a part of one that it has. */
import { ConfigError } from "../core/errors.js";
import type { Task, World } from "./world.js";

/** A split by the tasks of another one. */
export interface DerivedSplit {
  readonly of: string;
  /** Null: all of them. */
  readonly task_types: readonly string[] | null;
}

/**
 * The same world; its splits are its own ones, then the derived ones. A task keeps the `split` that it comes from.
 * @throws ConfigError when a name is taken, a split is not there, or has no such task
 */
export function withDerivedSplits(world: World, derived: Readonly<Record<string, DerivedSplit>>): World {
  const names = Object.keys(derived);
  if (names.length === 0) return world;
  const tasks = new Map(names.map((name) => [name, tasksOf(world, name, derived[name])]));
  const wider = {
    id: world.id,
    splits: [...world.splits, ...names],
    maxEnvironments: world.maxEnvironments,
    tasks: (split: string) => tasks.get(split) ?? world.tasks(split),
    create: () => world.create(),
    expert: world.expert?.bind(world),
    searchingExpert: world.searchingExpert?.bind(world),
    sampleTexts: world.sampleTexts?.bind(world),
    close: world.close?.bind(world),
  };
  // a member that a world gains later must not be forgotten here
  return wider satisfies Record<keyof World, unknown>;
}

function tasksOf(world: World, name: string, { of, task_types }: DerivedSplit): readonly Task[] {
  if (world.splits.includes(name)) {
    throw new ConfigError(
      `[world.splits.${name}] name is taken: got a split that the world ${world.id} has, expected a new name. Change it.`,
    );
  }
  const tasks = world.tasks(of);
  const types = [...new Set(tasks.map(({ type }) => type))];
  const missing = task_types?.find((type) => !types.includes(type));
  if (missing !== undefined) {
    throw new ConfigError(
      `[world.splits.${name}] no task of ${of} has the type: got ${missing}, expected some of ${types.join(", ")}. Change it.`,
    );
  }
  return tasks.filter(({ type }) => task_types === null || task_types.includes(type));
}
