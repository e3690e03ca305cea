/** Which data an update sees: a pure function of seed and step, so that a resumed run needs no reader state. */
import { Random } from "../../core/random.js";

/** A fixed shuffle of items, named by a label. */
export function taskOrder<T>(seed: number, label: string, items: readonly T[]): T[] {
  return Random.of(seed, "order", label).shuffle(items);
}

/** `count` items for a step: every pass over the data is a shuffle of its own, steps go through passes without a gap. */
export function itemsOfStep<T>(
  seed: number,
  label: string,
  items: readonly T[],
  count: number,
  step: number,
): T[] {
  const result: T[] = [];
  let pass = -1;
  let order: T[] = [];
  for (let at = step * count; at < (step + 1) * count; at++) {
    const of = Math.floor(at / items.length);
    if (of !== pass) {
      pass = of;
      order = taskOrder(seed, `${label} ${pass}`, items);
    }
    result.push(order[at % items.length]);
  }
  return result;
}

/** Rows of one imitation update. */
export function imitationBatch<T>(seed: number, rows: readonly T[], batchSize: number, step: number): T[] {
  return itemsOfStep(seed, "imitation", rows, batchSize, step);
}
