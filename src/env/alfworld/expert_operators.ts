/** Ground actions as planning operators: what each needs and changes, and which of them make an atom true. */
import { alternativesOf } from "./ground_condition.js";
import type { GroundModel } from "./grounding.js";

/** One way in which one ground action happens, with one outcome of its conditional effects. */
export interface Operator {
  /** Number of the ground action in the model. */
  readonly action: number;
  /** Object numbers of the action. */
  readonly args: readonly number[];
  readonly positive: readonly number[];
  readonly negative: readonly number[];
  readonly adds: readonly number[];
  readonly deletes: readonly number[];
}

/** The operators of a game. */
export interface OperatorTable {
  readonly operators: readonly Operator[];
  /** Operators that add an atom, by atom. */
  readonly achievers: ReadonlyMap<number, readonly Operator[]>;
}

const tables = new WeakMap<GroundModel, OperatorTable>();

/** Operators of a model, made on first use; actions that change nothing but what was seen are among them. */
export function operatorsOf(model: GroundModel): OperatorTable {
  let table = tables.get(model);
  if (table === undefined) {
    const operators = model.actions.flatMap((_, action) => operatorsOfAction(model, action));
    const achievers = new Map<number, Operator[]>();
    for (const operator of operators) {
      for (const atom of operator.adds) {
        const list = achievers.get(atom);
        if (list === undefined) achievers.set(atom, [operator]);
        else list.push(operator);
      }
    }
    table = { operators, achievers };
    tables.set(model, table);
  }
  return table;
}

function operatorsOfAction(model: GroundModel, action: number): Operator[] {
  const { args, alternatives } = model.actions[action];
  const operators: Operator[] = [];
  for (const { positive, negative, effects } of alternatives) {
    const adds = effects.filter(({ add, condition }) => add && condition === true).map(({ atom }) => atom);
    const deletes = effects
      .filter(({ add, condition }) => !add && condition === true)
      .map(({ atom }) => atom);
    operators.push({ action, args, positive, negative, adds, deletes });
    for (const effect of effects) {
      if (effect.condition === true || !effect.add) continue;
      for (const extra of alternativesOf(effect.condition, "expert")) {
        operators.push({
          action,
          args,
          positive: [...positive, ...extra.positive],
          negative: [...negative, ...extra.negative],
          adds: [...adds, effect.atom],
          deletes,
        });
      }
    }
  }
  return operators;
}
