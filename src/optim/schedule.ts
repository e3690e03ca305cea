/** Learning rate schedules: pure functions from the optimiser step to a multiplier of the base rate. */
import { ArgumentError } from "../core/errors.js";

export interface ScheduleOptions {
  readonly kind: "constant" | "linear" | "cosine";
  /** Steps over which the multiplier climbs linearly: step 0 gets 1 / warmupSteps, step warmupSteps - 1 gets 1. Default 0. */
  readonly warmupSteps?: number;
  /** Step at which `linear` and `cosine` reach `minimum`, warm-up included. Not used by `constant`. */
  readonly totalSteps?: number;
  /** Multiplier at and after the end, in [0, 1]. Default 0. */
  readonly minimum?: number;
}

/**
 * @returns step (0-based) -> multiplier in [0, 1]
 * @throws ArgumentError when counts are negative or the end does not come after the warm-up
 */
export function schedule(options: ScheduleOptions): (step: number) => number {
  const { kind, warmupSteps = 0, totalSteps = 0, minimum = 0 } = options;
  if (!(warmupSteps >= 0)) fail("warmupSteps", warmupSteps, "at least 0");
  if (!(minimum >= 0 && minimum <= 1)) fail("minimum", minimum, "a number in [0, 1]");
  if (kind !== "constant" && !(totalSteps > warmupSteps))
    fail("totalSteps", totalSteps, `more than the ${warmupSteps} warm-up steps`);
  return (step) => {
    if (step < warmupSteps) return (step + 1) / warmupSteps;
    if (kind === "constant") return 1;
    const progress = Math.min(1, (step - warmupSteps) / (totalSteps - warmupSteps));
    const left = kind === "linear" ? 1 - progress : (1 + Math.cos(Math.PI * progress)) / 2;
    return minimum + (1 - minimum) * left;
  };
}

function fail(name: string, value: number, rule: string): never {
  throw new ArgumentError(`[schedule] ${name} is wrong: got ${value}, expected ${rule}. Change it.`);
}
