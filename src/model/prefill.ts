/** Which prompt tokens are computed together before the first tokens are sampled. Pure. */
import type { RunningSequence } from "./running_sequences.js";

/** Sequences with the same prompt: it is computed once. */
export type SharedPrompt = readonly [RunningSequence, ...RunningSequence[]];

/** Sequences by prompt, in parts of at most `budget` prompt tokens, or of one prompt longer than that. */
export function promptParts(all: readonly RunningSequence[], budget: number): SharedPrompt[][] {
  const shared = new Map<string, [RunningSequence, ...RunningSequence[]]>();
  for (const one of all) {
    const key = one.prompt.join();
    const same = shared.get(key);
    if (same) same.push(one);
    else shared.set(key, [one]);
  }
  const parts: SharedPrompt[][] = [];
  let tokens = Number.POSITIVE_INFINITY;
  for (const same of shared.values()) {
    const { length } = same[0].prompt;
    if (tokens + length > budget) {
      parts.push([]);
      tokens = 0;
    }
    parts[parts.length - 1].push(same);
    tokens += length;
  }
  return parts;
}

/** New tokens of conversations, one row each. */
export interface ExtensionPart {
  readonly token: readonly number[];
  readonly slot: readonly number[];
  readonly position: readonly number[];
  /** Rows after which a prompt is complete, in the order of the sequences. */
  readonly lastRows: readonly number[];
  /** The sequences whose prompts are complete. */
  readonly complete: readonly RunningSequence[];
}

/**
 * Rows for the tokens that conversations have beyond their known ones, in parts of at most `budget` rows. Place 0 is computed
 * again each time: ended sequences leave their traces there.
 */
export function extensionParts(sequences: readonly RunningSequence[], budget: number): ExtensionPart[] {
  interface Row {
    readonly sequence: RunningSequence;
    readonly position: number;
  }
  const rows = sequences.flatMap((sequence): Row[] => {
    const { known, prompt } = sequence;
    const added = Array.from({ length: prompt.length - known }, (_, i) => ({
      sequence,
      position: known + i,
    }));
    return [{ sequence, position: 0 }, ...added];
  });
  const parts: ExtensionPart[] = [];
  for (let first = 0; first < rows.length; first += budget) {
    const part = rows.slice(first, first + budget);
    const last = [...part.entries()].filter(
      ([, { sequence, position }]) => position === sequence.prompt.length - 1,
    );
    parts.push({
      token: part.map(({ sequence, position }) => sequence.prompt[position]),
      slot: part.map(({ sequence }) => sequence.slot),
      position: part.map(({ position }) => position),
      lastRows: last.map(([row]) => row),
      complete: last.map(([, { sequence }]) => sequence),
    });
  }
  return parts;
}
