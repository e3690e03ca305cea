/** Where the time of an iteration goes: each moment counts for the innermost part that is at work. */

/** Parts of play, and of the update. */
export const PLAY_PARTS = ["world", "prompt building", "tokenising", "prefill", "decode"] as const;
export const UPDATE_PARTS = ["scoring", "update"] as const;
export type IterationPart = (typeof PLAY_PARTS)[number] | (typeof UPDATE_PARTS)[number];

/** Dispatches number `first` to `end` (exclusive) of the runtime. */
interface Stretch {
  readonly part: IterationPart;
  readonly first: number;
  end: number;
}

/** One part at a time: parts that wait for something must not overlap. */
export class IterationClock {
  readonly #stack: Stretch[] = [];
  readonly #times = new Map<IterationPart, number>();
  #since = 0;
  #stretches: Stretch[] = [];

  /** @param now milliseconds @param dispatches number of dispatches so far */
  constructor(
    readonly now: () => number,
    readonly dispatches: () => number,
  ) {}

  start(): void {
    this.#stack.length = 0;
    this.#times.clear();
    this.#stretches = [];
    this.#since = this.now();
  }

  /** Runs a body as a part, at once or until its promise has settled. */
  span<T>(part: IterationPart, body: () => T): T {
    this.#enter(part);
    let isWaiting = false;
    try {
      const result = body();
      if (!(result instanceof Promise)) return result;
      isWaiting = true;
      return result.finally(() => this.#leave()) as T;
    } finally {
      if (!isWaiting) this.#leave();
    }
  }

  /** The part at work goes on as another one. */
  turn(part: IterationPart): void {
    this.#leave();
    this.#enter(part);
  }

  /** Milliseconds of each part since `start`, those inside of it left out. */
  get times(): ReadonlyMap<IterationPart, number> {
    return this.#times;
  }

  /** What was dispatched while a part was at work. */
  get stretches(): readonly Readonly<Stretch>[] {
    return this.#stretches;
  }

  #enter(part: IterationPart): void {
    this.#count();
    const first = this.dispatches();
    const stretch = { part, first, end: first };
    this.#stack.push(stretch);
    this.#stretches.push(stretch);
  }

  #leave(): void {
    this.#count();
    const stretch = this.#stack.pop();
    if (stretch) stretch.end = this.dispatches();
  }

  #count(): void {
    const now = this.now();
    const part = this.#stack.at(-1)?.part;
    if (part) this.#times.set(part, (this.#times.get(part) ?? 0) + now - this.#since);
    this.#since = now;
  }
}
