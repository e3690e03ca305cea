/** Calls of an environment that may throw, hang or be called off. */
import type { Timer } from "../../core/timer.js";
import type { Awaitable } from "../../env/world.js";

/** The world failed: it threw, or did not answer in time. Its environment is not used again. */
export class WorldFailure extends Error {}

/** A stop that many calls listen to: an error inside, or a signal from outside. */
export class Stop {
  #reason: { readonly value: unknown } | undefined;
  readonly #listeners = new Set<(reason: unknown) => void>();
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => this.now(this.#signal?.reason);

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
    if (signal?.aborted) this.now(signal.reason);
    else signal?.addEventListener("abort", this.#onAbort);
  }

  /** Only the first reason counts. */
  now(reason: unknown): void {
    if (this.#reason) return;
    this.#reason = { value: reason };
    for (const listener of this.#listeners) listener(reason);
  }

  get isAsked(): boolean {
    return this.#reason !== undefined;
  }

  /** @throws the reason, after a stop */
  check(): void {
    if (this.#reason) throw this.#reason.value;
  }

  /** @returns takes the listener away */
  listen(listener: (reason: unknown) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Lets go of the signal. */
  close(): void {
    this.#signal?.removeEventListener("abort", this.#onAbort);
  }
}

export interface CallLimits {
  /** Milliseconds for one reset, step or close; null = none. */
  readonly timeLimit: number | null;
  /** Needed with a time limit. */
  readonly timer: Timer | undefined;
  readonly stop?: Stop;
}

/**
 * Result of a call of the world.
 * @param name what was called, for messages
 * @throws WorldFailure when the call throws or takes longer than the limit
 * @throws the reason of a stop that comes before the result
 */
export async function callWorld<T>(name: string, call: () => Awaitable<T>, limits: CallLimits): Promise<T> {
  const { timeLimit, timer, stop } = limits;
  stop?.check();
  let result: Awaitable<T>;
  try {
    result = call();
  } catch (error) {
    throw failure(name, error);
  }
  if (!isThenable(result)) return result;
  const answer = Promise.resolve(result);
  return new Promise((resolve, reject) => {
    const forget = stop?.listen((reason) => end(() => reject(reason)));
    const callOff =
      timeLimit === null
        ? undefined
        : timer?.(timeLimit, () => {
            const error = new WorldFailure(`${name}: got no answer in ${timeLimit} ms, expected one`);
            end(() => reject(error));
          });
    // what comes after the first end changes nothing: a promise is settled once
    const end = (settle: () => void) => {
      forget?.();
      callOff?.();
      settle();
    };
    answer.then(
      (value) => end(() => resolve(value)),
      (error: unknown) => end(() => reject(failure(name, error))),
    );
  });
}

/** Not by `instanceof`: a world may use promises of a library, or of another realm. */
function isThenable<T>(result: Awaitable<T>): result is Promise<T> {
  return (
    typeof result === "object" && result !== null && "then" in result && typeof result.then === "function"
  );
}

function failure(name: string, error: unknown): WorldFailure {
  const isNamed = typeof error === "object" && error !== null && "message" in error;
  const reason = String(isNamed ? error.message : error);
  return new WorldFailure(`${name}: ${reason}`, { cause: error });
}
