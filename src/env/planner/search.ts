/**
 * Planning for goals that errands do not reach: greedy best-first search over ground actions, led by how much it costs to
 * make the goal true when nothing true is ever taken away (the additive heuristic).
 */

import { type GroundCondition, holds } from "../pddl/ground_condition.js";
import type { GroundModel } from "../pddl/grounding.js";
import { type OperatorTable, operatorsOf, type Truth } from "./operators.js";

interface Node {
  readonly truths: ReadonlySet<number>;
  readonly action: number | undefined;
  readonly parent: Node | undefined;
}

/**
 * @param isTrue the state to start from
 * @param maxStates how many states are looked at before giving up; each costs about a millisecond in a large game
 * @returns numbers of the model's actions, or undefined when no plan was found
 * @source Bonet & Geffner 2001, "Planning as heuristic search" (the heuristic)
 */
export function searchPlan(
  model: GroundModel,
  isTrue: Truth,
  maxStates: number,
): readonly number[] | undefined {
  const table = operatorsOf(model);
  const truths = new Set<number>();
  for (let atom = 0; atom < model.atoms.size; atom++) if (isTrue(atom)) truths.add(atom);
  const start: Node = { truths, action: undefined, parent: undefined };
  const open = new Buckets<Node>();
  const seen = new Set([keyOf(truths)]);
  open.add(start, estimate(model, table, truths));
  for (let looked = 1; looked < maxStates; ) {
    const node = open.take();
    if (node === undefined) return undefined;
    if (holds(model.goal, (atom) => node.truths.has(atom))) return actionsOf(node);
    for (const operator of table.relevant) {
      if (!operator.positive.every((atom) => node.truths.has(atom))) continue;
      if (operator.negative.some((atom) => node.truths.has(atom))) continue;
      const next = new Set(node.truths);
      for (const atom of operator.deletes) next.delete(atom);
      for (const atom of operator.adds) next.add(atom);
      const key = keyOf(next);
      if (seen.has(key)) continue;
      seen.add(key);
      looked++;
      const cost = estimate(model, table, next);
      if (cost < Number.POSITIVE_INFINITY) {
        open.add({ truths: next, action: operator.action, parent: node }, cost);
      }
    }
  }
  return undefined;
}

function keyOf(truths: ReadonlySet<number>): string {
  return String.fromCodePoint(...[...truths].sort((a, b) => a - b));
}

function actionsOf(node: Node): number[] {
  const actions: number[] = [];
  for (let at: Node | undefined = node; at?.action !== undefined; at = at.parent) actions.push(at.action);
  return actions.reverse();
}

/** Costs of making each atom true, and of making it false. */
interface Costs {
  readonly toTrue: Float64Array;
  readonly toFalse: Float64Array;
}

/** Additive cost of the goal: of each literal the cheapest way to it, costs of needs summed. Infinite = dead end. */
function estimate(model: GroundModel, table: OperatorTable, truths: ReadonlySet<number>): number {
  const toTrue = new Float64Array(model.atoms.size).fill(Number.POSITIVE_INFINITY);
  const toFalse = new Float64Array(model.atoms.size);
  for (const atom of truths) {
    toTrue[atom] = 0;
    toFalse[atom] = Number.POSITIVE_INFINITY;
  }
  for (let changed = true; changed; ) {
    changed = false;
    for (const { positive, negative, adds, deletes } of table.relevant) {
      let cost = 1;
      for (const atom of positive) cost += toTrue[atom];
      for (const atom of negative) cost += toFalse[atom];
      if (cost === Number.POSITIVE_INFINITY) continue;
      const added = lower(toTrue, adds, cost);
      const deleted = lower(toFalse, deletes, cost);
      changed ||= added || deleted;
    }
  }
  return costOf(model.goal, { toTrue, toFalse });
}

/** Whether a cost came down. */
function lower(costs: Float64Array, atoms: readonly number[], cost: number): boolean {
  let changed = false;
  for (const atom of atoms) {
    if (cost >= costs[atom]) continue;
    costs[atom] = cost;
    changed = true;
  }
  return changed;
}

function costOf(goal: GroundCondition, costs: Costs): number {
  if (typeof goal === "boolean") return goal ? 0 : Number.POSITIVE_INFINITY;
  if (goal.kind === "literal") return (goal.positive ? costs.toTrue : costs.toFalse)[goal.atom];
  const parts = goal.parts.map((part) => costOf(part, costs));
  return goal.kind === "and" ? parts.reduce((sum, cost) => sum + cost, 0) : Math.min(...parts);
}

/** Queue by small integer priority, lowest first, first in first out. */
class Buckets<T> {
  readonly #buckets: T[][] = [];

  add(item: T, priority: number): void {
    const bucket = this.#buckets[priority];
    if (bucket === undefined) this.#buckets[priority] = [item];
    else bucket.push(item);
  }

  take(): T | undefined {
    return this.#buckets.find((bucket) => bucket !== undefined && bucket.length > 0)?.shift();
  }
}
