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
interface SubmittedSteps {
  readonly rows: readonly RunningSequence[];
  readonly from: number;
  readonly to: number;
}

/**
 * Samples until all have ended. A sequence that ends within submitted steps is computed to their end with the others and what it is
 * given there is ignored; it leaves the batch when no other steps are on their way.
 * @param order all sequences as they lie in the state, whose first tokens are on their way
 */
export async function decode(loop: DecodeLoop, order: readonly RunningSequence[]): Promise<void> {
  const { state, pace, maxNewTokens } = loop;
  let submitted = appendSteps(loop, order, 0, 1);
  for (;;) {
    const { rows, from, to } = submitted;
    const goesAhead = to < maxNewTokens && pace.goesAhead(to - from);
    const reading = state.read(from, to);
    const [history, next] = await Promise.all([
      reading,
      goesAhead ? submitAhead(loop, submitted) : undefined,
    ]);
    const before = rows.filter(({ ended }) => !ended).length;
    let tokens = 0;
    for (const [row, sequence] of rows.entries())
      tokens += receive(loop, sequence, { from, to, row }, history);
    const running = rows.filter(({ ended }) => !ended);
    if (running.length === 0) return;
    pace.observe(before - running.length, tokens);
    submitted = next ?? appendSteps(loop, shrink(loop, rows, running), to, to);
  }
}

/** Appends the steps after the first `given` tokens. @param from first token that these steps answer for */
function appendSteps(
  { state, pace, maxNewTokens, step }: DecodeLoop,
  rows: readonly RunningSequence[],
  from: number,
  given: number,
): SubmittedSteps {
  const running = rows.filter(({ ended }) => !ended).length;
  const steps = pace.steps(running, maxNewTokens - given);
  if (steps > 0) state.launcher.runtime.repeat(steps, () => step(rows.length));
  return { rows, from, to: given + steps };
}

/** Submits the steps after those whose read has begun: that read is ahead of them in the queue and does not wait. */
async function submitAhead(loop: DecodeLoop, { rows, to }: SubmittedSteps): Promise<SubmittedSteps> {
  const { runtime } = loop.state.launcher;
  await runtime.flush();
  const next = appendSteps(loop, rows, to, to);
  await runtime.flush();
  return next;
}

/** Appends the tokens of one row up to its end. @returns how many */
function receive(
  { state, maxNewTokens, endTokens }: DecodeLoop,
  sequence: RunningSequence,
  { from, to, row }: { readonly from: number; readonly to: number; readonly row: number },
  history: { readonly tokens: Uint32Array; readonly logProbs: Float32Array },
): number {
  const { tokens, logProbs } = sequence;
  const before = tokens.length;
  for (let count = from; count < to && !sequence.ended; count++) {
    const at = (count - from) * state.capacity + row;
    tokens.push(history.tokens[at]);
    logProbs.push(history.logProbs[at]);
    sequence.ended = endTokens.includes(history.tokens[at]) || tokens.length === maxNewTokens;
  }
  return tokens.length - before;
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
