/** Replaces variables by objects: enumerates bindings by joining over facts that never change, and grounds formulas. */
import { DataError } from "../../core/errors.js";
import { AtomTable, ObjectTable } from "./atom_table.js";
import { FactIndex, type Row } from "./fact_index.js";
import {
  type AtomFormula,
  type Formula,
  Numbering,
  type QuantifiedFormula,
  type Quantifier,
  type Term,
} from "./formula.js";
import { combine, type GroundCondition } from "./ground_condition.js";
import type { Domain, Problem } from "./pddl.js";
import type { Rows } from "./rows.js";

/** More bindings than this for one problem are refused: real games need some ten thousand. */
const MAX_BINDINGS = 1_000_000;

/** Stands for no object, and for no atom. */
const NONE = -1;

/** What is still to be bound, and what narrows it. */
interface Join {
  /** Slots without an object, in the order in which they are tried. */
  readonly open: number[];
  readonly guides: readonly AtomFormula[];
  /** By guide: whether it was joined over already. */
  readonly isUsed: boolean[];
  readonly visit: () => void;
}

/** Grounds conditions of one problem. Atoms of predicates that no action changes become true or false right away. */
export class Instantiation {
  readonly objects: ObjectTable;
  readonly atoms: AtomTable;
  /** Atoms true at the start. */
  readonly initial: ReadonlySet<number>;
  /** The problem's goal, with its terms numbered on top of the domain's. */
  readonly goal: Formula;
  readonly #where: string;
  readonly #facts: FactIndex;
  /** Object in each slot, or `NONE`. */
  readonly #values: Int32Array;
  /** Object of each constant; `NONE` where the problem has no such object. */
  readonly #constants: Int32Array;
  /** By slot: the objects that it may take, while it is open. */
  readonly #choices: (ReadonlySet<number> | undefined)[] = [];
  /** One array of arguments for each number of them. */
  readonly #arguments: number[][] = [];
  /** Slots that rows of facts have bound, with their choices; the latest last. */
  readonly #bound: { readonly slot: number; readonly choices: ReadonlySet<number> }[] = [];
  #bindings = 0;

  /**
   * @param numbering of the domain's formulas
   * @param where how messages name the game
   */
  constructor(domain: Domain, problem: Problem, numbering: Numbering, where: string) {
    this.#where = where;
    this.objects = new ObjectTable(domain, problem);
    this.atoms = new AtomTable(this.objects.ids.length, [...domain.predicates.keys()]);
    this.#facts = new FactIndex(this.objects.ids.length);
    const own = new Numbering(domain, numbering);
    this.goal = own.formula(problem.goal, new Map());
    this.#values = new Int32Array(own.slotCount).fill(NONE);
    this.#constants = Int32Array.from(own.constants.keys(), (id) => this.objects.indexOf(id) ?? NONE);
    const initial = new Set<number>();
    for (const { predicate, args } of problem.init) {
      const row = args.map((id) => this.objects.indexOf(id) as number);
      const number = this.atoms.predicateNumber(predicate) as number;
      initial.add(this.atoms.intern(number, row));
      if (!numbering.fluents.has(predicate)) this.#facts.add(number, row);
    }
    this.initial = initial;
  }

  /** The object that a term stands for now; `NONE` for a constant that is no object of the problem. */
  value(term: Term): number {
    return term < 0 ? this.#constants[-1 - term] : this.#values[term];
  }

  /** Number of an atom whose variables are bound; undefined when a constant is no object, so that it is never true. */
  atomOf({ predicate, args }: AtomFormula): number | undefined {
    const objects = this.#argumentsOf(args);
    return objects && this.atoms.intern(predicate, objects);
  }

  /** Grounds a formula whose free variables are bound. @param positive false grounds its negation */
  ground(formula: Formula, positive = true): GroundCondition {
    switch (formula.kind) {
      case "and":
      case "or": {
        const kind = (formula.kind === "and") === positive ? "and" : "or";
        const absorbing = kind === "or";
        // Nearly always one part at most is open, so an array is made for the second.
        let single: GroundCondition = !absorbing;
        let parts: GroundCondition[] | undefined;
        for (const part of formula.parts) {
          const grounded = this.ground(part, positive);
          if (grounded === absorbing) return absorbing;
          if (typeof grounded === "boolean") continue;
          if (typeof single === "boolean") single = grounded;
          else if (parts === undefined) parts = [single, grounded];
          else parts.push(grounded);
        }
        return parts === undefined ? single : combine(kind, parts);
      }
      case "not":
        return this.ground(formula.part, !positive);
      case "equal": {
        const left = this.value(formula.left);
        return (left !== NONE && left === this.value(formula.right)) === positive;
      }
      case "exists":
      case "forall":
        return this.#groundQuantified(formula, positive);
      case "atom": {
        const objects = this.#argumentsOf(formula.args);
        if (objects === undefined) return !positive;
        if (formula.isFluent) {
          return { kind: "literal", atom: this.atoms.intern(formula.predicate, objects), positive };
        }
        // Atoms that no action changes are interned from the start facts alone.
        return (this.atoms.find(formula.predicate, objects) !== undefined) === positive;
      }
    }
  }

  /** Apart from `ground`, which would have to keep its arguments for the function in here at every call. */
  #groundQuantified({ kind, quantifier, part }: QuantifiedFormula, positive: boolean): GroundCondition {
    const parts: GroundCondition[] = [];
    this.enumerate(quantifier, () => {
      parts.push(this.ground(part, positive));
    });
    return combine((kind === "exists") === positive ? "or" : "and", parts);
  }

  /**
   * Writes the literals of a condition whose free variables are bound into two rows, where it is a plain conjunction.
   * @returns false when the condition is false; undefined when it is something else, and then the rows are to be dropped
   */
  writeConjunction(formula: Formula, positive: Rows, negative: Rows): boolean | undefined {
    if (formula.kind === "and") {
      for (const part of formula.parts) {
        const written = this.writeConjunction(part, positive, negative);
        if (written !== true) return written;
      }
      return true;
    }
    if (formula.kind === "atom" && formula.isFluent) {
      const atom = this.atomOf(formula);
      return atom !== undefined && writeLiteral(atom, positive, negative);
    }
    const grounded = this.ground(formula);
    if (typeof grounded === "boolean") return grounded;
    if (grounded.kind !== "literal") return undefined;
    return grounded.positive
      ? writeLiteral(grounded.atom, positive, negative)
      : writeLiteral(grounded.atom, negative, positive);
  }

  /**
   * Calls `visit` once for each binding of the variables that fits their types and makes the unchanging conditions that the
   * quantifier knows true. The variables are bound during the calls only.
   */
  enumerate({ variables, guides }: Quantifier, visit: () => void): void {
    for (const { type } of variables) if (this.objects.ofType(type).size === 0) return;
    const open: number[] = [];
    let possible = true;
    for (const { slot, type, own } of variables) {
      const choices = this.#choicesOf(slot, type, own);
      if (!open.includes(slot)) open.push(slot);
      this.#choices[slot] = choices;
      possible &&= choices.size > 0;
      if (!possible) break;
    }
    if (possible) this.#extend({ open, guides, isUsed: guides.map(() => false), visit });
    for (const { slot } of variables) this.#choices[slot] = undefined;
  }

  #extend(join: Join): void {
    const { open, guides, isUsed } = join;
    if (open.length === 0) {
      if (++this.#bindings > MAX_BINDINGS) {
        throw new DataError(
          `[${this.#where}] too many ground actions: got over ${MAX_BINDINGS} bindings, expected fewer. Use a smaller game.`,
        );
      }
      join.visit();
      return;
    }
    let best = -1;
    let bestRows: readonly Row[] = [];
    for (let i = 0; i < guides.length; i++) {
      if (isUsed[i] || !this.#hasOpen(guides[i].args)) continue;
      const rows = this.#candidates(guides[i]);
      if (best >= 0 && rows.length >= bestRows.length) continue;
      best = i;
      bestRows = rows;
    }
    if (best < 0) {
      const slot = open.shift() as number;
      const choices = this.#choices[slot] as ReadonlySet<number>;
      this.#choices[slot] = undefined;
      for (const object of choices) {
        this.#values[slot] = object;
        this.#extend(join);
      }
      this.#reopen(slot, choices, open);
      return;
    }
    isUsed[best] = true;
    for (const row of bestRows) this.#extendByRow(guides[best], row, join);
    isUsed[best] = false;
  }

  #extendByRow({ args }: AtomFormula, row: Row, join: Join): void {
    const { open } = join;
    const before = this.#bound.length;
    let fits = true;
    for (let i = 0; i < row.length && fits; i++) {
      const term = args[i];
      const object = row[i];
      const choices = term < 0 ? undefined : this.#choices[term];
      if (choices === undefined) fits = this.value(term) === object;
      else if (choices.has(object)) {
        this.#values[term] = object;
        this.#choices[term] = undefined;
        take(open, term);
        this.#bound.push({ slot: term, choices });
      } else fits = false;
    }
    if (fits) this.#extend(join);
    for (let i = before; i < this.#bound.length; i++) {
      const { slot, choices } = this.#bound[i];
      this.#reopen(slot, choices, open);
    }
    this.#bound.length = before;
  }

  #reopen(slot: number, choices: ReadonlySet<number>, open: number[]): void {
    this.#values[slot] = NONE;
    this.#choices[slot] = choices;
    open.push(slot);
  }

  #hasOpen(terms: readonly Term[]): boolean {
    for (const term of terms) if (term >= 0 && this.#choices[term] !== undefined) return true;
    return false;
  }

  /**
   * Facts that can match a guide, narrowed by the known argument that leaves fewest; the others remain to be checked. A
   * constant that is no object of the problem leaves its place open; `#extendByRow` finds that nothing equals it.
   */
  #candidates({ predicate, args }: AtomFormula): readonly Row[] {
    let rows = this.#facts.all(predicate);
    for (let position = 0; position < args.length; position++) {
      const object = this.value(args[position]);
      if (object === NONE) continue;
      const narrowed = this.#facts.having(predicate, position, object);
      if (narrowed.length < rows.length) rows = narrowed;
    }
    return rows;
  }

  /** Objects of a type that satisfy a variable's own conditions. */
  #choicesOf(slot: number, type: string, own: readonly Formula[]): ReadonlySet<number> {
    const members = this.objects.ofType(type);
    if (own.length === 0) return members;
    const kept = new Set<number>();
    for (const object of members) {
      this.#values[slot] = object;
      let fits = true;
      for (const condition of own) fits &&= this.ground(condition) !== false;
      if (fits) kept.add(object);
    }
    this.#values[slot] = NONE;
    return kept;
  }

  /** Arguments as objects, in an array that the next call uses again; undefined when a constant is no object. */
  #argumentsOf(args: readonly Term[]): readonly number[] | undefined {
    this.#arguments[args.length] ??= args.map(() => 0);
    const objects = this.#arguments[args.length];
    for (let i = 0; i < args.length; i++) {
      const object = this.value(args[i]);
      if (object === NONE) return undefined;
      objects[i] = object;
    }
    return objects;
  }
}

/** Takes a value out of a short list. */
function take(list: number[], value: number): void {
  let at = list.indexOf(value);
  for (; at + 1 < list.length; at++) list[at] = list[at + 1];
  list.pop();
}

/** Adds an atom to the row that is being written; undefined when it is wanted otherwise, too. */
function writeLiteral(atom: number, own: Rows, opposite: Rows): true | undefined {
  if (opposite.isWriting(atom)) return undefined;
  if (!own.isWriting(atom)) own.push(atom);
  return true;
}
