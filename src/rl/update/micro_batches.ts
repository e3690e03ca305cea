/** Cuts rows (prompt + answer) into packed batches that fit a token budget. */
import { type PackedTokens, packSequences } from "../../model/packing.js";
import { goesOn, type TokenRow } from "../rows.js";

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

/** Tokens a row costs by itself: the last answer token is predicted but never read. */
function rowLength({ prompt, answer }: TokenRow): number {
  return prompt.length + answer.length - 1;
}

/**
 * Micro-batches of consecutive rows with at most `tokensPerMicroBatch` tokens each (one row may exceed it alone). Rows that
 * go on from the one before, as steps of an episode in one text do, share its tokens: what is common is computed once. Steps
 * may be missing between them.
 * Rows need a prompt of at least one token and an answer of at least one token.
 */
export function microBatches(rows: readonly TokenRow[], tokensPerMicroBatch: number): MicroBatch[] {
  const isChained = rows.map((row, index) => index > 0 && goesOn(row, rows[index - 1]));
  const batches: MicroBatch[] = [];
  let first = 0;
  while (first < rows.length) {
    let end = first + 1;
    let tokens = rowLength(rows[first]);
    while (end < rows.length) {
      tokens += rowLength(rows[end]) - (isChained[end] ? rowLength(rows[end - 1]) : 0);
      if (tokens > tokensPerMicroBatch) break;
      end++;
    }
    batches.push(pack(rows, isChained, first, end));
    first = end;
  }
  return batches;
}

function pack(
  rows: readonly TokenRow[],
  isChained: readonly boolean[],
  first: number,
  end: number,
): MicroBatch {
  const part = rows.slice(first, end);
  const texts: TokenRow[] = [];
  const textOf = part.map((row, index) => {
    // the last row of a chain holds the whole text
    if (index > 0 && isChained[first + index]) texts[texts.length - 1] = row;
    else texts.push(row);
    return texts.length - 1;
  });
  const packed = packSequences(texts.map(({ prompt, answer }) => [...prompt, ...answer.slice(0, -1)]));
  const count = part.reduce((sum, { answer }) => sum + answer.length, 0);
  const index = new Uint32Array(count);
  const target = new Uint32Array(count);
  let at = 0;
  part.forEach(({ prompt, answer }, row) => {
    answer.forEach((token, j) => {
      index[at] = packed.offsets[textOf[row]] + prompt.length - 1 + j;
      target[at++] = token;
    });
  });
  return { first, end, packed, index, target };
}
