/** Sequences laid end to end without padding, with what the kernels need to know about each token. */
import { ArgumentError } from "../core/errors.js";

/** N packed tokens of B sequences. */
export interface PackedTokens {
  /** Token ids, N. */
  readonly tokens: Uint32Array;
  /** Position within its sequence, N. */
  readonly position: Uint32Array;
  /** Index of the first token of its sequence, N. */
  readonly sequenceStart: Uint32Array;
  /** One past the last token of its sequence, N. */
  readonly sequenceEnd: Uint32Array;
  /** Offsets of the sequences, B + 1. */
  readonly offsets: Uint32Array;
}

/** @throws ArgumentError for an empty sequence */
export function packSequences(sequences: readonly ArrayLike<number>[]): PackedTokens {
  const offsets = new Uint32Array(sequences.length + 1);
  sequences.forEach((sequence, index) => {
    if (sequence.length === 0) {
      throw new ArgumentError(
        `[packing] sequence ${index} is empty: expected at least one token. Leave it out.`,
      );
    }
    offsets[index + 1] = offsets[index] + sequence.length;
  });
  const count = offsets[sequences.length];
  const packed: PackedTokens = {
    tokens: new Uint32Array(count),
    position: new Uint32Array(count),
    sequenceStart: new Uint32Array(count),
    sequenceEnd: new Uint32Array(count),
    offsets,
  };
  sequences.forEach((sequence, index) => {
    const start = offsets[index];
    const end = offsets[index + 1];
    packed.tokens.set(sequence, start);
    packed.sequenceStart.fill(start, start, end);
    packed.sequenceEnd.fill(end, start, end);
    for (let n = start; n < end; n++) packed.position[n] = n - start;
  });
  return packed;
}
