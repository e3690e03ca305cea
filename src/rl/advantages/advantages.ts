/** From a table of steps to one advantage per row. Pure: the loss never learns where advantages came from. */
import { ArgumentError } from "../../core/errors.js";
import { allEqual, mean, standardDeviation } from "../../core/statistics.js";

/** One environment step, as estimators see it. `StepRow`s of rollouts fit, given `outcome`. */
export interface AdvantageRow {
  /** Episodes of one group share task and start. */
  readonly group: number;
  /** Number of the episode within its group, or within the rollout. */
  readonly episode: number;
  /** 0-based step within the episode. */
  readonly step: number;
  /** Reward of the whole episode, repeated on each of its rows. */
  readonly outcome: number;
  /** Whether the action was acceptable; see `invalidActionPenalty`. */
  readonly valid: boolean;
  /** The action hit the token limit before it ended. */
  readonly truncated?: boolean;
  /** Identity of the state acted in: rows of one group and key can be compared step by step. */
  readonly anchorKey?: string;
  /** Kinds of step, for example the tag an action was given in. */
  readonly tags?: readonly string[];
  /** Reward of this step alone. */
  readonly stepReward?: number;
}

export interface GroupAdvantageOptions {
  /** What deviations from the group's mean are divided by: standard deviation of the group, of all, or nothing. */
  readonly scaleRewards: "group" | "batch" | "none";
  /** Taken from rows with invalid actions, in units of advantages; 0 or more. */
  readonly invalidActionPenalty: number;
  /** Statistics over rows, so that long episodes weigh more, rather than over episodes. Default false. */
  readonly crossSteps?: boolean;
  /** Rows whose action was truncated get neither part: the loss masks them. Default false. */
  readonly maskTruncated?: boolean;
}

/** Advantages of the rows, in their order. total = outcome + penalty. */
export interface Advantages {
  readonly outcome: Float64Array;
  readonly penalty: Float64Array;
  readonly total: Float64Array;
  readonly statistics: AdvantageStatistics;
}

/** Keys are metric names; those of TRL mean the same as there. */
export interface AdvantageStatistics {
  /** Mean outcome over episodes. */
  readonly reward: number;
  /** Mean over groups of the standard deviation of outcomes within the group. */
  readonly reward_std: number;
  /** Share of groups whose outcomes are all equal: they teach nothing about success. */
  readonly frac_reward_zero_std: number;
  /** Share of groups in which no row has an outcome advantage. */
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
}

/** Added to the standard deviation before dividing. @source TRL */
const STD_EPSILON = 1e-4;

/** Rows of one group, and its outcomes: one for each statistical unit (episode or row). */
interface Group {
  readonly rows: number[];
  readonly episodes: Map<number, number>;
  readonly units: number[];
}

/** The error for a table that contradicts itself. */
function malformed(row: AdvantageRow, got: string, expected: string): ArgumentError {
  return new ArgumentError(
    `[advantages] rows contradict each other at group ${row.group}, episode ${row.episode}, step ${row.step}: got ` +
      `${got}, expected ${expected}. Give every episode one outcome.`,
  );
}

function collectGroups(rows: readonly AdvantageRow[], crossSteps: boolean): Group[] {
  const groups = new Map<number, Group>();
  rows.forEach((row, index) => {
    const group = groups.get(row.group) ?? { rows: [], episodes: new Map<number, number>(), units: [] };
    groups.set(row.group, group);
    if (!Number.isFinite(row.outcome)) throw malformed(row, `outcome ${row.outcome}`, "a finite number");
    const known = group.episodes.get(row.episode);
    if (known !== undefined && known !== row.outcome) {
      throw malformed(row, `outcome ${row.outcome}`, `${known} as in earlier rows of the episode`);
    }
    if (known === undefined || crossSteps) group.units.push(row.outcome);
    group.episodes.set(row.episode, row.outcome);
    group.rows.push(index);
  });
  return [...groups.values()];
}

function outcomesOf({ episodes }: Group): number[] {
  return [...episodes.values()];
}

/** What deviations of a group are divided by. */
function divisor(group: Group, batchStd: number, scale: GroupAdvantageOptions["scaleRewards"]): number {
  if (scale === "none") return 1;
  return (scale === "batch" ? batchStd : standardDeviation(group.units)) + STD_EPSILON;
}

/**
 * Group-relative advantages of GRPO, one per row, in two parts that are never mixed before they are added:
 *
 *     outcome_i = (R - mean R) / (std R + 1e-4)      over the group that row i belongs to, R = outcome of an episode
 *     penalty_i = -invalidActionPenalty (I_i - mean I)   over the rows of the group, I = 1 where the action is invalid
 *
 * Statistics have one entry per episode; with `crossSteps` one per row, which lets long failures dominate the mean, as
 * verl-agent does by default. std is the unbiased one (N - 1). A group of one episode and a group of equal outcomes get
 * exactly 0. The penalty is not divided by a spread: in an all-failed group the tiny one would let one invalid action
 * outweigh everything else in the batch. It is centred, since pushing only down leaves open where the probability goes:
 * without a baseline a policy that is mostly invalid drifts from one invalid action to the next.
 * @param rows in any order; every episode has one outcome on all its rows
 * @throws ArgumentError when rows of one episode disagree about the outcome, or an outcome is not finite
 * @source Shao et al. 2024 (2402.03300), section 4.1.2; scale_rewards as in TRL; the split into two parts is ours
 */
export function groupAdvantages(rows: readonly AdvantageRow[], options: GroupAdvantageOptions): Advantages {
  const groups = collectGroups(rows, options.crossSteps ?? false);
  const outcome = new Float64Array(rows.length);
  const batchStd = standardDeviation(groups.flatMap(({ units }) => units));
  for (const group of groups) {
    if (group.episodes.size < 2 || allEqual(outcomesOf(group))) continue;
    const centre = mean(group.units);
    const scale = divisor(group, batchStd, options.scaleRewards);
    for (const index of group.rows) outcome[index] = (rows[index].outcome - centre) / scale;
  }
  const penalty = new Float64Array(rows.length);
  for (const group of groups) {
    const counted = group.rows.filter((index) => !(options.maskTruncated && rows[index].truncated));
    const invalidShare = mean(counted.map((index) => Number(!rows[index].valid)));
    for (const index of counted) {
      penalty[index] = -options.invalidActionPenalty * (Number(!rows[index].valid) - invalidShare);
    }
  }
  if (options.maskTruncated) {
    rows.forEach(({ truncated }, index) => {
      if (truncated) outcome[index] = penalty[index] = 0;
    });
  }
  const total = outcome.map((value, index) => value + penalty[index]);
  return { outcome, penalty, total, statistics: summarise(groups, { outcome, penalty, total }) };
}

function summarise(
  groups: readonly Group[],
  { outcome, penalty, total }: Omit<Advantages, "statistics">,
): AdvantageStatistics {
  const share = (holds: (group: Group) => boolean) => mean(groups.map((group) => (holds(group) ? 1 : 0)));
  const dead = (part: Float64Array) => share((group) => group.rows.every((index) => part[index] === 0));
  return {
    reward: mean(groups.flatMap(outcomesOf)),
    reward_std: mean(groups.map((group) => standardDeviation(outcomesOf(group)))),
    frac_reward_zero_std: share((group) => allEqual(outcomesOf(group))),
    "dead_groups/before_penalties": dead(outcome),
    "dead_groups/after_penalties": dead(total),
    "advantage/mean": mean(total),
    "advantage/std": standardDeviation(total),
    "advantage/min": total.reduce((least, value) => Math.min(least, value), 0),
    "advantage/max": total.reduce((most, value) => Math.max(most, value), 0),
    "advantage/penalised": mean(penalty.map((value) => Number(value < 0))),
  };
}
