/** Sequences under generation: what the host knows of each, and their state on the GPU, which decode steps advance. */
import type { Tape } from "../autograd/tape.js";
import { Tensor } from "../autograd/tensor.js";
import { advanceSequences, type Launcher, type SampledSequences } from "../kernels/index.js";

/** One sequence as the host knows it. */
export interface RunningSequence {
  readonly prompt: readonly number[];
  readonly stream: number;
  /** Its place in the KV cache. */
  readonly slot: number;
  /** Tokens of the prompt that the cache holds already. */
  readonly known: number;
  readonly tokens: number[];
  readonly logProbs: number[];
  /** It has met an end token or the most tokens it may have. */
  ended: boolean;
}

/** The first sequences of the state as tensors [B]. */
export interface SequenceRows {
  /** Last token. */
  readonly token: Tensor;
  /** Place of that token in its sequence, or 0 where the sequence has ended. */
  readonly position: Tensor;
  /** Tokens sampled so far. */
  readonly counter: Tensor;
  readonly stream: Tensor;
  readonly slot: Tensor;
}

/** An id no vocabulary has: stands where there is no end token. */
const NO_TOKEN = 0xffffffff;

/** State of up to `capacity` sequences, and all tokens they are given. */
export class RunningSequences {
  readonly #rows: SequenceRows;
  readonly #sampled: SampledSequences;
  readonly #owned: readonly Tensor[];

  constructor(
    readonly launcher: Launcher,
    readonly capacity: number,
    maxNewTokens: number,
    endTokens: readonly number[],
  ) {
    const { runtime } = launcher;
    const words = (label: string) => Tensor.empty(runtime, [capacity], "u32", label);
    this.#rows = {
      token: words("token"),
      position: words("position"),
      counter: words("counter"),
      stream: words("stream"),
      slot: words("slot"),
    };
    const history = [maxNewTokens, capacity];
    const records = {
      history_token: Tensor.empty(runtime, history, "u32", "sampled tokens"),
      history_log_prob: Tensor.empty(runtime, history, "f32", "sampled log-probabilities"),
      end_token: Tensor.from(runtime, Uint32Array.from(endTokens.length > 0 ? endTokens : [NO_TOKEN])),
    };
    const { token, position, counter } = this.#rows;
    this.#sampled = { token, position, counter, ...records };
    this.#owned = [...Object.values(this.#rows), ...Object.values(records)];
  }

  /** Puts these sequences into the first rows. The host must know all tokens that the GPU has given them. */
  load(sequences: readonly RunningSequence[]): void {
    const upload = (tensor: Tensor, value: (sequence: RunningSequence) => number) =>
      tensor.upload(Uint32Array.from(sequences, value));
    upload(this.#rows.token, ({ tokens }) => tokens[tokens.length - 1] ?? NO_TOKEN);
    upload(this.#rows.position, ({ prompt, tokens, ended }) =>
      ended ? 0 : prompt.length + Math.max(0, tokens.length - 1),
    );
    upload(this.#rows.counter, ({ tokens }) => tokens.length);
    upload(this.#rows.stream, ({ stream }) => stream);
    upload(this.#rows.slot, ({ slot }) => slot);
  }

  /** @param B rows, for the life of the tape */
  rows(tape: Tape, B: number): SequenceRows {
    const cut = (tensor: Tensor) => tape.own(tensor.view([B]));
    const { token, position, counter, stream, slot } = this.#rows;
    return {
      token: cut(token),
      position: cut(position),
      counter: cut(counter),
      stream: cut(stream),
      slot: cut(slot),
    };
  }

  /** Gives the rows from `first` on their next tokens. */
  advance(sampled: Tensor, log_prob: Tensor, first: number): void {
    advanceSequences(this.launcher, this.#sampled, { sampled, log_prob }, first);
  }

  /** Reads tokens number `from` .. `to` (exclusive) of all rows, after everything appended so far. */
  async read(from: number, to: number): Promise<{ tokens: Uint32Array; logProbs: Float32Array }> {
    const { history_token, history_log_prob } = this.#sampled;
    const [offset, bytes] = [4 * from * this.capacity, 4 * (to - from) * this.capacity];
    const ranges = [history_token, history_log_prob].map(({ range: { buffer, offset: start } }) => ({
      buffer,
      offset: start + offset,
      bytes,
    }));
    const [tokens, logProbs] = await this.launcher.runtime.read(ranges);
    return { tokens: new Uint32Array(tokens), logProbs: new Float32Array(logProbs) };
  }

  release(): void {
    for (const tensor of this.#owned) tensor.release();
  }
}
