/**
 * Flawed actions that are chosen often: counted over rollouts by task type, by what was read and by what was done, with the
 * numbers of instances left out, so that one habit in many houses is one habit. Ours (RECON); the paper says only that
 * critiques of mistakes are summarised.
 */
import type { PlayedRow } from "../rows.js";

/** Counts of one kind of state, plain data. */
export interface StateCounts {
  readonly taskType: string;
  /** Text before acting, without instance numbers. */
  readonly situation: string;
  readonly visits: number;
  readonly actions: readonly ActionCounts[];
}

export interface ActionCounts {
  /** Command without instance numbers. */
  readonly action: string;
  /** Times it was chosen there. */
  readonly count: number;
  /** Times it was chosen and labelled bad, and labelled good. */
  readonly bad: number;
  readonly good: number;
}

/** A flawed action and where it is one. */
export interface Mistake {
  readonly taskType: string;
  readonly situation: string;
  readonly action: string;
}

/** A mistake that is made often. */
export interface Habit extends Mistake {
  /** count / visits. */
  readonly frequency: number;
  readonly visits: number;
}

export interface HabitOptions {
  /** Least frequency. */
  readonly threshold: number;
  /** Least visits of the state. */
  readonly minVisits: number;
}

/** A text without the numbers of instances: `You open the drawer 3.` becomes `You open the drawer.` */
export function withoutNumbers(text: string): string {
  return text
    .replace(/\s+\d+(?![\w])/g, "")
    .replace(/\s+/g, " ")
    .trim();
}

/** Adds the rows of one rollout. @param labelOf label of a row's action, where it has one */
export function countHabits(
  counts: readonly StateCounts[],
  rows: readonly PlayedRow[],
  labelOf: (row: PlayedRow) => "good" | "bad" | undefined,
): StateCounts[] {
  const states = new Map<string, { state: StateCounts; actions: Map<string, ActionCounts> }>();
  const keyOf = (taskType: string, situation: string) => `${taskType}\n${situation}`;
  for (const state of counts) {
    const actions = new Map(state.actions.map((action) => [action.action, action]));
    states.set(keyOf(state.taskType, state.situation), { state, actions });
  }
  for (const row of rows) {
    const situation = withoutNumbers(row.observation);
    const action = withoutNumbers(row.action);
    const key = keyOf(row.taskType, situation);
    const known = states.get(key) ?? {
      state: { taskType: row.taskType, situation, visits: 0, actions: [] },
      actions: new Map<string, ActionCounts>(),
    };
    known.state = { ...known.state, visits: known.state.visits + 1 };
    const before = known.actions.get(action) ?? { action, count: 0, bad: 0, good: 0 };
    const label = labelOf(row);
    known.actions.set(action, {
      action,
      count: before.count + 1,
      bad: before.bad + Number(label === "bad"),
      good: before.good + Number(label === "good"),
    });
    states.set(key, known);
  }
  return [...states.values()].map(({ state, actions }) => ({ ...state, actions: [...actions.values()] }));
}

/** Share of the visits of a state in which an action was chosen; undefined where the state was seen too rarely to say. */
export function frequencyOf(
  counts: readonly StateCounts[],
  { taskType, situation, action }: Mistake,
  minVisits: number,
): number | undefined {
  const state = counts.find((one) => one.taskType === taskType && one.situation === situation);
  if (!state || state.visits < minVisits) return undefined;
  const chosen = state.actions.find((one) => one.action === action)?.count ?? 0;
  return chosen / state.visits;
}

/** Actions that are chosen often and were labelled bad more often than good; the most frequent first. */
export function findHabits(counts: readonly StateCounts[], { threshold, minVisits }: HabitOptions): Habit[] {
  return counts
    .filter(({ visits }) => visits >= minVisits)
    .flatMap(({ taskType, situation, visits, actions }) =>
      actions
        .filter(({ bad, good }) => bad > good)
        .map(({ action, count }) => ({ taskType, situation, action, frequency: count / visits, visits })),
    )
    .filter(({ frequency }) => frequency >= threshold)
    .sort(
      (a, b) =>
        b.frequency * b.visits - a.frequency * a.visits ||
        `${a.situation}${a.action}`.localeCompare(`${b.situation}${b.action}`),
    );
}
