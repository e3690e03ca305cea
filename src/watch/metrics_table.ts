/** Rows of `metrics.jsonl` as columns: thousands of updates times dozens of names. */
import type { Series } from "./api.js";
import type { SampledRows } from "./json_tail.js";

/** Points of one answer; more lines than that are averaged. */
const MOST_POINTS = 5000;

/** Columns of a few lines of a longer file. */
export function sampleSeries({ lines, every, rows }: SampledRows, keys: readonly string[]): Series {
  const table = new MetricsTable();
  for (const row of rows) table.add(row);
  const series = table.series(keys, 0, 0);
  return every === 1 ? series : { ...series, total: lines, stride: every, isSample: true };
}

/** A column that grows; NaN where a line has no such number. */
class Column {
  #values = new Float64Array(64).fill(Number.NaN);

  set(at: number, value: number): void {
    if (at >= this.#values.length) {
      const larger = new Float64Array(Math.max(at + 1, 2 * this.#values.length)).fill(Number.NaN);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[at] = value;
  }

  /** Mean of the numbers from `begin` to `end`; null where there are none. */
  mean(begin: number, end: number): number | null {
    let [sum, count] = [0, 0];
    for (let at = begin; at < end; at++) {
      const value = at < this.#values.length ? this.#values[at] : Number.NaN;
      if (Number.isNaN(value)) continue;
      sum += value;
      count++;
    }
    return count === 0 ? null : sum / count;
  }
}

/** All numbers of all updates of one run. */
export class MetricsTable {
  readonly #columns = new Map<string, Column>();
  #steps: number[] = [];
  #stages: string[] = [];

  get rows(): number {
    return this.#steps.length;
  }

  /** Names in the order in which they came up. */
  get keys(): string[] {
    return [...this.#columns.keys()];
  }

  get lastStep(): number {
    return this.#steps.at(-1) ?? 0;
  }

  clear(): void {
    this.#columns.clear();
    this.#steps = [];
    this.#stages = [];
  }

  add(row: Readonly<Record<string, unknown>>): void {
    const at = this.#steps.length;
    this.#steps.push(typeof row.step === "number" ? row.step : at + 1);
    this.#stages.push(typeof row.stage === "string" ? row.stage : "");
    for (const [key, value] of Object.entries(row)) {
      if (typeof value !== "number" || key === "step") continue;
      const column = this.#columns.get(key) ?? new Column();
      this.#columns.set(key, column);
      column.set(at, value);
    }
  }

  /** Newest number under a name; null where the last line has none. */
  last(key: string): number | null {
    return this.#columns.get(key)?.mean(this.rows - 1, this.rows) ?? null;
  }

  /**
   * @param keys wanted columns; names that never came up give nulls
   * @param from first line; with averaging, everything is given again from the first one on
   * @param mostPoints more lines are averaged in equal runs of lines
   */
  series(keys: readonly string[], from: number, generation: number, mostPoints = MOST_POINTS): Series {
    const stride = Math.max(1, Math.ceil(this.rows / mostPoints));
    const first = stride === 1 ? Math.min(from, this.rows) : 0;
    const begins: number[] = [];
    for (let at = first; at < this.rows; at += stride) begins.push(at);
    const end = (begin: number) => Math.min(begin + stride, this.rows);
    return {
      ...{ generation, from: first, total: this.rows, stride },
      step: begins.map((begin) => this.#steps[end(begin) - 1]),
      stage: begins.map((begin) => this.#stages[begin]),
      values: Object.fromEntries(
        keys.map((key) => {
          const column = this.#columns.get(key);
          return [key, begins.map((begin) => column?.mean(begin, end(begin)) ?? null)];
        }),
      ),
    };
  }
}
