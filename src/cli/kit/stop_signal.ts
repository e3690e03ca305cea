/** Signals of the system as a wish to stop: training ends after the current update, with a checkpoint. */
import { EXIT, UncoupleError } from "../../core/errors.js";

/** A run ended because it was asked to, with everything saved. */
export class StoppedError extends UncoupleError {
  override name = "StoppedError";

  constructor(
    message: string,
    override readonly exitCode: number,
  ) {
    super(message);
  }
}

/** Where signals come from: `process`. */
export interface SignalSource {
  on(name: NodeJS.Signals, listener: (name: NodeJS.Signals) => void): unknown;
  off(name: NodeJS.Signals, listener: (name: NodeJS.Signals) => void): unknown;
}

export interface StopListenerOptions {
  readonly source: SignalSource;
  /** Told once, with what will happen. */
  readonly announce: (message: string) => void;
  /** Ends the process at once: the second Ctrl-C. */
  readonly exit: (code: number) => void;
}

/** Schedulers announce the end of a job by SIGTERM, or by SIGUSR1 where they are told to; a terminal that closes by SIGHUP. */
const LISTENED: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"];

/**
 * Listens for the wish to stop. The first SIGINT (Ctrl-C), SIGTERM, SIGHUP or SIGUSR1 aborts `signal`, whose reason is a
 * StoppedError with exit code 130 or 75; the training loop looks at it between updates. A second SIGINT ends the process
 * at once with 130. Further SIGTERM and SIGUSR1 change nothing: schedulers repeat them.
 */
export class StopListener {
  readonly #controller = new AbortController();
  readonly #listen = (name: NodeJS.Signals) => this.#receive(name);

  constructor(private readonly options: StopListenerOptions) {
    for (const name of LISTENED) options.source.on(name, this.#listen);
  }

  /** Aborted when the run should end. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Why the run should end; undefined while it should go on. */
  get reason(): StoppedError | undefined {
    const { reason } = this.signal;
    return reason instanceof StoppedError ? reason : undefined;
  }

  /** Stops listening: signals do again what they do by default. */
  close(): void {
    for (const name of LISTENED) this.options.source.off(name, this.#listen);
  }

  #receive(name: NodeJS.Signals): void {
    if (!this.signal.aborted) {
      const again = name === "SIGINT" ? "; press Ctrl-C again to end at once" : "";
      this.options.announce(`${name}: finishing the current update and saving a checkpoint${again}`);
      const code = name === "SIGINT" ? EXIT.interrupted : EXIT.stopped;
      this.#controller.abort(new StoppedError(`stopped by ${name}`, code));
    } else if (name === "SIGINT") this.options.exit(EXIT.interrupted);
  }
}
