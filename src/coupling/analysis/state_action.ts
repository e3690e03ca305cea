/** Does what a policy does tell the state that it is in? Mutual information of states and actions, and retrieval. */
import { groupBy } from "../../core/group_by.js";
import { Random } from "../../core/random.js";
import { mean } from "../../core/statistics.js";

/** One visit of a state, with what was done there. */
export interface StateAction {
  readonly state: string;
  readonly action: string;
}

export interface StateActionInformation {
  readonly visits: number;
  readonly states: number;
  readonly actions: number;
  /** H(A), of all visits together, in nats. */
  readonly actionEntropy: number;
  /** I(S; A) by plugging in observed shares, in nats: too large with few visits a state. */
  readonly plugIn: number;
  /** Mean of the same after the actions were shuffled among the visits: what few visits give where nothing is told. */
  readonly shuffled: number;
  /** plugIn - shuffled; near 0, the policy does the same everywhere, or its visits are too few. */
  readonly corrected: number;
  /** Share of visits whose state is the one most often seen with their action among the other visits; ties count by chance. */
  readonly retrieval: number;
  /** Mean of the same after shuffling. */
  readonly retrievalShuffled: number;
}

/**
 * I(S; A) = sum over (s, a) of p(s, a) log(p(s, a) / (p(s) p(a))), with shares of the visits for p.
 * @param shuffles times that actions are shuffled. Default 100
 * @returns null without visits
 * @source the question: 2604.06268 (template collapse); estimate and correction are ours
 */
export function stateActionInformation(
  visits: readonly StateAction[],
  seed: number,
  shuffles = 100,
): StateActionInformation | null {
  if (visits.length === 0) return null;
  const random = Random.of(seed, "state and action");
  const actions = visits.map(({ action }) => action);
  const drawn = Array.from({ length: shuffles }, () => {
    const order = random.shuffle(actions);
    return visits.map(({ state }, i) => ({ state, action: order[i] }));
  });
  const plugIn = information(visits);
  const shuffled = mean(drawn.map(information));
  return {
    visits: visits.length,
    states: new Set(visits.map(({ state }) => state)).size,
    actions: new Set(actions).size,
    actionEntropy: entropy(visits, ({ action }) => action),
    plugIn,
    shuffled,
    corrected: plugIn - shuffled,
    retrieval: retrieval(visits),
    retrievalShuffled: mean(drawn.map(retrieval)),
  };
}

/** H(S) + H(A) - H(S, A), not below 0. */
function information(visits: readonly StateAction[]): number {
  const both = entropy(visits, pairOf);
  return Math.max(0, entropy(visits, ({ state }) => state) + entropy(visits, ({ action }) => action) - both);
}

const pairOf = ({ state, action }: StateAction): string => JSON.stringify([state, action]);

function entropy(visits: readonly StateAction[], keyOf: (visit: StateAction) => string): number {
  const groups = [...groupBy(visits, keyOf).values()];
  // - 0 * log 0 does not occur: every group has a visit
  return groups.reduce(
    (sum, { length }) => sum - (length / visits.length) * Math.log(length / visits.length),
    0,
  );
}

function retrieval(visits: readonly StateAction[]): number {
  let right = 0;
  for (const group of groupBy(visits, ({ action }) => action).values()) {
    const counts = new Map(
      [...groupBy(group, ({ state }) => state)].map(([state, { length }]) => [state, length]),
    );
    for (const { state } of group) {
      const without = [...counts].map(([other, count]) => (other === state ? count - 1 : count));
      const most = Math.max(...without);
      const own = (counts.get(state) as number) - 1;
      if (most > 0 && own === most) right += 1 / without.filter((count) => count === most).length;
    }
  }
  return right / visits.length;
}
