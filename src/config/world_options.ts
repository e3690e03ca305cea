/** What a configuration says about a world, in the world's own words. */
import { type Difficulty, difficulties } from "../env/household/house.js";
import type { HouseholdOptions } from "../env/household/world.js";
import type { TrainConfig } from "./schema.js";

/** Options of `householdWorld` for the section `world` of a configuration. */
export function householdOptions(world: TrainConfig["world"]): HouseholdOptions {
  const { seed, difficulty, train, seen_houses, in_domain, out_of_domain, task_types } = world.household;
  const preset: Difficulty = difficulties[difficulty];
  return {
    seed,
    sizes: { train, seen_houses, in_domain, out_of_domain },
    difficulty: {
      receptacles: world.household.receptacles ?? preset.receptacles,
      items: world.household.items ?? preset.items,
      doors: world.household.doors ?? preset.doors,
    },
    taskTypes: {
      train: task_types.train ?? undefined,
      seen_houses: task_types.seen_houses ?? undefined,
      in_domain: task_types.in_domain ?? undefined,
      out_of_domain: task_types.out_of_domain ?? undefined,
    },
    maxSteps: world.max_steps,
  };
}

/** Options of `openScienceWorld` for a configuration. The words of the world come from the tasks that it names. */
export function scienceWorldOptions({ world, eval: evaluation }: TrainConfig) {
  const { simplifications, commands, max_moves } = world.scienceworld;
  const { task_types: trained } = world;
  const { task_types: evaluated } = evaluation;
  return {
    simplifications,
    listing: commands,
    maxMoves: max_moves ?? undefined,
    sampledTasks: trained && evaluated ? [...new Set([...trained, ...evaluated])] : undefined,
    jar: world.jar ?? undefined,
    timeLimit: world.process_time_limit,
    maxEnvironments: world.max_environments ?? undefined,
  };
}
