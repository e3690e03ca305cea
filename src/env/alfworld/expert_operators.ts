/** Ground actions as planning operators: what each needs and changes, and which of them change an atom. */
import { alternativesOf, type Conjunction, type GroundCondition } from "./ground_condition.js";
import type { GroundModel } from "./grounding.js";

/** Truth of an atom by its number. */
export type Truth = (atom: number) => boolean;

/** Predicates by which household domains, ALFWorld's among them, say where the agent and the things are. */
export const AGENT_AT = "atlocation";
export const HOLDS = "holds";
export const INSIDE = "inreceptacle";

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
  /** The atom among `positive` that says where the agent must be. */
  readonly place: number | undefined;
}

/** The operators of a game. */
export interface OperatorTable {
  /** Those that change anything which an action or the goal asks for. */
  readonly operators: readonly Operator[];
  /** Operators that add an atom, by atom. */
  readonly achievers: ReadonlyMap<number, readonly Operator[]>;
  /** Operators that delete an atom, by atom. */
  readonly removers: ReadonlyMap<number, readonly Operator[]>;
  /** Ways to reach the goal: of each, every atom is true at the start or can be made true. */
  readonly goals: readonly Conjunction[];
}

const tables = new WeakMap<GroundModel, OperatorTable>();

/**
 * Operators of a model, made on first use.
 * @throws DataError when the goal has too many alternatives
 */
export function operatorsOf(model: GroundModel): OperatorTable {
  let table = tables.get(model);
  if (table === undefined) {
    const operators = relevant(
      model,
      model.actions.flatMap((_, action) => operatorsOfAction(model, action)),
    );
    const achievers = byAtom(operators, (operator) => operator.adds);
    const removers = byAtom(operators, (operator) => operator.deletes);
    const goals = alternativesOf(model.goal, "expert").filter(({ positive }) =>
      positive.every((atom) => model.initial.has(atom) || achievers.has(atom)),
    );
    table = { operators, achievers, removers, goals };
    tables.set(model, table);
  }
  return table;
}

function operatorsOfAction(model: GroundModel, action: number): Operator[] {
  const { args, alternatives } = model.actions[action];
  const operators: Operator[] = [];
  for (const { positive, negative, effects } of alternatives) {
    const place = positive.find((atom) => model.atoms.predicates[atom] === AGENT_AT);
    const certain = effects.filter(({ condition }) => condition === true);
    const adds = certain.filter(({ add }) => add).map(({ atom }) => atom);
    const deletes = certain.filter(({ add }) => !add).map(({ atom }) => atom);
    operators.push({ action, args, positive, negative, adds, deletes, place });
    for (const { atom, add, condition } of effects) {
      if (condition === true || !add) continue;
      for (const extra of alternativesOf(condition, "expert")) {
        operators.push({
          action,
          args,
          positive: [...positive, ...extra.positive],
          negative: [...negative, ...extra.negative],
          adds: [...adds, atom],
          deletes,
          place,
        });
      }
    }
  }
  return operators;
}

/** Leaves out actions that only note what was looked at. */
function relevant(model: GroundModel, operators: readonly Operator[]): readonly Operator[] {
  const asked = new Set(operators.flatMap(({ positive, negative }) => [...positive, ...negative]));
  const addLiterals = (condition: GroundCondition): void => {
    if (typeof condition === "boolean") return;
    if (condition.kind === "literal") asked.add(condition.atom);
    else condition.parts.forEach(addLiterals);
  };
  addLiterals(model.goal);
  const matters = (atom: number): boolean => asked.has(atom);
  return operators.filter(({ adds, deletes }) => adds.some(matters) || deletes.some(matters));
}

function byAtom(
  operators: readonly Operator[],
  atomsOf: (operator: Operator) => readonly number[],
): ReadonlyMap<number, readonly Operator[]> {
  const result = new Map<number, Operator[]>();
  for (const operator of operators) {
    for (const atom of atomsOf(operator)) {
      const list = result.get(atom);
      if (list === undefined) result.set(atom, [operator]);
      else list.push(operator);
    }
  }
  return result;
}
