/** Advantages of steps against other steps taken in the same state: GiGPO, and HGPO's nested groups. */
import { type Contrast, contrast, type Deviation, NO_CONTRAST, type Scored, spread } from "./contrast.js";
import type { ResolvedOptions } from "./options.js";
import type { AdvantageRow, EpisodeRows, Table } from "./table.js";

/** Rows that are compared with each other. */
export type StepGroup = readonly number[];

/**
 * Discounted return of every step, R_t = r_t + gamma R_{t+1}, within its episode.
 * @source GiGPO (2505.10978), eq. 6
 */
function stepReturns({ rows, groups }: Table, gamma: number): Float64Array {
  const returns = new Float64Array(rows.length);
  for (const { episodes } of groups) {
    for (const { rows: steps } of episodes) {
      let after = 0;
      for (const row of [...steps].reverse()) {
        after = (rows[row].stepReward ?? 0) + gamma * after;
        returns[row] = after;
      }
    }
  }
  return returns;
}

const keyOf = ({ anchorKey }: AdvantageRow): string | undefined => anchorKey ?? undefined;

/** The last k + 1 keys up to a place of an episode; undefined when there are fewer, or one of them has no key. */
function historyKey(
  rows: readonly AdvantageRow[],
  { rows: steps }: EpisodeRows,
  at: number,
  k: number,
): string | undefined {
  if (at < k) return undefined;
  const keys = steps.slice(at - k, at + 1).map((row) => keyOf(rows[row]));
  return keys.includes(undefined) ? undefined : JSON.stringify(keys);
}

/**
 * Step groups of one level: rows of one group whose last k + 1 states are equal. Level 0 are GiGPO's.
 * @param k earlier states that must be equal, too
 * @source HGPO (2602.22817), eq. 3 to 5
 */
export function stepGroups({ rows, groups }: Table, k: number): StepGroup[] {
  return groups.flatMap(({ episodes }) => {
    const byKey = new Map<string, number[]>();
    for (const episode of episodes) {
      episode.rows.forEach((row, at) => {
        const key = historyKey(rows, episode, at, k);
        if (key === undefined) return;
        const members = byKey.get(key);
        if (members) members.push(row);
        else byKey.set(key, [row]);
      });
    }
    return [...byKey.values()];
  });
}

/** Contrast within one step or tag group; `scale_rewards` is about outcomes alone. */
export function stepContrast(members: readonly Scored[], options: ResolvedOptions): Contrast {
  const { norm, std, std_epsilon } = options;
  return contrast(members, (scores) => (norm === "mean" ? 1 : spread(scores, std) + std_epsilon));
}

/**
 * Adds step advantages of GiGPO to `step`, and to `penalty` what of them comes from penalties:
 *
 *     A_S = omega (R_t - mean R) / (std R + eps)      over the rows of one group and anchor state
 *
 * R is the step return; with penalties in the reward, minus the row's own penalty, which earlier steps do not feel. Step
 * groups of one row, and rows without a key, get 0.
 * @source GiGPO (2505.10978), eq. 7 and 8; verl-agent
 */
export function addStepParts(
  table: Table,
  options: ResolvedOptions,
  penalties: Float64Array,
  into: { readonly step: Float64Array; readonly penalty: Float64Array },
): void {
  const returns = stepReturns(table, options.gamma);
  const scored = (row: number): Scored => ({ reward: returns[row], penalty: penalties[row] });
  for (const members of stepGroups(table, 0)) {
    const compared = stepContrast(members.map(scored), options);
    for (const row of members) {
      const { reward, penalty } = compared.of(scored(row));
      into.step[row] += options.step_advantage_weight * reward;
      into.penalty[row] += options.step_advantage_weight * penalty;
    }
  }
}

/**
 * Adds step advantages of HGPO, a weighted mean over the levels k = 0..K at which a row has somebody to differ from:
 *
 *     A = omega sum_k w_k A_k / sum_k w_k,    w_k = (k + 1)^alpha
 *
 * A_k is GiGPO's A_S within the groups of level k. Levels without contrast (a group of one, equal returns, fewer than k
 * earlier steps) are left out of both sums, so that they do not dilute the others. There is no outcome part unless
 * `history_outcome` makes it one more level, of weight 1.
 * @param outcome parts of comparing episodes, read and replaced by what of them counts
 * @source HGPO (2602.22817), eq. 7, and its code. The code leaves out levels at which the row itself is at the mean; here
 *   these count
 */
export function addHistoryParts(
  table: Table,
  options: ResolvedOptions,
  penalties: Float64Array,
  into: { readonly outcome: Float64Array; readonly step: Float64Array; readonly penalty: Float64Array },
): void {
  const { gamma, history_length, history_alpha, history_outcome, step_advantage_weight } = options;
  const returns = stepReturns(table, gamma);
  const scored = (row: number): Scored => ({ reward: returns[row], penalty: penalties[row] });
  const weights = new Float64Array(table.rows.length);
  const sums = table.rows.map(() => ({ reward: 0, penalty: 0 }));
  for (let k = 0; k <= history_length; k++) {
    const weight = (k + 1) ** history_alpha;
    for (const members of stepGroups(table, k)) {
      const compared = stepContrast(members.map(scored), options);
      if (compared === NO_CONTRAST) continue;
      for (const row of members) {
        const { reward, penalty }: Deviation = compared.of(scored(row));
        weights[row] += weight;
        sums[row].reward += weight * reward;
        sums[row].penalty += weight * penalty;
      }
    }
  }
  sums.forEach(({ reward, penalty }, row) => {
    const hasOutcome = history_outcome && (into.outcome[row] !== 0 || into.penalty[row] !== 0);
    const total = weights[row] + Number(hasOutcome);
    const share = total > 0 ? step_advantage_weight / total : 0;
    into.step[row] = share * reward;
    into.penalty[row] = share * (penalty + (hasOutcome ? into.penalty[row] : 0));
    into.outcome[row] = hasOutcome ? share * into.outcome[row] : 0;
  });
}
