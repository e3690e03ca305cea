/** Which launches must wait for which others: by the memory that they read and write. */
import type { BufferRange } from "../gpu/buffers.js";
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
      if (mustFollow(launch, launches[earlier] as L)) own = Math.max(own, (level[earlier] as number) + 1);
    }
    level.push(own);
    result[own] ??= [];
    result[own].push(launch);
  });
  return result;
}

/** A buffer may not be read and written in one dispatch, wherever in it, nor be written through overlapping bindings. */
function mustFollow(later: Touching, earlier: Touching): boolean {
  return someShared(later, earlier, (a, b, isOneType, writers) => {
    if (writers === 1) return true;
    return !isApart(a, b) && !(isSameRange(a, b) && isOneType);
  });
}

/** Whether the order of two launches matters: they share a dispatch only in plans that know better. */
export function conflict(one: Touching, other: Touching): boolean {
  return someShared(one, other, (a, b, _, writers) => writers === 1 || !isApart(a, b));
}

/** Calls back for memory of one buffer that at least one of two launches writes; `writers`: how many do. */
function someShared(
  one: Touching,
  other: Touching,
  test: (a: BufferRange, b: BufferRange, isOneType: boolean, writers: number) => boolean,
): boolean {
  return one.prepared.text.tensors.some((mine, i) =>
    other.prepared.text.tensors.some((theirs, j) => {
      const [a, b] = [one.ranges[i] as BufferRange, other.ranges[j] as BufferRange];
      const writers = Number(mine.isWritten) + Number(theirs.isWritten);
      return a.buffer === b.buffer && writers > 0 && test(a, b, mine.stored === theirs.stored, writers);
    }),
  );
}

const isApart = (a: BufferRange, b: BufferRange): boolean =>
  !a.isWhole && !b.isWhole && (endOf(a) <= b.offset || endOf(b) <= a.offset);
