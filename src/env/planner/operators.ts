/** Ground actions as planning operators: what each needs and changes, and which of them change an atom. */
import type { GroundAction } from "../pddl/action_table.js";
import { alternativesOf, type Conjunction, type GroundCondition } from "../pddl/ground_condition.js";
import type { GroundModel } from "../pddl/grounding.js";
import { Lists } from "../pddl/lists.js";
import { Rows } from "../pddl/rows.js";

/** Truth of an atom by its number. */
export type Truth = (atom: number) => boolean;

/** Predicates by which household domains, ALFWorld's among them, say where the agent, the things and the receptacles are. */
export const AGENT_AT = "atlocation";
export const HOLDS = "holds";
export const INSIDE = "inreceptacle";
export const RECEPTACLE_AT = "receptacleatlocation";

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

/** The operators of a game. Most of thousands are never asked for, so they are made when they are. */
export class OperatorTable {
  /** Ways to reach the goal: of each, every atom is true at the start or can be made true. */
  readonly goals: readonly Conjunction[];
  readonly #model: GroundModel;
  readonly #adding: Lists;
  #deleting: Lists | undefined;
  readonly #ofAction: (readonly Operator[] | undefined)[];
  readonly #achievers = new Map<number, readonly Operator[]>();
  readonly #removers = new Map<number, readonly Operator[]>();
  #relevant: readonly Operator[] | undefined;

  /** @throws DataError when the goal has too many alternatives */
  constructor(model: GroundModel) {
    this.#model = model;
    this.#ofAction = new Array<readonly Operator[] | undefined>(model.actions.count);
    this.#adding = actionsByEffect(model, true);
    this.goals = alternativesOf(model.goal, "expert").filter(({ positive }) =>
      positive.every((atom) => model.initial.has(atom) || this.achieversOf(atom).length > 0),
    );
  }

  /** Operators that change anything which an action or the goal asks for. */
  get relevant(): readonly Operator[] {
    this.#relevant ??= relevant(
      this.#model,
      Array.from({ length: this.#model.actions.count }, (_, action) => this.#operatorsOf(action)).flat(),
    );
    return this.#relevant;
  }

  /** Operators that add an atom. */
  achieversOf(atom: number): readonly Operator[] {
    let found = this.#achievers.get(atom);
    if (found === undefined) {
      found = this.#among(this.#adding, atom, ({ adds }) => adds.includes(atom));
      this.#achievers.set(atom, found);
    }
    return found;
  }

  /** Operators that delete an atom. */
  removersOf(atom: number): readonly Operator[] {
    let found = this.#removers.get(atom);
    if (found === undefined) {
      this.#deleting ??= actionsByEffect(this.#model, false);
      found = this.#among(this.#deleting, atom, ({ deletes }) => deletes.includes(atom));
      this.#removers.set(atom, found);
    }
    return found;
  }

  #among(actions: Lists, atom: number, fits: (operator: Operator) => boolean): readonly Operator[] {
    const found: Operator[] = [];
    for (const action of actions.of(atom)) {
      for (const operator of this.#operatorsOf(action)) if (fits(operator)) found.push(operator);
    }
    return found;
  }

  #operatorsOf(action: number): readonly Operator[] {
    let operators = this.#ofAction[action];
    if (operators === undefined) {
      operators = operatorsOfAction(this.#model, action);
      this.#ofAction[action] = operators;
    }
    return operators;
  }
}

const tables = new WeakMap<GroundModel, OperatorTable>();

/**
 * Operators of a model, looked up on first use.
 * @throws DataError when the goal has too many alternatives
 */
export function operatorsOf(model: GroundModel): OperatorTable {
  let table = tables.get(model);
  if (table === undefined) {
    table = new OperatorTable(model);
    tables.set(model, table);
  }
  return table;
}

/** Numbers of the actions that can add an atom, or delete it, by atom. */
function actionsByEffect({ actions, atoms }: GroundModel, add: boolean): Lists {
  const rows = new Rows();
  const { codes } = actions.effects;
  for (let alternative = 0; alternative < codes.count; alternative++) {
    for (let at = codes.start(alternative); at < codes.ends[alternative]; at++) {
      const code = codes.items[at];
      if ((code % 2 === 1) === add && !rows.isWriting(code >> 1)) rows.push(code >> 1);
    }
    if (actions.owner[alternative + 1] !== actions.owner[alternative]) rows.close();
  }
  return new Lists(atoms.size, rows);
}

function operatorsOfAction(model: GroundModel, action: number): Operator[] {
  const operators: Operator[] = [];
  const { args, alternatives } = model.actions.at(action) as GroundAction;
  for (const { positive, negative, effects } of alternatives) {
    const place = positive.find((atom) => model.atoms.predicates[atom] === AGENT_AT);
    const adds: number[] = [];
    const deletes: number[] = [];
    for (const { atom, add, condition } of effects) if (condition === true) (add ? adds : deletes).push(atom);
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
  const asked = new Uint8Array(model.atoms.size);
  for (const { positive, negative } of operators) {
    for (const atom of positive) asked[atom] = 1;
    for (const atom of negative) asked[atom] = 1;
  }
  const addLiterals = (condition: GroundCondition): void => {
    if (typeof condition === "boolean") return;
    if (condition.kind === "literal") asked[condition.atom] = 1;
    else condition.parts.forEach(addLiterals);
  };
  addLiterals(model.goal);
  const matters = (atom: number): boolean => asked[atom] === 1;
  return operators.filter(({ adds, deletes }) => adds.some(matters) || deletes.some(matters));
}
