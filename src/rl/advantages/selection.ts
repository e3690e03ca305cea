/** Which sampled groups are worth an update, and what is taken from rewards before groups are compared. */
import { ArgumentError } from "../../core/errors.js";
import { groupBy } from "../../core/group_by.js";
import { allEqual } from "../../core/statistics.js";
import type { Identity } from "./table.js";

/** An episode of a sampled group. */
export interface GroupEpisode {
  readonly group: Identity;
  readonly outcome: number;
}

export interface GroupSelection {
  /** Groups with contrast, in the order in which they were sampled, at most as many as wanted. */
  readonly kept: readonly Identity[];
  /** Groups whose outcomes are all equal. */
  readonly dropped: readonly Identity[];
  /** How many more groups with contrast must be sampled. */
  readonly missing: number;
}

/**
 * Dynamic sampling: keeps groups in which outcomes differ, until there are enough; the rest would have advantage 0.
 * @param episodes of all groups sampled so far
 * @param wanted groups of one update
 * @source DAPO (2503.14476), eq. 11; verl: algorithm.filter_groups
 */
export function selectGroups(episodes: readonly GroupEpisode[], wanted: number): GroupSelection {
  if (!Number.isInteger(wanted) || wanted < 1) {
    throw new ArgumentError(
      `[groups] wanted is out of range: got ${wanted}, expected an integer, 1 or more. Pass the groups of one update.`,
    );
  }
  const groups = [...groupBy(episodes, ({ group }) => group)];
  const isDead = (members: readonly GroupEpisode[]) => allEqual(members.map(({ outcome }) => outcome));
  const withContrast = groups.filter(([, members]) => !isDead(members)).map(([group]) => group);
  const kept = withContrast.slice(0, wanted);
  return {
    kept,
    dropped: groups.filter(([, members]) => isDead(members)).map(([group]) => group),
    missing: wanted - kept.length,
  };
}

/**
 * Penalty of a long answer, 0 to 1: 0 up to `maxLength - buffer` tokens, then rising evenly to 1 at `maxLength`.
 * @throws ArgumentError unless 0 < buffer <= maxLength
 * @source DAPO (2503.14476), eq. 13; verl: overlong_buffer with penalty_factor 1
 */
export function overlongPenalty(length: number, maxLength: number, buffer: number): number {
  if (!(buffer > 0 && buffer <= maxLength)) {
    throw new ArgumentError(
      `[groups] overlong buffer is out of range: got ${buffer}, expected more than 0, at most ${maxLength}. Change it.`,
    );
  }
  return Math.min(1, Math.max(0, (length - (maxLength - buffer)) / buffer));
}
