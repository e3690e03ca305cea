/** Choosing among the updates whose rollouts are kept. */

/** The kept update that lies nearest; undefined where none is kept. */
export function nearestOf(steps: readonly number[], wanted: number): number | undefined {
  return steps.reduce<number | undefined>(
    (best, step) => (best === undefined || Math.abs(step - wanted) < Math.abs(best - wanted) ? step : best),
    undefined,
  );
}
