/** Replaces variables by objects: enumerates bindings by joining over facts that never change, and grounds formulas. */
import { DataError } from "../../core/errors.js";
import { AtomTable, ObjectTable } from "./atom_table.js";
import { FactIndex, type Row } from "./fact_index.js";
import { combine, type GroundCondition } from "./ground_condition.js";
import type { Condition, Domain, Parameter, Problem } from "./pddl.js";

/** Variable name to object number. */
export type Binding = Map<string, number>;

type AtomCondition = Extract<Condition, { kind: "atom" }>;

/** More bindings than this for one problem are refused: real games need some ten thousand. */
const MAX_BINDINGS = 1_000_000;

/** Grounds conditions of one problem. Atoms of predicates that no action changes become true or false right away. */
export class Instantiation {
  readonly objects: ObjectTable;
  readonly atoms: AtomTable;
  /** Predicates that some action can change. */
  readonly fluents: ReadonlySet<string>;
  /** Atoms true at the start. */
  readonly initial: ReadonlySet<number>;
  readonly #where: string;
  readonly #facts = new FactIndex();
  readonly #demands = new Map<Condition, readonly Condition[]>();
  #bindings = 0;

  /** @param where how messages name the game */
  constructor(domain: Domain, problem: Problem, where: string) {
    this.#where = where;
    this.objects = new ObjectTable(domain, problem);
    this.atoms = new AtomTable(this.objects.ids.length);
    this.fluents = new Set(
      [...domain.actions.values()].flatMap((action) => action.effects.map((effect) => effect.atom.predicate)),
    );
    const initial = new Set<number>();
    for (const { predicate, args } of problem.init) {
      const row = args.map((id) => this.objects.indexOf(id) as number);
      initial.add(this.atoms.intern(predicate, row));
      if (!this.fluents.has(predicate)) this.#facts.add(predicate, row);
    }
    this.initial = initial;
  }

  /** An atom's arguments as objects; undefined when a constant is no object of the problem, so the atom is never true. */
  argumentsOf(args: readonly string[], binding: Binding): number[] | undefined {
    const result: number[] = [];
    for (const term of args) {
      const object = this.#value(term, binding);
      if (object === undefined) return undefined;
      result.push(object);
    }
    return result;
  }

  /** Grounds a condition whose free variables are bound. @param positive false grounds its negation */
  ground(condition: Condition, binding: Binding, positive = true): GroundCondition {
    switch (condition.kind) {
      case "and":
      case "or": {
        const kind = (condition.kind === "and") === positive ? "and" : "or";
        const absorbing = kind === "or";
        const parts: GroundCondition[] = [];
        for (const part of condition.parts) {
          const grounded = this.ground(part, binding, positive);
          if (grounded === absorbing) return absorbing;
          parts.push(grounded);
        }
        return combine(kind, parts);
      }
      case "not":
        return this.ground(condition.part, binding, !positive);
      case "equal": {
        const left = this.#value(condition.left, binding);
        return (left !== undefined && left === this.#value(condition.right, binding)) === positive;
      }
      case "exists":
      case "forall": {
        const parts: GroundCondition[] = [];
        // Where the static atoms of an `exists` do not hold its body is false, so those bindings can be passed over.
        const guides = condition.kind === "exists" ? [condition.part] : [];
        this.enumerate(condition.variables, guides, binding, () => {
          parts.push(this.ground(condition.part, binding, positive));
        });
        return combine((condition.kind === "exists") === positive ? "or" : "and", parts);
      }
      case "atom": {
        const args = this.argumentsOf(condition.args, binding);
        if (args === undefined) return !positive;
        if (this.fluents.has(condition.predicate)) {
          return { kind: "literal", atom: this.atoms.intern(condition.predicate, args), positive };
        }
        const atom = this.atoms.find(condition.predicate, args);
        return (atom !== undefined && this.initial.has(atom)) === positive;
      }
    }
  }

  /**
   * Calls `visit` once for each binding of `variables` that fits their types and makes the unchanging atoms demanded by
   * `guides` true. `binding` is changed during the calls and is as before afterwards.
   */
  enumerate(
    variables: readonly Parameter[],
    guides: readonly Condition[],
    binding: Binding,
    visit: () => void,
  ): void {
    const shadowed = variables.map(({ name }) => [name, binding.get(name)] as const);
    for (const { name } of variables) binding.delete(name);
    const demanded = guides.flatMap((guide) => this.#demandsOf(guide));
    const open = new Map<string, ReadonlySet<number>>();
    let possible = variables.every(({ type }) => this.objects.ofType(type).size > 0);
    for (const { name, type } of possible ? variables : []) {
      const members = this.#members(name, type, demanded, binding);
      open.set(name, members);
      possible &&= members.size > 0;
    }
    if (possible) {
      const joined = demanded.filter((demand): demand is AtomCondition => demand.kind === "atom");
      this.#extend(open, joined, binding, visit);
    }
    for (const [name, value] of shadowed) if (value !== undefined) binding.set(name, value);
  }

  #extend(
    open: Map<string, ReadonlySet<number>>,
    guides: readonly AtomCondition[],
    binding: Binding,
    visit: () => void,
  ): void {
    if (open.size === 0) {
      if (++this.#bindings > MAX_BINDINGS) {
        throw new DataError(
          `[${this.#where}] too many ground actions: got over ${MAX_BINDINGS} bindings, expected fewer. Use a smaller game.`,
        );
      }
      visit();
      return;
    }
    let best: AtomCondition | undefined;
    let bestRows: readonly Row[] = [];
    for (const guide of guides) {
      if (!guide.args.some((term) => open.has(term))) continue;
      const known = guide.args.map((term) => this.#value(term, binding));
      // A constant that is no object of the problem leaves its place open; `#extendByRow` finds that nothing equals it.
      const rows = this.#facts.candidates(guide.predicate, known);
      if (best === undefined || rows.length < bestRows.length) [best, bestRows] = [guide, rows];
    }
    if (best === undefined) {
      const [name, members] = open.entries().next().value as [string, ReadonlySet<number>];
      open.delete(name);
      for (const object of members) {
        binding.set(name, object);
        this.#extend(open, guides, binding, visit);
      }
      binding.delete(name);
      open.set(name, members);
      return;
    }
    const rest = guides.filter((guide) => guide !== best);
    for (const row of bestRows) this.#extendByRow(best, row, open, rest, binding, visit);
  }

  #extendByRow(
    guide: AtomCondition,
    row: Row,
    open: Map<string, ReadonlySet<number>>,
    rest: readonly AtomCondition[],
    binding: Binding,
    visit: () => void,
  ): void {
    const bound: [string, ReadonlySet<number>][] = [];
    let fits = true;
    for (let i = 0; i < row.length && fits; i++) {
      const term = guide.args[i];
      const object = row[i];
      const members = open.get(term);
      if (members === undefined) fits = this.#value(term, binding) === object;
      else if (members.has(object)) {
        binding.set(term, object);
        open.delete(term);
        bound.push([term, members]);
      } else fits = false;
    }
    if (fits) this.#extend(open, rest, binding, visit);
    for (const [name, members] of bound) {
      binding.delete(name);
      open.set(name, members);
    }
  }

  /** Objects of a type that satisfy the conditions in which the variable is the only one not bound yet. */
  #members(
    name: string,
    type: string,
    demanded: readonly Condition[],
    binding: Binding,
  ): ReadonlySet<number> {
    const own = demanded.filter((condition) => {
      const free = freeVariables(condition).filter((variable) => !binding.has(variable));
      return free.length > 0 && free.every((variable) => variable === name);
    });
    const members = this.objects.ofType(type);
    if (own.length === 0) return members;
    const kept = new Set<number>();
    for (const object of members) {
      binding.set(name, object);
      if (own.every((condition) => this.ground(condition, binding) !== false)) kept.add(object);
    }
    binding.delete(name);
    return kept;
  }

  /** The parts of a conjunction whose truth no action can change. */
  #demandsOf(guide: Condition): readonly Condition[] {
    let demands = this.#demands.get(guide);
    if (demands === undefined) {
      demands = conjuncts(guide).filter((part) => this.#isStatic(part));
      this.#demands.set(guide, demands);
    }
    return demands;
  }

  /** Whether no action can change the truth of a condition. */
  #isStatic(condition: Condition): boolean {
    switch (condition.kind) {
      case "and":
      case "or":
        return condition.parts.every((part) => this.#isStatic(part));
      case "atom":
        return !this.fluents.has(condition.predicate);
      case "equal":
        return true;
      default:
        return this.#isStatic(condition.part);
    }
  }

  #value(term: string, binding: Binding): number | undefined {
    return term.startsWith("?") ? binding.get(term) : this.objects.indexOf(term);
  }
}

/** The parts of a conjunction, nested ones included. */
function conjuncts(condition: Condition): Condition[] {
  return condition.kind === "and" ? condition.parts.flatMap(conjuncts) : [condition];
}

/** Variables of a condition that it does not bind itself, with repeats. */
function freeVariables(condition: Condition): string[] {
  switch (condition.kind) {
    case "and":
    case "or":
      return condition.parts.flatMap(freeVariables);
    case "not":
      return freeVariables(condition.part);
    case "equal":
      return [condition.left, condition.right].filter((term) => term.startsWith("?"));
    case "atom":
      return condition.args.filter((term) => term.startsWith("?"));
    default: {
      const own = new Set(condition.variables.map(({ name }) => name));
      return freeVariables(condition.part).filter((name) => !own.has(name));
    }
  }
}
