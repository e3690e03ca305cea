/** How many decode steps go to the GPU before the host looks at what they sampled. */
import type { KernelFacts } from "../gpu/runtime.js";

interface Pace {
  /** Most steps of one submit. */
  readonly most: number;
  /** Time of a look at the result, in steps of a batch of one. */
  readonly look: number;
  /** Sequences that double the time of a step. */
  readonly double: number;
  /** Whether the next submit may go out before the host has looked at this one, which hides the look and the encoding. */
  readonly ahead: boolean;
  /** Sequences are dropped from the batch in units of this many. */
  readonly unit: number;
}

/** For CPU adapters `look` and `double` were measured, with policies of 2 to 4 layers (docs/log.md). For GPUs nothing was measured yet. */
const PACE: { readonly software: Pace; readonly gpu: Pace } = {
  software: { most: 8, look: 0.8, double: 32, ahead: false, unit: 1 },
  gpu: { most: 16, look: 4, double: 256, ahead: true, unit: 8 },
};

/** Before any answer has ended, one token in this many is taken to end its answer. */
const FIRST_ANSWER = 8;
/** The next submit goes out before the last one was read only if at least this share of the rows is expected to run on. */
const AHEAD_SHARE = 0.5;

/**
 * Watches how often sequences end, within one call: decisions follow from the tokens alone, since a batch of another size
 * may differ in last bits.
 */
export class DecodePace {
  readonly #pace: Pace;
  readonly #fixed: number | undefined;
  /** Share of the running sequences that end in a step. */
  #endRate = 1 / FIRST_ANSWER;

  /** @param fixed steps of every submit; default: by adapter and by how often sequences end */
  constructor(facts: KernelFacts, fixed: number | undefined) {
    this.#pace = facts.isSoftware ? PACE.software : PACE.gpu;
    this.#fixed = fixed;
  }

  /** Takes note of one submit, in which `ended` sequences ended and `tokens` tokens were sampled up to an end. */
  observe(ended: number, tokens: number): void {
    this.#endRate = (1 + ended) / (FIRST_ANSWER + tokens);
  }

  /**
   * Steps of the next submit: the count k that wastes least time a step. Before step i a share s = (1 - endRate)^i still
   * runs of n sequences; what is wasted in it is n (1 - s) / double, and all of it with probability (1 - s)^n.
   * @param n running sequences
   * @param remaining most steps that any of them may still take
   */
  steps(n: number, remaining: number): number {
    if (this.#fixed !== undefined) return Math.min(this.#fixed, remaining);
    const { most, look, double } = this.#pace;
    let best = { steps: 0, waste: Number.POSITIVE_INFINITY };
    let waste = look;
    for (let steps = 1; steps <= Math.min(most, remaining); steps++) {
      const ended = 1 - (1 - this.#endRate) ** (steps - 1);
      waste += (n * ended) / double + ended ** n;
      if (waste / steps <= best.waste) best = { steps, waste: waste / steps };
    }
    return best.steps;
  }

  /** Whether to submit further steps of the same rows before these `steps` have been looked at. */
  goesAhead(steps: number): boolean {
    return this.#pace.ahead && (1 - this.#endRate) ** steps >= AHEAD_SHARE;
  }

  /** Rows to go on with when `running` of `rows` sequences do. */
  rows(running: number, rows: number): number {
    return Math.min(rows, Math.ceil(running / this.#pace.unit) * this.#pace.unit);
  }
}
