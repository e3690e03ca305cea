/** Facts that never change, found by predicate and by what is known of their arguments. */

/** Object numbers of a fact's arguments. */
export type Row = readonly number[];

const NO_ROWS: readonly Row[] = [];

export class FactIndex {
  readonly #objectCount: number;
  /** By predicate number. */
  readonly #rows: Row[][] = [];
  /** By predicate number, then by `position * objectCount + object`. */
  readonly #rowsByArgument: Row[][][] = [];

  constructor(objectCount: number) {
    this.#objectCount = objectCount;
  }

  add(predicate: number, row: Row): void {
    this.#rows[predicate] ??= [];
    this.#rows[predicate].push(row);
    this.#rowsByArgument[predicate] ??= new Array<Row[]>(row.length * this.#objectCount);
    const byArgument = this.#rowsByArgument[predicate];
    row.forEach((object, position) => {
      const place = position * this.#objectCount + object;
      byArgument[place] ??= [];
      byArgument[place].push(row);
    });
  }

  /** Facts of a predicate, in order of addition. */
  all(predicate: number): readonly Row[] {
    return this.#rows[predicate] ?? NO_ROWS;
  }

  /** Facts of a predicate that have an object in a place, in order of addition. */
  having(predicate: number, position: number, object: number): readonly Row[] {
    return this.#rowsByArgument[predicate]?.[position * this.#objectCount + object] ?? NO_ROWS;
  }
}
