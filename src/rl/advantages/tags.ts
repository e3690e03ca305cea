/** Advantages of steps against steps of the same announced kind: RLVMR's tags, their rewards by rule, and their cap. */
import type { Scored } from "./contrast.js";
import type { ResolvedOptions } from "./options.js";
import { stepContrast } from "./steps.js";
import type { AdvantageRow, EpisodeRows, Table } from "./table.js";

/** The tag that a row is compared under; undefined: none, and no reward. A monitoring step is never paid. */
function paidTag({ tag, valid }: AdvantageRow): string | undefined {
  if (!valid || !tag || tag === "monitor" || tag === "none") return undefined;
  return tag;
}

/** Whether a reflection had a reason, the step before having gone wrong, and led to another action. */
function reflects(previous: AdvantageRow | undefined, row: AdvantageRow, firstStep: boolean): boolean {
  if (!previous) return firstStep;
  const wentWrong = !previous.valid || previous.admissible === false;
  return wentWrong && previous.action !== row.action;
}

/**
 * Rewards of the steps of an episode, 0 or 1, by their tags:
 *
 *     planning     the episode's outcome is above 0
 *     explore      no earlier valid step of the episode had this action
 *     reflection   the step before was invalid or not admissible, and had another action
 *
 * and 0 for monitor, for no tag, and for invalid answers. These are the paper's rules as its code has them: "new" in
 * explore means a new action text, where the paper speaks of new objects and places.
 * @source RLVMR (2507.22844), section 3.2, and its code
 */
function ruleRewards(
  rows: readonly AdvantageRow[],
  { rows: steps, outcome }: EpisodeRows,
  { first_step_reflection }: ResolvedOptions,
): number[] {
  const tried = new Set<string | undefined>();
  return steps.map((index, at) => {
    const row = rows[index];
    const tag = paidTag(row);
    const isNew = !tried.has(row.action);
    if (row.valid) tried.add(row.action);
    if (tag === "planning") return Number(outcome > 0);
    if (tag === "explore") return Number(isNew);
    if (tag === "reflection") {
      return Number(reflects(at > 0 ? rows[steps[at - 1]] : undefined, row, first_step_reflection));
    }
    return 0;
  });
}

/** Reward of every row for its tag, before it is compared; 0 beyond `max_paid_tags` paid steps of a tag in an episode. */
export function tagRewards({ rows, groups }: Table, options: ResolvedOptions): Float64Array {
  const result = new Float64Array(rows.length);
  for (const { episodes } of groups) {
    for (const episode of episodes) {
      const rewards =
        options.tag_reward === "rules"
          ? ruleRewards(rows, episode, options)
          : episode.rows.map((row) => (paidTag(rows[row]) ? (rows[row].stepReward ?? 0) : 0));
      const paid = new Map<string, number>();
      episode.rows.forEach((row, at) => {
        const tag = paidTag(rows[row]);
        if (tag === undefined || rewards[at] === 0) return;
        const count = (paid.get(tag) ?? 0) + 1;
        paid.set(tag, count);
        if (options.max_paid_tags === null || count <= options.max_paid_tags) result[row] = rewards[at];
      });
    }
  }
  return result;
}

/**
 * Adds tag advantages to `tag`, and weighs outcome parts where the paper's form asks for it:
 *
 *     A = A_outcome + w A_tag                    `tag_weight`, the code's form
 *     A = alpha A_outcome + (1 - alpha) A_tag    `tag_alpha`, the paper's form
 *     A_tag = (r - mean r) / (std r + eps)       over the rows of one group and tag
 *
 * The format penalty is the invalid action penalty. Kept apart, it is not weighed.
 * @returns rewards before they were compared, for statistics
 * @source RLVMR (2507.22844), eq. 5 to 8: tags are compared within the task group, as the code does; the paper's words say
 *   within the batch
 */
export function addTagParts(
  table: Table,
  options: ResolvedOptions,
  into: { readonly outcome: Float64Array; readonly tag: Float64Array; readonly penalty: Float64Array },
): Float64Array {
  const { tag_alpha, tag_weight } = options;
  if (tag_alpha !== null) {
    for (let row = 0; row < table.rows.length; row++) {
      into.outcome[row] *= tag_alpha;
      into.penalty[row] *= tag_alpha;
    }
  }
  const weight = tag_alpha === null ? tag_weight : 1 - tag_alpha;
  const rewards = tagRewards(table, options);
  const scored = (row: number): Scored => ({ reward: rewards[row], penalty: 0 });
  for (const { rows: members } of table.groups) {
    for (const tag of ["planning", "explore", "reflection"]) {
      const tagged = members.filter((row) => paidTag(table.rows[row]) === tag);
      const compared = stepContrast(tagged.map(scored), options);
      for (const row of tagged) into.tag[row] = weight * compared.of(scored(row)).reward;
    }
  }
  return rewards;
}
