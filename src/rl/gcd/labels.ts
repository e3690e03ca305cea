/**
 * Which played actions were good and which were bad, and how sure that is. All of it is our reconstruction: the paper
 * (2509.23870) does not say where its labels come from.
 */

import { groupBy } from "../../core/group_by.js";
import { mean } from "../../core/statistics.js";
import { isInformative } from "../advantages/anchors.js";
import { estimateAdvantages } from "../advantages/estimate.js";
import type { PlayedRow } from "../rows.js";

export type Verdict = "good" | "bad";

export const LABEL_SOURCES = ["step_advantage", "rule", "meta", "trajectory", "critic"] as const;
export type LabelSource = (typeof LABEL_SOURCES)[number];

export interface LabelOptions {
  readonly source: LabelSource;
  /** Actions whose |advantage| is not above it are ties, and dropped. In units of the advantage that the source compares. */
  readonly threshold: number;
  /** Visits of a (state, action) pair below which it is dropped. */
  readonly minVisits: number;
  /** What becomes of pairs whose visits disagree: dropped, or judged by the mean of their visits. */
  readonly conflicts: "drop" | "mean";
  /** Discount of the step returns that `step_advantage` and `rule` compare. */
  readonly gamma: number;
}

/** A (state, action) pair with its label. */
export interface LabelledAction {
  /** The visit that stands for the pair: the one with the largest score. Its prompt says what the state is. */
  readonly row: PlayedRow;
  readonly action: string;
  /** Identity of the state; pairs of one state can be told apart by their actions alone. */
  readonly state: string;
  readonly verdict: Verdict;
  /** Size of the evidence, above the threshold. */
  readonly strength: number;
  readonly visits: number;
}

export interface LabelCounts {
  readonly good: number;
  readonly bad: number;
  /** Pairs without enough evidence. */
  readonly ties: number;
  /** Pairs whose visits disagreed and were dropped. */
  readonly conflicts: number;
}

/** Evidence on one row: above 0 good, below 0 bad; undefined says nothing. */
type Score = number | undefined;

/** Identity of the state that an action was chosen in: the task, and its anchor, or the text that was read. */
export function stateOf({ taskId, anchorKey, text }: PlayedRow): string {
  return `${taskId}\n${anchorKey ?? text.hash}`;
}

/** Identity of a (state, action) pair. */
export function pairKey(state: string, action: string): string {
  return `${state}\n${action}`;
}

/**
 * Labels of the (state, action) pairs of one rollout.
 * - `step_advantage`: sign of GiGPO's step advantage among at least two different actions in one anchor state;
 * - `rule`: bad is what the world refused, what changed nothing, or what repeats an action in an unchanged state; good is a
 *   valid action of a won episode, not repeated, with no better action known in its anchor state;
 * - `meta`: sign of the tag part of RLVMR's advantage;
 * - `trajectory`: sign of the outcome part; late steps count more. Noisy: a won episode holds bad steps, too;
 * - `critic`: what `critic` says of each row.
 * Truncated answers are left out. Rows of one pair are joined, see `conflicts`.
 * @param critic one entry a row, for the source `critic`
 * @returns pairs in the order of their first visit
 */
export function labelActions(
  rows: readonly PlayedRow[],
  options: LabelOptions,
  critic?: readonly (Verdict | undefined)[],
): { readonly labels: LabelledAction[]; readonly counts: LabelCounts } {
  const scores = scoreRows(rows, options, critic);
  const pairs = new Map<string, { row: PlayedRow; state: string; scores: number[]; best: number }>();
  rows.forEach((row, index) => {
    const score = scores[index];
    if (score === undefined || row.truncated) return;
    const state = stateOf(row);
    const key = pairKey(state, row.action);
    const pair = pairs.get(key) ?? { row, state, scores: [], best: 0 };
    pairs.set(key, pair);
    pair.scores.push(score);
    if (Math.abs(score) > pair.best) {
      pair.best = Math.abs(score);
      pair.row = row;
    }
  });
  const labels: LabelledAction[] = [];
  let ties = 0;
  let conflicts = 0;
  for (const { row, state, scores: visits } of pairs.values()) {
    const isSplit =
      visits.some((score) => score > options.threshold) && visits.some((score) => score < -options.threshold);
    const score = mean(visits);
    if (isSplit && options.conflicts === "drop") conflicts++;
    else if (Math.abs(score) <= options.threshold || visits.length < options.minVisits) ties++;
    else {
      const verdict: Verdict = score > 0 ? "good" : "bad";
      labels.push({
        row,
        action: row.action,
        state,
        verdict,
        strength: Math.abs(score),
        visits: visits.length,
      });
    }
  }
  const count = (verdict: Verdict) => labels.filter((label) => label.verdict === verdict).length;
  return { labels, counts: { good: count("good"), bad: count("bad"), ties, conflicts } };
}

function scoreRows(
  rows: readonly PlayedRow[],
  { source, gamma }: LabelOptions,
  critic: readonly (Verdict | undefined)[] | undefined,
): Score[] {
  if (source === "step_advantage") return stepScores(rows, gamma);
  if (source === "rule") return ruleScores(rows, gamma);
  if (source === "meta") return rows.map(({ parts }) => parts?.tag);
  if (source === "critic") return rows.map((_, index) => verdictScore(critic?.[index]));
  const last = lastSteps(rows);
  return rows.map((row) => {
    const late = (row.step + 1) / ((last.get(episodeOf(row)) ?? row.step) + 1);
    return (row.parts?.outcome ?? 0) * late;
  });
}

const verdictScore = (verdict: Verdict | undefined): Score =>
  verdict === undefined ? undefined : verdict === "good" ? 1 : -1;

const episodeOf = ({ group, episode }: PlayedRow): string => `${group}/${episode}`;

/** Rows by group and anchor; rows without an anchor are in none. */
function anchorsOf(rows: readonly PlayedRow[]): number[][] {
  const anchored = [...rows.keys()].filter((index) => rows[index].anchorKey !== undefined);
  return [...groupBy(anchored, (index) => `${rows[index].group}\n${rows[index].anchorKey}`).values()];
}

/** The last step of each episode. */
function lastSteps(rows: readonly PlayedRow[]): Map<string, number> {
  const last = new Map<string, number>();
  for (const row of rows) last.set(episodeOf(row), Math.max(row.step, last.get(episodeOf(row)) ?? 0));
  return last;
}

/** GiGPO's step advantage, not divided by the spread; nothing where an anchor saw one action only. */
function stepScores(rows: readonly PlayedRow[], gamma: number): Score[] {
  const { step } = estimateAdvantages(rows, {
    algo: "gigpo",
    gamma,
    norm: "mean",
    invalid_action_penalty: 0,
  }).parts;
  const scores: Score[] = rows.map(() => undefined);
  for (const members of anchorsOf(rows)) {
    if (new Set(members.map((index) => rows[index].action)).size < 2) continue;
    for (const index of members) scores[index] = step[index];
  }
  return scores;
}

/** Discounted return from each row on: gamma^(steps left) outcome. */
function returnsOf(rows: readonly PlayedRow[], gamma: number): number[] {
  const last = lastSteps(rows);
  return rows.map((row) => row.outcome * gamma ** ((last.get(episodeOf(row)) ?? row.step) - row.step));
}

function ruleScores(rows: readonly PlayedRow[], gamma: number): Score[] {
  const flawed = flawedRows(rows);
  const returns = returnsOf(rows, gamma);
  const best = new Map<number, number>();
  for (const members of anchorsOf(rows)) {
    const most = Math.max(...members.map((index) => returns[index]));
    for (const index of members) best.set(index, most);
  }
  return rows.map((row, index) => {
    if (flawed[index]) return -1;
    const isBest = returns[index] >= (best.get(index) ?? returns[index]);
    return row.outcome > 0 && isBest ? 1 : undefined;
  });
}

/** Rows that the world refused, that changed nothing, or that repeat an action in an unchanged state of the episode. */
export function flawedRows(rows: readonly PlayedRow[]): boolean[] {
  const next = new Map<string, PlayedRow>();
  for (const row of rows) next.set(`${episodeOf(row)}/${row.step - 1}`, row);
  const seen = new Set<string>();
  const order = [...rows.keys()].sort((a, b) => rows[a].step - rows[b].step);
  const flawed: boolean[] = rows.map(() => false);
  for (const index of order) {
    const row = rows[index];
    const key = `${episodeOf(row)}\n${row.stateKey ?? row.observation}\n${row.action}`;
    const after = next.get(`${episodeOf(row)}/${row.step}`);
    const isRefused = !row.valid || row.admissible === false;
    flawed[index] = isRefused || seen.has(key) || (after !== undefined && !isInformative(after.observation));
    seen.add(key);
  }
  return flawed;
}
