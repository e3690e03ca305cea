/** How consistently the episodes of a group do the same in the same state. */
import { groupBy } from "../../core/group_by.js";

/** One step of an episode. */
export interface VisitedStep {
  readonly group: number;
  readonly episode: number;
  readonly state: string;
  readonly action: string;
}

export interface RepeatConsistency {
  /** States that two or more episodes of one group visited. */
  readonly states: number;
  /** Unordered pairs of episodes that met in one of them. */
  readonly pairs: number;
  /** Share of these pairs that did the same; null without one. */
  readonly consistency: number | null;
}

/**
 * Share of pairs of episodes of one group that, in a state both visited, did the same: sum over states of the number of
 * equal pairs over that of all pairs. Only the first visit of an episode to a state counts, so that an episode which
 * repeats itself is not compared with itself.
 * @source ours; 2509.23870 shows a figure of that name whose denominator is not known to us
 */
export function repeatConsistency(steps: readonly VisitedStep[]): RepeatConsistency {
  let [states, pairs, equal] = [0, 0, 0];
  const visits = groupBy(steps, ({ group, state }) => JSON.stringify([group, state]));
  for (const visit of visits.values()) {
    const first = [...groupBy(visit, ({ episode }) => episode).values()].map(([step]) => step);
    if (first.length < 2) continue;
    states++;
    pairs += choose2(first.length);
    for (const same of groupBy(first, ({ action }) => action).values()) equal += choose2(same.length);
  }
  return { states, pairs, consistency: pairs === 0 ? null : equal / pairs };
}

function choose2(count: number): number {
  return (count * (count - 1)) / 2;
}
