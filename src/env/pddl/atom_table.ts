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
      members = new Set(
        this.types.flatMap((own, index) => (isSubtype(this.#domain, own, type) ? [index] : [])),
      );
      this.#members.set(type, members);
    }
    return members;
  }
}

/** Atoms by number. Two equal atoms have the same number. */
export class AtomTable {
  readonly #numbers = new Map<string, Map<number | string, number>>();
  readonly #objectCount: number;
  readonly predicates: string[] = [];
  /** Object numbers of each atom's arguments. */
  readonly args: (readonly number[])[] = [];

  constructor(objectCount: number) {
    this.#objectCount = Math.max(1, objectCount);
  }

  get size(): number {
    return this.args.length;
  }

  /** The number of an atom, given out on first sight. */
  intern(predicate: string, args: readonly number[]): number {
    let numbers = this.#numbers.get(predicate);
    if (numbers === undefined) {
      numbers = new Map();
      this.#numbers.set(predicate, numbers);
    }
    const key = this.#key(args);
    let number = numbers.get(key);
    if (number === undefined) {
      number = this.args.length;
      this.args.push([...args]);
      this.predicates.push(predicate);
      numbers.set(key, number);
    }
    return number;
  }

  /** The number of an atom already seen. */
  find(predicate: string, args: readonly number[]): number | undefined {
    return this.#numbers.get(predicate)?.get(this.#key(args));
  }

  /** Every atom seen of a predicate, in order of first sight. */
  ofPredicate(predicate: string): readonly number[] {
    return [...(this.#numbers.get(predicate)?.values() ?? [])];
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
