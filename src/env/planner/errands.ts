/**
 * Planning by errands: a goal of a household game asks for states of a few things (a clean mug on a shelf, a lamp turned
 * on), so it is reached by an errand for each thing: fetch it, treat it, bring it. Every choice of things that the goal
 * allows and every order of errands is tried on a light copy of the state; the shortest plan wins.
 */

import type { Conjunction } from "../pddl/ground_condition.js";
import type { GroundModel } from "../pddl/grounding.js";
import {
  AGENT_AT,
  HOLDS,
  INSIDE,
  type Operator,
  type OperatorTable,
  operatorsOf,
  type Truth,
} from "./operators.js";

/** With more things than this in a goal, only its own order of errands is tried. */
const MAX_PERMUTED = 4;
/** Needs of needs of needs: real chains (bring, fetch, open, go) are shorter. */
const MAX_DEPTH = 6;

/** Atoms wanted of one thing, in the order in which they are to be made true. */
type Errand = readonly number[];

/**
 * The shortest plan among those made of errands.
 * @param isTrue the state to start from
 * @returns numbers of the model's actions, or undefined when no errands reach the goal
 * @throws DataError when the goal has too many alternatives
 */
export function planErrands(model: GroundModel, isTrue: Truth): readonly number[] | undefined {
  const table = operatorsOf(model);
  const start = Uint8Array.from({ length: model.atoms.size }, (_, atom) => Number(isTrue(atom)));
  const tried = new Set<string>();
  let best: readonly number[] | undefined;
  for (const goal of table.goals) {
    const { errands, places } = errandsOf(model, goal);
    const key = keyOf(errands, places, goal);
    if (tried.has(key)) continue;
    tried.add(key);
    for (const order of ordersOf(errands)) {
      const walk = new Walk(model, table, start, best?.length ?? Number.POSITIVE_INFINITY);
      if (walk.runAll(order, places) && walk.satisfies(goal)) best = walk.actions;
    }
  }
  return best;
}

/** What can be done for a goal when not all of its things are known. */
export interface KnownErrands {
  /** Numbers of the model's actions. They reach the goal when nothing is missing. */
  readonly actions: readonly number[];
  /** Objects whose errands cannot be run, of every choice of things of which as many can. */
  readonly missing: ReadonlySet<number>;
}

/**
 * Runs as many errands as the known part of a state allows: of the choices of things and orders that the goal allows, one of
 * which most errands can be run, the shortest of these.
 * @param isTrue what is known to be true
 * @throws DataError when the goal has too many alternatives
 */
export function planKnownErrands(model: GroundModel, isTrue: Truth): KnownErrands {
  const table = operatorsOf(model);
  const start = Uint8Array.from({ length: model.atoms.size }, (_, atom) => Number(isTrue(atom)));
  const found = new Map<
    string,
    { readonly actions: readonly number[]; readonly missing: readonly number[]; readonly done: number }
  >();
  for (const goal of table.goals) {
    const { errands, places } = errandsOf(model, goal);
    for (const order of ordersOf(errands)) {
      const key = `${order.map((errand) => errand.join()).join(";")};${places.join()}`;
      if (found.has(key)) continue;
      const walk = new Walk(model, table, start, Number.POSITIVE_INFINITY);
      const failed = order.filter((errand) => !walk.runAll([errand], []));
      if (failed.length === 0) walk.runAll([], places);
      const missing = failed.map((errand) => thingOf(model, errand[0]));
      found.set(key, { actions: walk.actions, missing, done: order.length - failed.length });
    }
  }
  const most = Math.max(...[...found.values()].map(({ done }) => done));
  const best = [...found.values()].filter(({ done }) => done === most);
  best.sort((a, b) => a.actions.length - b.actions.length);
  return { actions: best[0]?.actions ?? [], missing: new Set(best.flatMap(({ missing }) => missing)) };
}

/** The object that a wanted atom is about. */
const thingOf = ({ atoms: { predicates, args } }: GroundModel, atom: number): number =>
  args[atom][predicates[atom] === HOLDS ? 1 : 0];

/** Sorts the wanted atoms by thing; where the agent is to be comes last. */
function errandsOf(model: GroundModel, goal: Conjunction): { errands: Errand[]; places: number[] } {
  const { predicates } = model.atoms;
  const byThing = new Map<number, number[]>();
  const places: number[] = [];
  for (const atom of goal.positive) {
    const predicate = predicates[atom];
    if (predicate === AGENT_AT) {
      places.push(atom);
      continue;
    }
    const thing = thingOf(model, atom);
    const wanted = byThing.get(thing) ?? [];
    // treatments need the thing in hand, so they come before it is put down
    if (predicate === INSIDE) wanted.push(atom);
    else wanted.unshift(atom);
    byThing.set(thing, wanted);
  }
  return { errands: [...byThing.values()], places };
}

/** Equal for goals of which every order of errands is the same: two of a kind are wanted in either role. */
function keyOf(errands: readonly Errand[], places: readonly number[], goal: Conjunction): string {
  const lists = errands.map((errand) => errand.join());
  if (errands.length <= MAX_PERMUTED) lists.sort();
  return [...lists, places.join(), goal.negative.join()].join(";");
}

function ordersOf<T>(items: readonly T[]): readonly (readonly T[])[] {
  if (items.length < 2 || items.length > MAX_PERMUTED) return [items];
  return items.flatMap((first, index) => {
    const rest = [...items.slice(0, index), ...items.slice(index + 1)];
    return ordersOf(rest).map((order) => [first, ...order]);
  });
}

/** One attempt: the actions so far, and the state after them. Methods answer false to give up. */
class Walk {
  actions: number[] = [];
  /** 1 for true atoms. */
  #truths: Uint8Array;
  readonly #model: GroundModel;
  readonly #table: OperatorTable;
  readonly #limit: number;

  /**
   * @param start 1 for true atoms, by atom
   * @param limit give up when the plan would not be shorter than this
   */
  constructor(model: GroundModel, table: OperatorTable, start: Uint8Array, limit: number) {
    this.#model = model;
    this.#table = table;
    this.#truths = start.slice();
    this.#limit = limit;
  }

  satisfies(goal: Conjunction): boolean {
    return (
      goal.positive.every((atom) => this.#isTrue(atom)) && !goal.negative.some((atom) => this.#isTrue(atom))
    );
  }

  /** Runs the errands in order, then goes where the agent is to be; all of it or, answering false, nothing. */
  runAll(errands: readonly Errand[], places: readonly number[]): boolean {
    const [truths, actions] = [this.#truths.slice(), [...this.actions]];
    const run = (wanted: Errand): boolean => wanted.every((atom) => this.#makeTrue(atom, wanted.at(-1), 0));
    const isDone = errands.every(run) && places.every((atom) => this.#makeTrue(atom, undefined, 0));
    if (!isDone) [this.#truths, this.actions] = [truths, actions];
    return isDone;
  }

  #isTrue(atom: number): boolean {
    return this.#truths[atom] === 1;
  }

  #is(atom: number, predicate: string): boolean {
    return this.#model.atoms.predicates[atom] === predicate;
  }

  /** @param next an atom that is wanted soon: its place costs nothing extra */
  #makeTrue(atom: number, next: number | undefined, depth: number): boolean {
    if (this.#isTrue(atom)) return true;
    const achievers = this.#table.achieversOf(atom);
    if (achievers.length === 0 || depth > MAX_DEPTH) return false;
    // with the thing in hand first, ways to go on are compared from where the agent then is
    const inHand = achievers[0].positive.find((need) => this.#is(need, HOLDS));
    if (inHand !== undefined && !this.#makeTrue(inHand, atom, depth + 1)) return false;
    const nextPlace = next === undefined ? undefined : this.#table.achieversOf(next).at(0)?.place;
    const operator = this.#cheapest(achievers, nextPlace);
    return operator !== undefined && this.#perform(operator, depth);
  }

  /** Makes an operator's needs true, those of the hand first, then the place, then what is done there; then runs it. */
  #perform(operator: Operator, depth: number): boolean {
    const { positive, negative, place } = operator;
    if (negative.some((atom) => this.#isTrue(atom)) && !this.#emptyHand(place, depth + 1)) return false;
    if (place !== undefined && !this.#isTrue(place) && !this.#goFor(place, operator)) return false;
    return positive.every((atom) => this.#makeTrue(atom, undefined, depth + 1)) && this.#run(operator);
  }

  /** Goes to a place, by name of the receptacle that is used there when several share it. */
  #goFor(place: number, purpose: Operator): boolean {
    let best: Operator | undefined;
    let bestShared = -1;
    for (const way of this.#table.achieversOf(place)) {
      if (!this.#applies(way)) continue;
      const shared = way.args.filter((object) => purpose.args.includes(object)).length;
      if (shared > bestShared) [best, bestShared] = [way, shared];
    }
    return best !== undefined && this.#run(best);
  }

  /** Puts down whatever is held: here, where the agent goes next, or elsewhere. */
  #emptyHand(nextPlace: number | undefined, depth: number): boolean {
    if (depth > MAX_DEPTH) return false;
    for (const atom of this.#model.atoms.ofPredicate(HOLDS)) {
      const removers = this.#isTrue(atom) ? this.#table.removersOf(atom) : [];
      if (removers.length === 0) continue;
      const operator = this.#cheapest(removers, nextPlace);
      return operator !== undefined && this.#perform(operator, depth);
    }
    return false;
  }

  /** The operator that needs the shortest way and the fewest doors; none that would need other things moved. */
  #cheapest(operators: readonly Operator[], nextPlace: number | undefined): Operator | undefined {
    let best: Operator | undefined;
    let bestCost = Number.POSITIVE_INFINITY;
    for (const operator of operators) {
      const { place } = operator;
      let cost = 0;
      for (const atom of operator.positive) {
        if (this.#isTrue(atom)) continue;
        if (atom !== place)
          cost += this.#is(atom, INSIDE) || this.#is(atom, HOLDS) ? Number.POSITIVE_INFINITY : 1;
        // a way that is walked anyway is free, but a tie goes to what can be done here
        else cost += place === nextPlace ? 0.25 : 1;
        if (cost >= bestCost) break;
      }
      if (cost < bestCost) [best, bestCost] = [operator, cost];
    }
    return best;
  }

  #applies({ positive, negative }: Operator): boolean {
    return positive.every((atom) => this.#isTrue(atom)) && !negative.some((atom) => this.#isTrue(atom));
  }

  #run(operator: Operator): boolean {
    if (this.actions.length + 1 >= this.#limit || !this.#applies(operator)) return false;
    for (const atom of operator.deletes) this.#truths[atom] = 0;
    for (const atom of operator.adds) this.#truths[atom] = 1;
    this.actions.push(operator.action);
    return true;
  }
}
