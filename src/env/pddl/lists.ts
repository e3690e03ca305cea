/** Which rows of a table contain a value. */
import type { Rows } from "./rows.js";

/** For each of `size` values, the numbers of the rows that contain it. */
export class Lists {
  /** Row numbers, value by value. */
  readonly items: Int32Array;
  /** Where each value's row numbers begin in `items`; one entry more than there are values. */
  readonly starts: Int32Array;

  constructor(size: number, rows: Rows) {
    const starts = new Int32Array(size + 1);
    const end = rows.start(rows.count);
    for (let at = 0; at < end; at++) starts[rows.items[at] + 1]++;
    for (let value = 0; value < size; value++) starts[value + 1] += starts[value];
    this.items = new Int32Array(end);
    const next = starts.slice();
    for (let row = 0, at = 0; row < rows.count; row++) {
      for (; at < rows.ends[row]; at++) this.items[next[rows.items[at]]++] = row;
    }
    this.starts = starts;
  }

  /** Rows that contain a value, ascending. */
  of(value: number): Int32Array {
    return this.items.subarray(this.starts[value], this.starts[value + 1]);
  }
}
