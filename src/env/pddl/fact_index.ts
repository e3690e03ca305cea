/** Facts that never change, found by predicate and by what is known of their arguments. */

/** Object numbers of a fact's arguments. */
export type Row = readonly number[];

export class FactIndex {
  readonly #rows = new Map<string, Row[]>();
  readonly #rowsByArgument = new Map<string, Map<number, Row[]>>();

  add(predicate: string, row: Row): void {
    append(this.#rows, predicate, row);
    row.forEach((object, position) => {
      const key = `${predicate} ${position}`;
      let byObject = this.#rowsByArgument.get(key);
      if (byObject === undefined) {
        byObject = new Map();
        this.#rowsByArgument.set(key, byObject);
      }
      append(byObject, object, row);
    });
  }

  /**
   * Facts that can match, narrowed by the known argument that leaves fewest; the others remain to be checked.
   * @param known objects of the arguments, undefined where open
   */
  candidates(predicate: string, known: readonly (number | undefined)[]): readonly Row[] {
    let rows: readonly Row[] = this.#rows.get(predicate) ?? [];
    known.forEach((object, position) => {
      if (object === undefined) return;
      const narrowed = this.#rowsByArgument.get(`${predicate} ${position}`)?.get(object) ?? [];
      if (narrowed.length < rows.length) rows = narrowed;
    });
    return rows;
  }
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}
