/** A balanced set of actions to judge: as many good ones as bad ones, so that "always good" earns nothing. Ours (RECON). */
import { groupBy } from "../../core/group_by.js";
import type { Random } from "../../core/random.js";
import type { PlayedRow } from "../rows.js";
import type { LabelledAction, Verdict } from "./labels.js";

/** One question for the judge: is this action good or bad in the state that this row's prompt describes? */
export interface Candidate {
  /** Describes the state. */
  readonly row: PlayedRow;
  readonly action: string;
  readonly verdict: Verdict;
  readonly state: string;
  /** The action was admissible there: telling it from others is no matter of matching strings. */
  readonly admissible: boolean;
}

export interface PairOptions {
  /** Most pairs of one state, one task and one episode. */
  readonly perState: number;
  readonly perTask: number;
  readonly perEpisode: number;
  /** Most pairs altogether. */
  readonly most: number;
  /** Pairs of different states where those of one state do not suffice. */
  readonly acrossStates: boolean;
  /** How alike two actions are to the policy, where that was measured: pairs that are most alike come first. */
  readonly similarity?: (good: LabelledAction, bad: LabelledAction) => number | undefined;
}

type Pair = readonly [good: LabelledAction, bad: LabelledAction];

/**
 * Pairs of a good and a bad action: of one state first, both asked about under one and the same prompt (which of the two it
 * is changes from pair to pair), so that nothing but the action tells the classes apart. Then pairs of different states, each
 * action under its own prompt.
 * @param random decides which prompt and which of equal pairs
 */
export function balancedPairs(
  labels: readonly LabelledAction[],
  options: PairOptions,
  random: Random,
): Candidate[] {
  const limits = new Limits(options);
  const used = new Set<LabelledAction>();
  const candidates: Candidate[] = [];
  for (const pair of sortedPairs(labels, options, random)) {
    if (candidates.length >= 2 * options.most) break;
    if (pair.some((label) => used.has(label)) || !limits.take(pair)) continue;
    for (const label of pair) used.add(label);
    const { row } = pair[random.integer(2)];
    candidates.push(...pair.map((label) => candidateOf(label, row)));
  }
  if (!options.acrossStates) return candidates;
  const left = (verdict: Verdict) =>
    random.shuffle(labels.filter((label) => label.verdict === verdict && !used.has(label)));
  const bad = left("bad");
  for (const good of left("good")) {
    if (candidates.length >= 2 * options.most) break;
    const at = bad.findIndex((other) => limits.fits([good, other]));
    if (at < 0) continue;
    const [other] = bad.splice(at, 1);
    limits.take([good, other]);
    candidates.push(candidateOf(good, good.row), candidateOf(other, other.row));
  }
  return candidates;
}

function candidateOf({ action, verdict, state, row: own }: LabelledAction, row: PlayedRow): Candidate {
  return { row, action, verdict, state, admissible: own.admissible ?? own.valid };
}

/** Every good and bad action of one state, the most alike first, then those with the most evidence. */
function sortedPairs(labels: readonly LabelledAction[], { similarity }: PairOptions, random: Random): Pair[] {
  const states = groupBy(labels, ({ state }) => state);
  const pairs: {
    readonly pair: Pair;
    readonly alike: number;
    readonly strength: number;
    readonly draw: number;
  }[] = [];
  for (const members of states.values()) {
    for (const good of members.filter(({ verdict }) => verdict === "good")) {
      for (const bad of members.filter(({ verdict }) => verdict === "bad")) {
        const alike = similarity?.(good, bad) ?? 0;
        pairs.push({
          pair: [good, bad],
          alike,
          strength: good.strength + bad.strength,
          draw: random.uniform(),
        });
      }
    }
  }
  return pairs
    .sort((a, b) => b.alike - a.alike || b.strength - a.strength || a.draw - b.draw)
    .map(({ pair }) => pair);
}

/** Counts pairs by state, task and episode. */
class Limits {
  readonly #counts = new Map<string, number>();

  constructor(readonly options: PairOptions) {}

  fits(pair: Pair): boolean {
    return this.#keys(pair).every(([key, most]) => (this.#counts.get(key) ?? 0) < most);
  }

  /** Counts a pair if it fits. */
  take(pair: Pair): boolean {
    if (!this.fits(pair)) return false;
    for (const [key] of this.#keys(pair)) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    return true;
  }

  #keys(pair: Pair): [string, number][] {
    const { perState, perTask, perEpisode } = this.options;
    const keys = new Map<string, number>();
    for (const { state, row } of pair) {
      keys.set(`state ${state}`, perState);
      keys.set(`task ${row.taskId}`, perTask);
      keys.set(`episode ${row.group} ${row.episode}`, perEpisode);
    }
    return [...keys];
  }
}
