/** Queries of game grammars, `name(var:type, ...) & ...`, and their matches in a fact view. */
import { DataError } from "../../core/errors.js";
import type { GroundModel } from "../pddl/grounding.js";

/** A variable of a query. Two with the same name but another type are different variables. */
export interface Placeholder {
  readonly name: string;
  readonly type: string;
}

export interface QueryAtom {
  /** As written, with its `not_` if it has one. */
  readonly predicate: string;
  readonly args: readonly Placeholder[];
}

export type Query = readonly QueryAtom[];

/** A placeholder with its object's number. */
export interface Bound extends Placeholder {
  readonly object: number;
}

/** Which facts show; see `PlayState.shows`. */
export interface FactView {
  shows(atom: number, negated: boolean): boolean;
}

/**
 * Parses a query.
 * @param where how messages name the text
 * @throws DataError when it is not `name(var:type, ...)` joined by `&`
 */
export function parseQuery(source: string, where: string): Query {
  return source.split("&").map((part) => {
    const match = /^\s*([^\s(),:]+)\s*\(([^()]*)\)\s*$/.exec(part);
    const predicate = match?.[1]?.toLowerCase();
    const list = match?.[2]?.trim();
    if (predicate === undefined || list === undefined) throw bad(where, part);
    const args = list === "" ? [] : list.split(",").map((arg) => placeholder(arg, part, where));
    return { predicate, args };
  });
}

function placeholder(text: string, part: string, where: string): Placeholder {
  const match = /^\s*([\w-]+)\s*:\s*([\w-]+)\s*$/.exec(text);
  if (match === null) throw bad(where, part);
  return { name: match[1].toLowerCase(), type: match[2].toLowerCase() };
}

function bad(where: string, part: string): DataError {
  return new DataError(
    `[${where}] bad query: got "${part.trim()}", expected \`predicate(variable:type, ...)\`. Correct the grammar.`,
  );
}

/** Atoms in matching order; they are put in order when first looked at. */
class Ordered {
  readonly #atoms: number[] = [];
  readonly #compare: (left: number, right: number) => number;
  #isSorted = true;

  constructor(compare: (left: number, right: number) => number) {
    this.#compare = compare;
  }

  get count(): number {
    return this.#atoms.length;
  }

  add(atom: number): void {
    this.#atoms.push(atom);
    this.#isSorted = false;
  }

  [Symbol.iterator](): Iterator<number> {
    return this.#atoms.values();
  }

  sorted(): readonly number[] {
    if (!this.#isSorted) this.#atoms.sort(this.#compare);
    this.#isSorted = true;
    return this.#atoms;
  }
}

/** Atoms of one predicate and argument types. */
class Candidates {
  readonly all: Ordered;
  readonly negated: boolean;
  readonly #args: readonly (readonly number[])[];
  readonly #compare: (left: number, right: number) => number;
  readonly #none: Ordered;
  /** By position: atoms by the object there, found on first use. */
  readonly #having: (Map<number, Ordered> | undefined)[] = [];

  /** @param args arguments of each atom of the game */
  constructor(
    atoms: readonly number[],
    args: readonly (readonly number[])[],
    compare: (left: number, right: number) => number,
    negated: boolean,
  ) {
    this.#args = args;
    this.#compare = compare;
    this.negated = negated;
    this.all = new Ordered(compare);
    this.#none = new Ordered(compare);
    for (const atom of atoms) this.all.add(atom);
  }

  /** Those that have an object in a place. */
  having(position: number, object: number): Ordered {
    let index = this.#having[position];
    if (index === undefined) {
      index = new Map();
      this.#having[position] = index;
      for (const atom of this.all) {
        const own = this.#args[atom][position];
        let group = index.get(own);
        if (group === undefined) {
          group = new Ordered(this.#compare);
          index.set(own, group);
        }
        group.add(atom);
      }
    }
    return index.get(object) ?? this.#none;
  }
}

/** Finds the matches of queries in states of one game. */
export class QueryEngine {
  readonly #model: GroundModel;
  readonly #predicates: ReadonlySet<string>;
  readonly #typeOrder: ReadonlyMap<string, number>;
  readonly #candidates = new Map<string, Candidates>();
  /** The same by the atom that was asked for, as it stands in the grammar. */
  readonly #candidatesOfAtom = new Map<QueryAtom, Candidates>();

  /**
   * @param predicates the domain's predicates
   * @param types the domain's types in file order
   */
  constructor(model: GroundModel, predicates: Iterable<string>, types: Iterable<string>) {
    this.#model = model;
    this.#predicates = new Set(predicates);
    this.#typeOrder = new Map([...types].map((type, index) => [type, index]));
  }

  /** Whether some action can change how the query matches. */
  isFluent(query: Query): boolean {
    return query.some(({ predicate }) => this.#model.fluents.has(this.#split(predicate).predicate));
  }

  /**
   * Matches in order: predicate by predicate, facts sorted by argument ids, exact types before subtypes. Different
   * placeholders never take the same object.
   * @param bound placeholders that already have objects
   * @param visit gets `bound` with the new placeholders added; returning false stops the search
   */
  match(
    view: FactView,
    query: Query,
    bound: readonly Bound[],
    visit: (match: readonly Bound[]) => boolean,
  ): void {
    this.#match(view, query, 0, bound, visit);
  }

  /** Whether the query has a match. */
  matches(view: FactView, query: Query, bound: readonly Bound[]): boolean {
    let found = false;
    this.match(view, query, bound, () => {
      found = true;
      return false;
    });
    return found;
  }

  #match(
    view: FactView,
    query: Query,
    place: number,
    bound: readonly Bound[],
    visit: (match: readonly Bound[]) => boolean,
  ): boolean {
    const wanted = query[place];
    if (wanted === undefined) return visit(bound);
    const candidates = this.#candidatesOf(wanted);
    let atoms = candidates.all;
    for (let position = 0; position < wanted.args.length; position++) {
      const object = objectOf(bound, wanted.args[position]);
      if (object === undefined) continue;
      const narrowed = candidates.having(position, object);
      if (narrowed.count < atoms.count) atoms = narrowed;
    }
    for (const atom of atoms.sorted()) {
      if (!view.shows(atom, candidates.negated)) continue;
      const extended = extend(bound, wanted.args, this.#model.atoms.args[atom]);
      if (extended !== undefined && !this.#match(view, query, place + 1, extended, visit)) return false;
    }
    return true;
  }

  #candidatesOf(wanted: QueryAtom): Candidates {
    let candidates = this.#candidatesOfAtom.get(wanted);
    if (candidates === undefined) {
      const key = `${wanted.predicate} ${wanted.args.map((arg) => arg.type).join(" ")}`;
      candidates = this.#candidates.get(key) ?? this.#collect(wanted);
      this.#candidates.set(key, candidates);
      this.#candidatesOfAtom.set(wanted, candidates);
    }
    return candidates;
  }

  #collect(wanted: QueryAtom): Candidates {
    const { atoms, objects } = this.#model;
    const { predicate, negated } = this.#split(wanted.predicate);
    const members = wanted.args.map(({ type }) => objects.ofType(type));
    const typeRank = (object: number, wantedType: string): number => {
      const type = objects.types[object];
      return type === wantedType ? -1 : (this.#typeOrder.get(type) as number);
    };
    const compare = (left: number, right: number): number => {
      const a = atoms.args[left];
      const b = atoms.args[right];
      for (let i = 0; i < a.length; i++) {
        const wantedType = wanted.args[i].type;
        const order = typeRank(a[i], wantedType) - typeRank(b[i], wantedType);
        if (order !== 0) return order;
      }
      for (let i = 0; i < a.length; i++) {
        const order = objects.rank[a[i]] - objects.rank[b[i]];
        if (order !== 0) return order;
      }
      return 0;
    };
    const fitting = atoms.ofPredicate(predicate).filter((atom) => {
      const args = atoms.args[atom];
      return args.length === members.length && args.every((object, i) => members[i].has(object));
    });
    return new Candidates(fitting, atoms.args, compare, negated);
  }

  /** `not_p` asks for the written-down negation of `p`, unless the domain has a predicate of that very name. */
  #split(name: string): { predicate: string; negated: boolean } {
    const negated = name.startsWith("not_") && !this.#predicates.has(name);
    return { predicate: negated ? name.slice(4) : name, negated };
  }
}

function objectOf(bound: readonly Bound[], { name, type }: Placeholder): number | undefined {
  return bound.find((entry) => entry.name === name && entry.type === type)?.object;
}

/** `bound` with `args` bound to `objects`; undefined when that contradicts it or gives an object to two placeholders. */
function extend(
  bound: readonly Bound[],
  args: readonly Placeholder[],
  objects: readonly number[],
): readonly Bound[] | undefined {
  let result = bound;
  for (let i = 0; i < args.length; i++) {
    const { name, type } = args[i];
    const object = objects[i];
    const known = objectOf(result, { name, type });
    if (known === object) continue;
    if (known !== undefined || result.some((entry) => entry.object === object)) return undefined;
    result = [...result, { name, type, object }];
  }
  return result;
}
