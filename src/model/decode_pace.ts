/** How many decode steps go to the GPU before the host looks at what they sampled. */
import type { DeviceFacts } from "../gpu/runtime.js";

/**
 * `most` steps of one submit. `look` what a look at the result costs, in steps. `ahead` whether the next submit may go
 * out before the host has looked at this one: where the host is not the device itself, that hides the look and the encoding.
 * `rows` sequences are dropped in units of this many.
 */
interface Pace {
  readonly most: number;
  readonly look: number;
  readonly ahead: boolean;
  readonly rows: number;
}

const PACE: { readonly software: Pace; readonly gpu: Pace } = {
  software: { most: 8, look: 0.25, ahead: false, rows: 1 },
  gpu: { most: 16, look: 4, ahead: true, rows: 8 },
};

/** Least share of the rows that must be expected to run on when the next submit goes out unseen. */
const AHEAD_SHARE = 0.5;

/**
 * Watches how often sequences end, within one call: decisions follow from the tokens alone, since a batch of another size
 * may differ in last bits.
 */
export class DecodePace {
  readonly #pace: Pace;
  readonly #fixed: number | undefined;
  #endRate = 0;

  /** @param fixed steps of every submit; default: by adapter and by how often sequences end */
  constructor(facts: DeviceFacts, fixed: number | undefined) {
    this.#pace = facts.isSoftware ? PACE.software : PACE.gpu;
    this.#fixed = fixed;
  }

  /** Takes note of one submit: `ended` of `rows` sequences ended in it. @param steps tokens each could have had */
  observe(rows: number, ended: number, steps: number): void {
    this.#endRate = 1 - (1 - ended / (rows + 1)) ** (1 / steps);
  }

  /**
   * Steps of the next submit. Sequences that end early waste the rest of theirs, so of all counts k the one with the most
   * useful steps for its time is taken: sum over i < k of (1 - endRate)^i, against k + look.
   * @param remaining most steps that any sequence may still take
   */
  steps(remaining: number): number {
    if (this.#fixed !== undefined) return Math.min(this.#fixed, remaining);
    const { most, look } = this.#pace;
    let best = { steps: 0, rate: -1 };
    let useful = 0;
    for (let steps = 1; steps <= Math.min(most, remaining); steps++) {
      useful += (1 - this.#endRate) ** (steps - 1);
      const rate = useful / (steps + look);
      if (rate >= best.rate) best = { steps, rate };
    }
    return best.steps;
  }

  /** Whether to submit further steps of the same rows before these `steps` have been looked at. */
  goesAhead(steps: number): boolean {
    return this.#pace.ahead && (1 - this.#endRate) ** steps >= AHEAD_SHARE;
  }

  /** Rows to go on with when `running` of `rows` sequences do. */
  rows(running: number, rows: number): number {
    return Math.min(rows, Math.ceil(running / this.#pace.rows) * this.#pace.rows);
  }
}
