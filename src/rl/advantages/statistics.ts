/** What is logged about advantages, under metric names. */
import { allEqual, mean, standardDeviation } from "../../core/statistics.js";
import type { ResolvedOptions } from "./options.js";
import { type StepGroup, stepGroups } from "./steps.js";
import type { GroupRows, Table } from "./table.js";

/** Keys are metric names, explained in docs/glossary.md; those of TRL mean the same as there. */
export interface AdvantageStatistics {
  /** Mean outcome over episodes. */
  readonly reward: number;
  /** Mean over groups of the standard deviation of outcomes within the group. */
  readonly reward_std: number;
  /** Share of groups whose outcomes are all equal: they teach nothing about success. */
  readonly frac_reward_zero_std: number;
  /** Share of groups in which no row has an advantage apart from penalties. */
  readonly "dead_groups/before_penalties": number;
  /** Share of groups in which no row has any advantage. */
  readonly "dead_groups/after_penalties": number;
  /** Mean and standard deviation of `total` over rows, and its extremes. */
  readonly "advantage/mean": number;
  readonly "advantage/std": number;
  readonly "advantage/min": number;
  readonly "advantage/max": number;
  /** Share of rows that were penalised. */
  readonly "advantage/penalised": number;
  /** Share of rows with an advantage. */
  readonly effective_sample_share: number;
  /** Those of step groups and tags, where the algorithm has them. */
  readonly [name: string]: number;
}

interface Estimated {
  readonly parts: Readonly<Record<string, Float64Array>>;
  readonly total: Float64Array;
  /** Rewards of tags before they were compared. */
  readonly paid: Float64Array | undefined;
}

export function summarise(table: Table, options: ResolvedOptions, estimated: Estimated): AdvantageStatistics {
  const { parts, total, paid } = estimated;
  return {
    ...ofGroups(table, parts, total),
    "advantage/mean": mean(total),
    "advantage/std": standardDeviation(total),
    "advantage/min": total.reduce((least, value) => Math.min(least, value), 0),
    "advantage/max": total.reduce((most, value) => Math.max(most, value), 0),
    "advantage/penalised": shareOf(parts.penalty, (value) => value < 0),
    ...(parts.clamp && { "advantage/clamped": shareOf(parts.clamp, (value) => value !== 0) }),
    effective_sample_share: shareOf(total, (value) => value !== 0),
    ...(options.algo === "gigpo" && ofStepGroups(table, stepGroups(table, 0), "")),
    ...(options.algo === "hgpo" && ofLevels(table, options)),
    ...(paid && ofTags(table, paid)),
  };
}

function shareOf(values: Float64Array, holds: (value: number) => boolean): number {
  return mean(Array.from(values, (value) => Number(holds(value))));
}

function ofGroups({ groups }: Table, parts: Estimated["parts"], total: Float64Array) {
  const outcomes = groups.map(({ episodes }) => episodes.map(({ outcome }) => outcome));
  const share = (holds: (group: GroupRows, at: number) => boolean) =>
    mean(groups.map((group, at) => Number(holds(group, at))));
  const isDead = (part: Float64Array | undefined, { rows }: GroupRows) =>
    !part || rows.every((row) => part[row] === 0);
  return {
    reward: mean(outcomes.flat()),
    reward_std: mean(outcomes.map(standardDeviation)),
    frac_reward_zero_std: share((_, at) => allEqual(outcomes[at])),
    "dead_groups/before_penalties": share((group) =>
      [parts.outcome, parts.step, parts.tag].every((part) => isDead(part, group)),
    ),
    "dead_groups/after_penalties": share((group) => isDead(total, group)),
  };
}

/** Sizes of step groups; `anchor/singleton_rows` near 1 means that steps are hardly compared at all. */
function ofStepGroups({ rows }: Table, groups: readonly StepGroup[], suffix: string): Record<string, number> {
  const sizes = groups.map(({ length }) => length);
  const keyed = sizes.reduce((sum, size) => sum + size, 0);
  const alone = sizes.filter((size) => size === 1).length;
  const isOneEpisode = (group: StepGroup) => allEqualBy(group, (row) => rows[row].episode);
  const several = groups.filter(({ length }) => length > 1);
  return {
    [`anchor/mean_size${suffix}`]: mean(sizes),
    [`anchor/max_size${suffix}`]: sizes.reduce((most, size) => Math.max(most, size), 0),
    [`anchor/singleton_groups${suffix}`]: sizes.length === 0 ? 0 : alone / sizes.length,
    [`anchor/singleton_rows${suffix}`]: keyed === 0 ? 0 : alone / keyed,
    [`anchor/one_episode_groups${suffix}`]: mean(several.map((group) => Number(isOneEpisode(group)))),
    [`anchor/without_key${suffix}`]: rows.length === 0 ? 0 : (rows.length - keyed) / rows.length,
  };
}

function allEqualBy(group: StepGroup, of: (row: number) => unknown): boolean {
  return group.every((row) => of(row) === of(group[0]));
}

function ofLevels(table: Table, { history_length }: ResolvedOptions): Record<string, number> {
  const levels = Array.from({ length: history_length + 1 }, (_, k) =>
    ofStepGroups(table, stepGroups(table, k), k === 0 ? "" : `/${k}`),
  );
  return Object.assign({}, ...levels) as Record<string, number>;
}

function ofTags({ rows }: Table, paid: Float64Array): Record<string, number> {
  const result: Record<string, number> = {};
  const share = (count: number) => (rows.length === 0 ? 0 : count / rows.length);
  const places = [...rows.keys()];
  const tagOf = (row: number) => (rows[row].valid ? rows[row].tag : undefined);
  for (const tag of ["planning", "explore", "reflection", "monitor"]) {
    const tagged = places.filter((row) => tagOf(row) === tag);
    result[`tag/${tag}`] = share(tagged.length);
    if (tag !== "monitor") result[`tag/${tag}/reward`] = mean(tagged.map((row) => paid[row]));
  }
  result["tag/none"] = share(places.filter((row) => (tagOf(row) ?? "none") === "none").length);
  return result;
}
