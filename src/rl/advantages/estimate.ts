/** From a table of steps to one advantage per row. Pure: the loss never learns where advantages came from. */
import { mean } from "../../core/statistics.js";
import { type AdvantageOptions, type ResolvedOptions, resolveOptions } from "./options.js";
import { addOutcomeParts } from "./outcome.js";
import { isMasked, penaltiesOf } from "./row_rules.js";
import { type AdvantageStatistics, summarise } from "./statistics.js";
import { addHistoryParts, addStepParts } from "./steps.js";
import { type AdvantageRow, haveActions, readTable, type Table } from "./table.js";
import { addTagParts } from "./tags.js";

/** Advantages of the rows, in their order. */
export interface Advantages {
  /** The sum of the parts. */
  readonly total: Float64Array;
  /** `outcome` and `penalty` always; `step` (gigpo, hgpo), `tag` (rlvmr), `clamp` (with `max_advantage`). */
  readonly parts: Readonly<Record<string, Float64Array>>;
  /** Under metric names, see docs/glossary.md. */
  readonly statistics: AdvantageStatistics;
}

/**
 * Group-relative advantages, one per row:
 *
 *     grpo, rloo   outcome
 *     gigpo        outcome + omega step
 *     hgpo         omega step, over nested groups
 *     rlvmr        outcome + w tag
 *
 * plus a part `penalty`. The formulas stand with `addOutcomeParts`, `addStepParts`, `addHistoryParts`, `addTagParts` and
 * `addPenaltyPart`. A group of one, of whatever kind, gets exactly 0, and so does a group without differences. No result
 * depends on the order of the rows.
 * @param rows in any order; of each column that the algorithm needs, every row has a value
 * @throws ArgumentError for options out of range, missing or wrong values and rows that contradict each other
 * @source the papers named at each part; keeping penalties apart is ours
 */
export function estimateAdvantages(rows: readonly AdvantageRow[], given: AdvantageOptions): Advantages {
  const options = resolveOptions(given, haveActions(rows));
  const table = readTable(rows, options);
  const zeros = () => new Float64Array(rows.length);
  const parts: Record<string, Float64Array> = { outcome: zeros(), penalty: zeros() };
  const { outcome, penalty } = parts;
  const isInReward = options.penalty_in === "reward";
  const penalties = penaltiesOf(table, options);
  const inReward = isInReward ? penalties : zeros();
  let paid: Float64Array | undefined;
  if (options.algo !== "hgpo" || options.history_outcome) {
    addOutcomeParts(table, options, inReward, { outcome, penalty });
  }
  if (options.algo === "gigpo") {
    parts.step = zeros();
    addStepParts(table, options, inReward, { step: parts.step, penalty });
  } else if (options.algo === "hgpo") {
    parts.step = zeros();
    addHistoryParts(table, options, inReward, { outcome, step: parts.step, penalty });
  } else if (options.algo === "rlvmr") {
    parts.tag = zeros();
    paid = addTagParts(table, options, { outcome, tag: parts.tag, penalty });
  }
  if (!isInReward) addPenaltyPart(table, options, penalty);
  rows.forEach((row, index) => {
    if (isMasked(row, options)) for (const part of Object.values(parts)) part[index] = 0;
  });
  if (options.max_advantage !== null) {
    parts.clamp = clampPart(sumOf(Object.values(parts), rows.length), options.max_advantage);
  }
  const total = sumOf(Object.values(parts), rows.length);
  return { total, parts, statistics: summarise(table, options, { parts, total, paid }) };
}

/** Sum of parts, row by row, in their order. */
function sumOf(parts: readonly Float64Array[], length: number): Float64Array {
  const sum = new Float64Array(length);
  for (const part of parts) for (let row = 0; row < length; row++) sum[row] += part[row];
  return sum;
}

/**
 * Adds penalties kept apart: penalty_i = -(p_i - mean p) over the rows of the group that are not masked. They are not
 * divided by a spread: in an all-failed group the tiny one would let one invalid action outweigh everything else in the
 * batch. They are centred, since pushing only down leaves open where the probability goes: without a baseline a policy
 * that is mostly invalid drifts from one invalid action to the next.
 * @source ours
 */
function addPenaltyPart({ rows, groups }: Table, options: ResolvedOptions, into: Float64Array): void {
  const { invalid_action_penalty } = options;
  for (const group of groups) {
    const counted = group.rows.filter((row) => !isMasked(rows[row], options));
    const isInvalid = (row: number) => Number(rows[row].valid === false);
    const extra = (row: number) => rows[row].penalty ?? 0;
    const invalidShare = mean(counted.map(isInvalid));
    const extraMean = mean(counted.map(extra));
    for (const row of counted) {
      into[row] += -invalid_action_penalty * (isInvalid(row) - invalidShare) - (extra(row) - extraMean);
    }
  }
}

/** What must be added to each total to bring it within the bound. */
function clampPart(total: Float64Array, bound: number): Float64Array {
  return total.map((value) => Math.min(bound, Math.max(-bound, value)) - value);
}
