/** Rows of whole numbers in one array: games have thousands of rows, and an array of each would cost more than what is in it. */
export class Rows {
  /** Numbers of all rows, one row after the other; longer than what was written. */
  items = new Int32Array(1024);
  /** End of each row in `items`; longer than what was written. */
  ends = new Int32Array(256);
  /** Rows that are closed. */
  count = 0;
  /** Numbers written. */
  size = 0;

  /** Adds a number to the row that is being written. */
  push(value: number): void {
    if (this.size === this.items.length) this.items = doubled(this.items);
    this.items[this.size++] = value;
  }

  /** Ends the row that is being written. */
  close(): void {
    if (this.count === this.ends.length) this.ends = doubled(this.ends);
    this.ends[this.count++] = this.size;
  }

  /** Takes back what was written since the last row was closed. */
  drop(): void {
    this.size = this.start(this.count);
  }

  /** Where a row begins in `items`; of row `count` it is the row that is being written. */
  start(row: number): number {
    return row === 0 ? 0 : this.ends[row - 1];
  }

  length(row: number): number {
    return this.ends[row] - this.start(row);
  }

  /** Whether the row that is being written has a number. */
  isWriting(value: number): boolean {
    for (let at = this.start(this.count); at < this.size; at++) if (this.items[at] === value) return true;
    return false;
  }

  has(row: number, value: number): boolean {
    const end = this.ends[row];
    for (let at = this.start(row); at < end; at++) if (this.items[at] === value) return true;
    return false;
  }

  /** Writes a row of another table and closes it. */
  copy(from: Rows, row: number): void {
    const end = from.ends[row];
    for (let at = from.start(row); at < end; at++) this.push(from.items[at]);
    this.close();
  }

  /** A row as an array of its own. */
  row(row: number): number[] {
    return Array.from(this.items.subarray(this.start(row), this.ends[row]));
  }
}

function doubled(array: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(2 * array.length);
  larger.set(array);
  return larger;
}
