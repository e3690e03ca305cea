/**
 * Planning by errands: a goal of a household game asks for states of a few things (a clean mug on a shelf, a lamp turned
 * on), so it is reached by an errand for each thing: fetch it, treat it, bring it. Every choice of things that the goal
 * allows and every order of errands is tried on a light copy of the state; the shortest plan wins.
 */

import { type Operator, type OperatorTable, operatorsOf } from "./expert_operators.js";
import { alternativesOf, type Conjunction } from "./ground_condition.js";
import type { GroundModel } from "./grounding.js";

/** Truth of an atom by number. */
export type Truth = (atom: number) => boolean;

/** Predicates by which household domains, ALFWorld's among them, say where agent and things are. */
const AGENT_AT = "atlocation";
const HOLDS = "holds";
const INSIDE = "inreceptacle";

/** With more things than this in a goal, only its own order of errands is tried. */
const MAX_PERMUTED = 4;

/** Atoms wanted of one thing, in the order in which they are to be made true. */
interface Errand {
  readonly thing: number;
  readonly wanted: readonly number[];
}

/**
 * A shortest plan among those made of errands.
 * @param isTrue the state to start from
 * @returns numbers of the model's actions, or undefined when no errand reaches the goal
 * @throws DataError when the goal has too many alternatives
 */
export function planErrands(model: GroundModel, isTrue: Truth): readonly number[] | undefined {
  const table = operatorsOf(model);
  const attainable: Truth = (atom) => isTrue(atom) || table.achievers.has(atom);
  let best: readonly number[] | undefined;
  for (const goal of alternativesOf(model.goal, "expert")) {
    if (!goal.positive.every(attainable)) continue;
    const { errands, places } = errandsOf(model, goal);
    for (const order of ordersOf(errands)) {
      const walk = new Walk(
        model,
        table,
        isTrue,
        best === undefined ? Number.POSITIVE_INFINITY : best.length,
      );
      if (walk.runAll(order, places) && walk.satisfies(goal)) best = walk.actions;
    }
  }
  return best;
}

/** Sorts the wanted atoms by thing; where the agent is to be comes last. */
function errandsOf(model: GroundModel, goal: Conjunction) {
  const { predicates, args } = model.atoms;
  const byThing = new Map<number, number[]>();
  const places: number[] = [];
  for (const atom of goal.positive) {
    const predicate = predicates[atom];
    if (predicate === AGENT_AT) {
      places.push(atom);
      continue;
    }
    const thing = args[atom][predicate === HOLDS ? 1 : 0];
    const wanted = byThing.get(thing) ?? [];
    // treatments need the thing in hand, so they come before it is put down
    if (predicate === INSIDE) wanted.push(atom);
    else wanted.unshift(atom);
    byThing.set(thing, wanted);
  }
  const errands = [...byThing].map(([thing, wanted]): Errand => ({ thing, wanted }));
  return { errands, places };
}

function ordersOf<T>(items: readonly T[]): readonly (readonly T[])[] {
  if (items.length < 2 || items.length > MAX_PERMUTED) return [items];
  return items.flatMap((first, index) => {
    const rest = [...items.slice(0, index), ...items.slice(index + 1)];
    return ordersOf(rest).map((order) => [first, ...order]);
  });
}

/** One attempt: the actions so far, and the state as differences from the start. Methods return false to give up. */
class Walk {
  readonly actions: number[] = [];
  readonly #changed = new Map<number, boolean>();

  /** @param limit give up when the plan would not be shorter than this */
  constructor(
    private readonly model: GroundModel,
    private readonly table: OperatorTable,
    private readonly start: Truth,
    private readonly limit: number,
  ) {}

  isTrue(atom: number): boolean {
    return this.#changed.get(atom) ?? this.start(atom);
  }

  satisfies(goal: Conjunction): boolean {
    return (
      goal.positive.every((atom) => this.isTrue(atom)) && !goal.negative.some((atom) => this.isTrue(atom))
    );
  }

  /** Runs the errands in order, then goes where the agent is to be. */
  runAll(errands: readonly Errand[], places: readonly number[]): boolean {
    return (
      errands.every(({ thing, wanted }, index) => {
        const next = wanted.at(-1);
        return wanted.every((atom) => this.#makeTrue(atom, thing, next));
      }) && places.every((atom) => this.isTrue(atom) || this.#goFor(atom, undefined))
    );
  }
}
