/** Which launches must wait for which others: by the memory that they read and write. */
import type { BufferRange } from "../../gpu/buffers.js";
import type { BoundTensor } from "./module_text.js";

/** What a launch touches: tensors as its kernel sees them, and the memory of each. */
export interface Touching {
  readonly prepared: { readonly text: { readonly tensors: readonly BoundTensor[] } };
  readonly ranges: readonly BufferRange[];
}

export const isSameRange = (a: BufferRange, b: BufferRange): boolean =>
  a.buffer === b.buffer && a.offset === b.offset && a.bytes === b.bytes;

const endOf = ({ offset, bytes }: BufferRange): number => offset + bytes;

/** Launches by how many others they must wait for, one after another. */
export function levels<L extends Touching>(launches: readonly L[]): L[][] {
  const result: L[][] = [];
  const level: number[] = [];
  launches.forEach((launch, index) => {
    let own = 0;
    for (let earlier = 0; earlier < index; earlier++) {
      if (conflict(launch, launches[earlier] as L, true)) own = Math.max(own, (level[earlier] as number) + 1);
    }
    level.push(own);
    result[own] ??= [];
    result[own].push(launch);
  });
  return result;
}

/**
 * Whether the order of two launches matters, or they may not share a dispatch: a buffer may not be read and written in one,
 * wherever in it, nor be written through overlapping bindings.
 * @param areApart launches that write one tensor write different parts of it, as plans promise
 */
export function conflict(one: Touching, other: Touching, areApart = false): boolean {
  return one.prepared.text.tensors.some((mine, i) =>
    other.prepared.text.tensors.some((theirs, j) => {
      const [a, b] = [one.ranges[i] as BufferRange, other.ranges[j] as BufferRange];
      if (a.buffer !== b.buffer || (!mine.isWritten && !theirs.isWritten)) return false;
      if (mine.isWritten !== theirs.isWritten) return true;
      const isApart = !a.isWhole && !b.isWhole && (endOf(a) <= b.offset || endOf(b) <= a.offset);
      return !isApart && !(areApart && isSameRange(a, b) && mine.stored === theirs.stored);
    }),
  );
}
