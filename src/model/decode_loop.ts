/** Keeps decode steps on their way to the GPU, several a submit, until every sequence has ended. */
import type { DecodePace } from "./decode_pace.js";
import type { RunningSequence, RunningSequences } from "./running_sequences.js";

export interface DecodeLoop {
  readonly state: RunningSequences;
  readonly pace: DecodePace;
  /** Tokens after which a sequence ends in any case. */
  readonly maxNewTokens: number;
  /** Ids that end a sequence. */
  readonly endTokens: readonly number[];
  /** Appends one step of the first `rows` sequences of the state: a forward pass, a draw, and what follows from it. */
  readonly step: (rows: number) => void;
}

/** Steps on their way: tokens number `from` .. `to` (exclusive) of these sequences. */
interface Flight {
  readonly rows: readonly RunningSequence[];
  readonly from: number;
  readonly to: number;
}

/**
 * Samples until all have ended. A sequence that ends within a flight is computed to its end with the others and what it is
 * given there is ignored; it leaves the batch when no other flight is on its way.
 * @param order all sequences as they lie in the state, whose first tokens are on their way
 */
export async function decode(loop: DecodeLoop, order: readonly RunningSequence[]): Promise<void> {
  const { state, pace, maxNewTokens } = loop;
  let flight = await depart(loop, order, 0, 1);
  for (;;) {
    const { rows, from, to } = flight;
    const goesAhead = to < maxNewTokens && pace.goesAhead(to - from);
    // the read is first in the queue: it does not wait for the flight after it
    const reading = state.read(from, to);
    const leaving = goesAhead ? depart(loop, rows, to, to) : undefined;
    const [history, next] = await Promise.all([reading, leaving]);
    const before = rows.filter(({ ended }) => !ended).length;
    for (const [row, sequence] of rows.entries()) receive(loop, sequence, from, to, history, row);
    const running = rows.filter(({ ended }) => !ended);
    if (running.length === 0) return;
    pace.observe(before, before - running.length, to - from);
    flight = next ?? (await depart(loop, shrink(loop, rows, running), to, to));
  }
}

/** Sends off the steps after the first `given` tokens. */
async function depart(
  { state, pace, maxNewTokens, step }: DecodeLoop,
  rows: readonly RunningSequence[],
  from: number,
  given: number,
): Promise<Flight> {
  const { runtime } = state.launcher;
  await runtime.flush();
  const steps = pace.steps(maxNewTokens - given);
  if (steps > 0) runtime.repeat(steps, () => step(rows.length));
  await runtime.flush();
  return { rows, from, to: given + steps };
}

/** Appends the tokens of one row up to its end. */
function receive(
  { state, maxNewTokens, endTokens }: DecodeLoop,
  sequence: RunningSequence,
  from: number,
  to: number,
  history: { readonly tokens: Uint32Array; readonly logProbs: Float32Array },
  row: number,
): void {
  for (let count = from; count < to && !sequence.ended; count++) {
    const at = (count - from) * state.capacity + row;
    sequence.tokens.push(history.tokens[at]);
    sequence.logProbs.push(history.logProbs[at]);
    sequence.ended = endTokens.includes(history.tokens[at]) || count + 1 === maxNewTokens;
  }
}

/** The rows to go on with: running ones, filled up with ended ones to a size that the adapter likes. */
function shrink(
  { state, pace }: DecodeLoop,
  rows: readonly RunningSequence[],
  running: readonly RunningSequence[],
): readonly RunningSequence[] {
  const size = pace.rows(running.length, rows.length);
  if (size === rows.length) return rows;
  const kept = [...running, ...rows.filter(({ ended }) => ended)].slice(0, size);
  state.load(kept);
  return kept;
}
