/** Advantages of episodes against the other episodes of their group: GRPO and leave-one-out. */
import { contrast, type Scored, spread } from "./contrast.js";
import type { ResolvedOptions } from "./options.js";
import type { GroupRows, Table } from "./table.js";

/** Members of a group's statistics: one an episode, or one a row. */
function membersOf(
  { rows, episodes }: GroupRows,
  scored: (row: number) => Scored,
  crossSteps: boolean,
): Scored[] {
  return (crossSteps ? rows : episodes.map((episode) => episode.rows[0])).map(scored);
}

/** What deviations of a group are divided by. */
function divisorOf(options: ResolvedOptions, batchSpread: number) {
  const { algo, norm, scale_rewards, std, std_epsilon, scale_dead_groups } = options;
  return (scores: readonly number[], isDead: boolean): number => {
    // R_i - mean of the others = N / (N - 1) (R_i - mean)
    if (algo === "rloo") return (scores.length - 1) / scores.length;
    if (norm === "mean" || scale_rewards === "none" || (isDead && !scale_dead_groups)) return 1;
    return (scale_rewards === "batch" ? batchSpread : spread(scores, std)) + std_epsilon;
  };
}

/**
 * Adds to `outcome`, and to `penalty` what of it comes from penalties:
 *
 *     grpo   A_i = (R_i - mean R) / (std R + eps)
 *     rloo   A_i = R_i - mean of R over the others
 *
 * Members of the statistics are episodes, or rows with `cross_steps`. With penalties in the reward, R is the outcome minus
 * the row's own penalty, and an episode counts with its first row, as in verl-agent. Groups of one episode get 0.
 * @param penalties of the rows, to be taken from the reward; all 0 when they are kept apart
 * @source Shao et al. 2024 (2402.03300), 4.1.2; Ahmadian et al. 2024 (2402.14740), eq. 7; cross_steps: verl-agent
 */
export function addOutcomeParts(
  { rows, groups }: Table,
  options: ResolvedOptions,
  penalties: Float64Array,
  into: { readonly outcome: Float64Array; readonly penalty: Float64Array },
): void {
  const scored = (row: number): Scored => ({ reward: rows[row].outcome, penalty: penalties[row] });
  const members = groups.map((group) => membersOf(group, scored, options.cross_steps));
  const all = members.flatMap((group) => group.map(({ reward, penalty }) => reward - penalty));
  const divisor = divisorOf(options, spread(all, options.std));
  groups.forEach((group, at) => {
    if (group.episodes.length < 2) return;
    const compared = contrast(members[at], divisor);
    for (const row of group.rows) {
      const { reward, penalty } = compared.of(scored(row));
      into.outcome[row] += reward;
      into.penalty[row] += penalty;
    }
  });
}
