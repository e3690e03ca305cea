/** Cuts rows (prompt + answer) into packed batches that fit a token budget. */
import { type PackedTokens, packSequences } from "../../model/packing.js";
import type { Row } from "../rows.js";

/** What the pass over a row needs of it. */
type TokenRow = Pick<Row, "prompt" | "answer">;

/** Rows `first` to `end` (exclusive) of the list they were cut from, packed. */
export interface MicroBatch {
  readonly first: number;
  readonly end: number;
  readonly packed: PackedTokens;
  /** Places whose hidden state predicts an answer token, R. */
  readonly index: Uint32Array;
  /** The answer tokens, R, row after row. */
  readonly target: Uint32Array;
}

/** Tokens a row costs: the last answer token is predicted but never read. */
function rowLength({ prompt, answer }: TokenRow): number {
  return prompt.length + answer.length - 1;
}

/**
 * Micro-batches of consecutive rows with at most `tokensPerMicroBatch` tokens each (one row may exceed it alone).
 * Rows need a prompt of at least one token and an answer of at least one token.
 */
export function microBatches(rows: readonly TokenRow[], tokensPerMicroBatch: number): MicroBatch[] {
  const batches: MicroBatch[] = [];
  let first = 0;
  while (first < rows.length) {
    let end = first;
    let tokens = 0;
    while (end < rows.length && (end === first || tokens + rowLength(rows[end]) <= tokensPerMicroBatch)) {
      tokens += rowLength(rows[end++]);
    }
    batches.push(pack(rows, first, end));
    first = end;
  }
  return batches;
}

function pack(rows: readonly TokenRow[], first: number, end: number): MicroBatch {
  const part = rows.slice(first, end);
  const packed = packSequences(part.map(({ prompt, answer }) => [...prompt, ...answer.slice(0, -1)]));
  const count = part.reduce((sum, { answer }) => sum + answer.length, 0);
  const index = new Uint32Array(count);
  const target = new Uint32Array(count);
  let at = 0;
  part.forEach(({ prompt, answer }, row) => {
    answer.forEach((token, j) => {
      index[at] = packed.offsets[row] + prompt.length - 1 + j;
      target[at++] = token;
    });
  });
  return { first, end, packed, index, target };
}
