/** The weight lambda of the classification loss over a run: it rises at first, and ends when the judge is good enough. */

export interface WeightOptions {
  readonly lambda: number;
  /** Updates over which it rises linearly; 0 = at once. */
  readonly warmup: number;
  /** Balanced accuracy above which an update counts as solved; 1 never. */
  readonly stopAbove: number;
  /** Solved updates in a row after which the weight becomes 0. It comes back when one is not solved. */
  readonly patience: number;
}

/** Plain data, kept in checkpoints. */
export interface WeightState {
  /** Updates in which the judge was asked. */
  readonly updates: number;
  /** Solved ones in a row. */
  readonly solved: number;
}

export const WEIGHT_START: WeightState = { updates: 0, solved: 0 };

/** Weight of the next update. @source ours */
export function weightOf({ updates, solved }: WeightState, options: WeightOptions): number {
  const { lambda, warmup, patience } = options;
  if (solved >= patience) return 0;
  return lambda * (warmup > 0 ? Math.min(1, (updates + 1) / warmup) : 1);
}

/** State after an update. @param accuracy balanced, before the update */
export function afterUpdate(state: WeightState, accuracy: number, { stopAbove }: WeightOptions): WeightState {
  return { updates: state.updates + 1, solved: accuracy > stopAbove ? state.solved + 1 : 0 };
}
