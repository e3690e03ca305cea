/** Who holds how much GPU memory while some work is done. */
import type { BufferPool, GpuBuffer } from "../src/gpu/buffers.js";

/** Whether a buffer counts, by the label it was asked for under. */
export type LabelFilter = (label: string) => boolean;

/**
 * Most bytes that were held at once during the work, for each group of labels. Buffers held before do not count.
 * @param groups filters by name; a buffer may count in several
 */
export async function peaksDuring<Name extends string>(
  buffers: BufferPool,
  groups: Readonly<Record<Name, LabelFilter>>,
  work: () => Promise<void>,
): Promise<Record<Name, number>> {
  const filters = Object.entries<LabelFilter>(groups);
  const live = new Map<string, number>();
  const peaks = Object.fromEntries(filters.map(([name]) => [name, 0])) as Record<string, number>;
  const members = new Map<GpuBuffer, readonly string[]>();
  buffers.observer = {
    acquired(buffer, label) {
      const names = filters.filter(([, counts]) => counts(label)).map(([name]) => name);
      members.set(buffer, names);
      for (const name of names) {
        const held = (live.get(name) ?? 0) + buffer.bytes;
        live.set(name, held);
        peaks[name] = Math.max(peaks[name], held);
      }
    },
    released(buffer) {
      for (const name of members.get(buffer) ?? []) live.set(name, (live.get(name) ?? 0) - buffer.bytes);
      members.delete(buffer);
    },
  };
  try {
    await work();
  } finally {
    buffers.observer = undefined;
  }
  return peaks as Record<Name, number>;
}

/** Labels of the arrays that the plans of one op make: results, saved and scratch arrays, gradients of its inputs. */
export function madeBy(op: string): LabelFilter {
  return (label) => label.startsWith(`${op}.`);
}
