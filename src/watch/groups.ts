/** From rows of an update to what is shown of its groups, episodes and states. Pure. */
import { groupBy } from "../core/group_by.js";
import type { RolloutRow } from "../core/run_record.js";
import { mean } from "../core/statistics.js";
import type { AnchorAction, AnchorState, EpisodeLine, EpisodePage, GroupLine, Turn } from "./api.js";

/** Rows of play, those of imitation too; verdicts are no play. */
export function playedRows(rows: readonly RolloutRow[]): RolloutRow[] {
  return rows.filter(({ kind }) => kind !== "classification");
}

/** Rows of each episode of one group, in the order of their steps. */
function episodesOf(rows: readonly RolloutRow[]): Map<number, RolloutRow[]> {
  const episodes = groupBy(rows, ({ episode }) => episode);
  for (const own of episodes.values()) own.sort((a, b) => a.env_step - b.env_step);
  return new Map([...episodes].sort(([a], [b]) => a - b));
}

/** For each row of an episode whether its action was given before under the same observation. */
export function repeats(rows: readonly Pick<RolloutRow, "observation" | "action">[]): boolean[] {
  const seen = new Set<string>();
  return rows.map(({ observation, action }) => {
    const key = JSON.stringify([observation, action]);
    const isKnown = seen.has(key);
    seen.add(key);
    return isKnown;
  });
}

function episodeLine(episode: number, rows: readonly RolloutRow[]): EpisodeLine {
  return {
    episode,
    outcome: rows[0].return,
    advantage: mean(rows.map(({ advantage }) => advantage)),
    turns: rows.length,
    invalid: rows.filter(({ valid }) => !valid).length,
    repeated: repeats(rows).filter(Boolean).length,
  };
}

/** Orders of groups: as played, or the largest contrast first. */
export const GROUP_ORDERS = ["number", "spread", "outcome"] as const;
export type GroupOrder = (typeof GROUP_ORDERS)[number];

/** Every group of an update, with each of its episodes. */
export function groupLines(rows: readonly RolloutRow[], order: GroupOrder = "number"): GroupLine[] {
  const groups = [...groupBy(playedRows(rows), ({ group }) => group)].map(([group, own]): GroupLine => {
    const episodes = [...episodesOf(own)].map(([episode, steps]) => episodeLine(episode, steps));
    const outcomes = episodes.map(({ outcome }) => outcome);
    const spread = Math.max(...outcomes) - Math.min(...outcomes);
    const { task_id, task_type } = own[0];
    return { group, taskId: task_id, taskType: task_type, episodes, dead: spread === 0, spread };
  });
  const meanOutcome = ({ episodes }: GroupLine) => mean(episodes.map(({ outcome }) => outcome));
  const spreadOfAdvantage = ({ episodes }: GroupLine) => {
    const advantages = episodes.map(({ advantage }) => advantage);
    return Math.max(...advantages) - Math.min(...advantages);
  };
  const compare: Record<GroupOrder, (a: GroupLine, b: GroupLine) => number> = {
    number: (a, b) => a.group - b.group,
    spread: (a, b) => b.spread - a.spread || spreadOfAdvantage(b) - spreadOfAdvantage(a) || a.group - b.group,
    outcome: (a, b) => meanOutcome(b) - meanOutcome(a) || a.group - b.group,
  };
  return groups.sort(compare[order]);
}

/** What is known of turns beside their rows. */
export interface TurnFacts {
  /** Text of tokens; undefined where no tokenizer is kept. */
  readonly decode: ((tokens: readonly number[]) => readonly string[]) | undefined;
  readonly influence: (row: RolloutRow) => Turn["influence"];
}

/** One episode turn by turn; undefined when the update has none such. */
export function episodePage(
  rows: readonly RolloutRow[],
  { group, episode }: Pick<RolloutRow, "group" | "episode">,
  facts: TurnFacts,
): EpisodePage | undefined {
  const own = playedRows(rows)
    .filter((row) => row.group === group && row.episode === episode)
    .sort((a, b) => a.env_step - b.env_step);
  if (own.length === 0) return undefined;
  const repeated = repeats(own);
  const asked = verdictsAsked(rows);
  return {
    ...{ step: own[0].step, group, episode },
    taskId: own[0].task_id,
    taskType: own[0].task_type,
    outcome: own[0].return,
    turns: own.map((row, at) => ({
      ...turnOf(row, facts),
      repeated: repeated[at],
      judged: asked.get(questionKey(row)) ?? null,
    })),
  };
}

function turnOf(row: RolloutRow, { decode, influence }: TurnFacts): Omit<Turn, "repeated" | "judged"> {
  const texts = decode?.(row.action_tokens) ?? row.action_tokens.map((token) => `#${token}`);
  const { advantage, reward, action, tag, valid, truncated } = row;
  return {
    ...{ advantage, reward, action, tag, valid, truncated },
    turn: row.env_step,
    observation: row.observation ?? "",
    parts: row.advantage_parts,
    tokens: row.action_tokens.map((_, t) => ({
      text: texts[t],
      logProb: row.log_probs[t] ?? null,
      weight: row.mask[t] * row.weight[t],
    })),
    instructions: row.prompt_blocks.find(({ name }) => name === "instructions")?.text ?? null,
    anchor: row.anchor_key,
    verdict: row.verdict ?? null,
    influence: influence(row),
  };
}

function questionKey({ task_id, anchor_key, observation, action }: RolloutRow): string {
  return JSON.stringify([task_id, anchor_key ?? observation, action]);
}

/** Probability of the right verdict by state and action, where a verdict was one token. */
function verdictsAsked(rows: readonly RolloutRow[]): Map<string, number> {
  const single = rows.filter(({ kind, log_probs }) => kind === "classification" && log_probs.length === 1);
  return new Map(single.map((row) => [questionKey(row), Math.exp(row.log_probs[0])]));
}

/** States of each group in which something was tried more than once, the most visited first. */
export function anchorStates(rows: readonly RolloutRow[]): AnchorState[] {
  const keyed = playedRows(rows).filter(({ anchor_key }) => anchor_key !== null);
  const states = groupBy(keyed, ({ group, anchor_key }) => JSON.stringify([group, anchor_key]));
  return [...states.values()]
    .filter((visits) => visits.length > 1)
    .map((visits): AnchorState => {
      const { group, anchor_key, task_id, task_type, observation } = visits[0];
      const actions = [...groupBy(visits, ({ action }) => action)].map(([action, own]) =>
        anchorAction(action, own),
      );
      return {
        group,
        anchor: anchor_key ?? "",
        taskId: task_id,
        taskType: task_type,
        observation: observation ?? "",
        visits: visits.length,
        actions: actions.sort((a, b) => b.advantage - a.advantage),
      };
    })
    .sort((a, b) => Number(b.actions.length > 1) - Number(a.actions.length > 1) || b.visits - a.visits);
}

function anchorAction(action: string, visits: readonly RolloutRow[]): AnchorAction {
  return {
    action,
    visits: visits.length,
    outcome: mean(visits.map((row) => row.return)),
    advantage: mean(visits.map(({ advantage }) => advantage)),
    verdict: visits.find(({ verdict }) => verdict)?.verdict ?? null,
    places: visits.map(({ episode, env_step }) => ({ episode, turn: env_step })),
  };
}
