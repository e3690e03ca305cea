/** Which rows of a table contain a value: games have thousands of rows, so everything lies in one array. */

/** For each of `size` values, the numbers of the rows that contain it. */
export class Lists {
  readonly #ends: Int32Array;
  readonly #items: Int32Array;

  constructor(size: number, rows: readonly (readonly number[])[]) {
    const ends = new Int32Array(size + 1);
    for (const row of rows) for (const value of row) ends[value + 1]++;
    for (let value = 0; value < size; value++) ends[value + 1] += ends[value];
    this.#items = new Int32Array(ends[size]);
    const next = ends.slice();
    rows.forEach((row, number) => {
      for (const value of row) this.#items[next[value]++] = number;
    });
    this.#ends = ends;
  }

  /** Rows that contain a value, ascending. */
  of(value: number): Int32Array {
    return this.#items.subarray(this.#ends[value], this.#ends[value + 1]);
  }

  /** Adds `amount` to the counts of the rows that contain a value. */
  shift(counts: Int32Array, value: number, amount: number): void {
    const end = this.#ends[value + 1];
    for (let at = this.#ends[value]; at < end; at++) counts[this.#items[at]] += amount;
  }
}
