/** What a configuration says about a world, in the world's own words. */
import { type Difficulty, difficulties } from "../env/household/house.js";
import type { HouseholdOptions } from "../env/household/world.js";
import type { TrainConfig } from "./schema.js";

/** Options of `householdWorld` for the section `world` of a configuration. */
export function householdOptions(world: TrainConfig["world"]): HouseholdOptions {
  const { seed, difficulty, train, in_domain, out_of_domain, task_types } = world.household;
  const preset: Difficulty = difficulties[difficulty];
  return {
    seed,
    sizes: { train, in_domain, out_of_domain },
    difficulty: {
      receptacles: world.household.receptacles ?? preset.receptacles,
      items: world.household.items ?? preset.items,
      doors: world.household.doors ?? preset.doors,
    },
    taskTypes: {
      train: task_types.train ?? undefined,
      in_domain: task_types.in_domain ?? undefined,
      out_of_domain: task_types.out_of_domain ?? undefined,
    },
    maxSteps: world.max_steps,
  };
}

/**
 * Options of `openScienceWorld` for the section `world` of a configuration.
 * @param evaluated task types of evaluation; null = all
 */
export function scienceWorldOptions(world: TrainConfig["world"], evaluated: readonly string[] | null) {
  const { simplifications, commands, max_moves } = world.scienceworld;
  return {
    simplifications,
    listing: commands,
    maxMoves: max_moves ?? undefined,
    sampledTasks:
      world.task_types && evaluated ? [...new Set([...world.task_types, ...evaluated])] : undefined,
    jar: world.jar ?? undefined,
    timeLimit: world.process_time_limit,
    maxEnvironments: world.max_environments ?? undefined,
  };
}
