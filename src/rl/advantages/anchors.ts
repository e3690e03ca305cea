/** Anchor states: which observations may be a key, and keys of states that are alike without being equal. */
import { ArgumentError } from "../../core/errors.js";
import { groupBy } from "../../core/group_by.js";
import { matchingRatio } from "./similarity.js";
import type { Identity } from "./table.js";

/** Observations that tell nothing about the state: many states answer with them. */
const UNINFORMATIVE = [/^\s*$/, /^nothing happens\.?$/i];

/** Whether an observation may serve as a key. @param refused further texts that tell nothing */
export function isInformative(observation: string, refused: readonly RegExp[] = []): boolean {
  const text = observation.trim();
  return ![...UNINFORMATIVE, ...refused].some((pattern) => pattern.test(text));
}

interface Item {
  readonly group: Identity;
}

/** First fit: every item joins the first cluster of its group whose first member is near enough, or begins one. */
function firstFit<T extends Item>(
  items: readonly T[],
  isComparable: (item: T) => boolean,
  isNear: (item: T, first: T) => boolean,
): (string | undefined)[] {
  const keys: (string | undefined)[] = items.map(() => undefined);
  for (const members of groupBy([...items.keys()], (index) => items[index].group).values()) {
    const firsts: number[] = [];
    for (const index of members) {
      if (!isComparable(items[index])) continue;
      let cluster = firsts.findIndex((first) => isNear(items[index], items[first]));
      if (cluster < 0) cluster = firsts.push(index) - 1;
      keys[index] = `cluster ${cluster}`;
    }
  }
  return keys;
}

/**
 * Keys by similarity of observations: in each group an observation joins the first cluster whose first member is similar
 * enough, in the order of the items. The order matters, and time is quadratic in the number of clusters.
 * @param threshold least `matchingRatio`, 0 to 1; verl-agent's default is 0.95
 * @returns keys that mean something within a group only; undefined for uninformative observations
 * @source verl-agent, enable_similarity
 */
export function similarityKeys(
  items: readonly { readonly group: Identity; readonly observation: string }[],
  threshold: number,
  refused: readonly RegExp[] = [],
): (string | undefined)[] {
  checkThreshold(threshold);
  return firstFit(
    items,
    ({ observation }) => isInformative(observation, refused),
    (item, first) => matchingRatio(item.observation, first.observation) >= threshold,
  );
}

/**
 * Keys by cosine of hidden states, clustered as in `similarityKeys`.
 * @param items with one vector each, of equal length and not 0
 * @throws ArgumentError for vectors of unequal length, of length 0 or with values that are not finite
 * @source after BiPACE (2606.25556), which also groups steps by hidden states; first fit is ours
 */
export function hiddenStateKeys(
  items: readonly { readonly group: Identity; readonly hidden: ArrayLike<number> }[],
  threshold: number,
): (string | undefined)[] {
  checkThreshold(threshold);
  const norms = new Map(
    items.map((item, index) => [item, normOf(item.hidden, index, items[0].hidden.length)]),
  );
  return firstFit(
    items,
    () => true,
    (item, first) => {
      const product = dot(item.hidden, first.hidden);
      return product / ((norms.get(item) as number) * (norms.get(first) as number)) >= threshold;
    },
  );
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

function normOf(vector: ArrayLike<number>, index: number, length: number): number {
  const norm = Math.sqrt(dot(vector, vector));
  if (vector.length === length && norm > 0 && Number.isFinite(norm)) return norm;
  throw new ArgumentError(
    `[anchors] hidden state ${index} is wrong: got ${vector.length} values of norm ${norm}, expected ${length} finite ` +
      "values that are not all 0. Pass one layer's output at one token of each prompt.",
  );
}

function checkThreshold(threshold: number): void {
  if (threshold >= 0 && threshold <= 1) return;
  throw new ArgumentError(
    `[anchors] threshold is out of range: got ${threshold}, expected a number from 0 to 1. Change it.`,
  );
}

/** A row that says where its episode was played, and what it showed. */
export interface StartRow {
  readonly group: Identity;
  readonly episode: Identity;
  readonly step: number;
  readonly taskId: string;
  readonly observation: string;
}

/**
 * Checks that groups are what all of this assumes: episodes of one task from one start.
 * @throws ArgumentError naming a group whose episodes differ in task or in what they show at step 0
 */
export function checkSameStart(rows: readonly StartRow[]): void {
  for (const [group, members] of groupBy(rows, (row) => row.group)) {
    const starts = members.filter(({ step }) => step === 0);
    for (const [column, first, other] of [
      ["task", members[0]?.taskId, members.find(({ taskId }) => taskId !== members[0].taskId)?.taskId],
      [
        "first observation",
        starts[0]?.observation,
        starts.find(({ observation }) => observation !== starts[0].observation)?.observation,
      ],
    ]) {
      if (other === undefined) continue;
      throw new ArgumentError(
        `[advantages] group ${group} mixes starts: got ${column} ${JSON.stringify(other)}, expected ` +
          `${JSON.stringify(first)} as in its other episodes. Reset all episodes of a group to one state.`,
      );
    }
  }
}
