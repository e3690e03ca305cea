/** Numbers for objects and atoms of one problem: everything after parsing works on these small integers. */
import { type Atom, type Domain, isSubtype, type Problem } from "./pddl.js";

/** Objects of a problem by index, and which types they fall under. */
export class ObjectTable {
  /** Object ids in file order; the index is the object's number. */
  readonly ids: readonly string[];
  /** Declared type of each object. */
  readonly types: readonly string[];
  /** Place of each object when ids are sorted by code point. */
  readonly rank: Int32Array;
  readonly #index = new Map<string, number>();
  readonly #members = new Map<string, ReadonlySet<number>>();
  readonly #domain: Domain;

  constructor(domain: Domain, problem: Problem) {
    this.#domain = domain;
    this.ids = [...problem.objects.keys()];
    this.types = [...problem.objects.values()];
    this.ids.forEach((id, index) => {
      this.#index.set(id, index);
    });
    this.rank = new Int32Array(this.ids.length);
    [...this.ids].sort().forEach((id, place) => {
      this.rank[this.indexOf(id) as number] = place;
    });
  }

  indexOf(id: string): number | undefined {
    return this.#index.get(id);
  }

  /** Objects of a type or one below it, in file order. A type that the domain does not know has none. */
  ofType(type: string): ReadonlySet<number> {
    let members = this.#members.get(type);
    if (members === undefined) {
      const fitting = new Set([...new Set(this.types)].filter((own) => isSubtype(this.#domain, own, type)));
      const found = new Set<number>();
      for (const [index, own] of this.types.entries()) if (fitting.has(own)) found.add(index);
      members = found;
      this.#members.set(type, members);
    }
    return members;
  }
}

/** Atoms by number. Two equal atoms have the same number. */
export class AtomTable {
  /** By predicate number: numbers of its atoms by their arguments. */
  readonly #numbers: Map<number | string, number>[];
  readonly #predicateNumbers = new Map<string, number>();
  readonly #predicateNames: readonly string[];
  readonly #objectCount: number;
  /** Predicate of each atom. */
  readonly predicates: string[] = [];
  /** Object numbers of each atom's arguments. */
  readonly args: (readonly number[])[] = [];

  /** @param predicates names; a predicate's number is its place among them */
  constructor(objectCount: number, predicates: readonly string[]) {
    this.#objectCount = Math.max(1, objectCount);
    this.#predicateNames = predicates;
    this.#numbers = predicates.map(() => new Map());
    for (const [number, name] of predicates.entries()) this.#predicateNumbers.set(name, number);
  }

  get size(): number {
    return this.args.length;
  }

  predicateNumber(name: string): number | undefined {
    return this.#predicateNumbers.get(name);
  }

  /** The number of an atom, given out on first sight. `args` is copied. */
  intern(predicate: number, args: readonly number[]): number {
    const numbers = this.#numbers[predicate];
    const key = this.#key(args);
    let number = numbers.get(key);
    if (number === undefined) {
      number = this.args.length;
      this.args.push(args.slice());
      this.predicates.push(this.#predicateNames[predicate]);
      numbers.set(key, number);
    }
    return number;
  }

  /** The number of an atom already seen. */
  find(predicate: number, args: readonly number[]): number | undefined {
    return this.#numbers[predicate].get(this.#key(args));
  }

  /** Every atom seen of a predicate, in order of first sight. */
  ofPredicate(name: string): readonly number[] {
    const predicate = this.#predicateNumbers.get(name);
    return predicate === undefined ? [] : [...this.#numbers[predicate].values()];
  }

  /** An atom with object ids. */
  atom(number: number, objects: ObjectTable): Atom {
    const args = this.args[number].map((object) => objects.ids[object]);
    return { predicate: this.predicates[number], args };
  }

  /** Arguments as one number while that is exact, else as text. */
  #key(args: readonly number[]): number | string {
    let key = 0;
    for (const arg of args) key = key * this.#objectCount + arg;
    return key <= Number.MAX_SAFE_INTEGER ? key : args.join(",");
  }
}
