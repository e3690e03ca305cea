/** An environment on sessions that may be lost: a lost game is started again and its commands are played again. */
import { ArgumentError, ConfigError, DataError, WorldError } from "../../core/errors.js";
import type { Environment, ResetOptions, ResetResult, StepResult } from "../world.js";
import type { Session, Source } from "./session.js";

/** How often one command, or one start, may be tried again in a new session. */
const RETRIES = 2;

/** What `snapshot` returns: the way to the state, since other processes show no states. */
interface Snapshot {
  readonly kind: "replayed";
  readonly options: ResetOptions;
  readonly played: readonly Played[];
}

/** A command and what it was answered, to tell whether a replay goes the same way. */
interface Played {
  readonly command: string;
  readonly obs: string;
}

/** A started game. */
interface Game {
  readonly options: ResetOptions;
  readonly first: ResetResult;
  readonly played: Played[];
}

/**
 * Plays one game at a time in a session that it holds from the first reset until `close`. The world must be deterministic:
 * a replay that is answered otherwise ends in an error, since the episode would be another one.
 */
export class ReplayedEnvironment<S extends Session> implements Environment {
  #session: S | undefined;
  #game: Game | undefined;
  /** Calls under way, of this use. */
  #calls = 0;
  /** Counts uses: what a call under way finds after a `close` is no longer its own. */
  #use = 0;

  /** @param name of the world, for messages */
  constructor(
    readonly name: string,
    readonly source: Source<S>,
  ) {}

  /** @throws WorldError when no session could be brought to the start */
  async reset(options: ResetOptions = {}): Promise<ResetResult> {
    this.#game = undefined;
    const first = await this.#retried((session) => session.reset(options));
    this.#game = { options, first, played: [] };
    return first;
  }

  /**
   * Plays one command; when its session is lost on the way, the episode goes on in another one.
   * @throws ArgumentError before the first reset
   * @throws WorldError when sessions were lost again and again, or when a replay went another way
   */
  async step(command: string): Promise<StepResult> {
    const game = this.#current();
    const result = await this.#retried(async (session, isNew) => {
      if (isNew) await this.#replay(session, game);
      return session.step(command);
    });
    game.played.push({ command, obs: result.obs });
    return result;
  }

  /** @throws ArgumentError before the first reset */
  async snapshot(): Promise<unknown> {
    const { options, played } = this.#current();
    const snapshot: Snapshot = { kind: "replayed", options, played: [...played] };
    return snapshot;
  }

  /** Resets and plays all commands again. @throws ArgumentError when `snapshot` is none of such an environment */
  async restore(snapshot: unknown): Promise<ResetResult> {
    const { options, played } = readReplaySnapshot(snapshot);
    const first = await this.reset(options);
    let last = first;
    for (const { command, obs } of played) {
      const result = await this.step(command);
      this.#checkSame(command, obs, result.obs);
      last = { obs: result.obs, task: first.task, info: result.info };
    }
    return last;
  }

  /** Gives the session back; in the middle of a call, which then fails, it is ended. */
  async close(): Promise<void> {
    const session = this.#session;
    const isBusy = this.#calls > 0;
    this.#session = undefined;
    this.#game = undefined;
    this.#calls = 0;
    this.#use++;
    if (session) await (isBusy ? this.source.discard(session) : this.source.release(session));
  }

  /** Runs something in the session held, or in new ones while sessions get lost. */
  async #retried<R>(run: (session: S, isNew: boolean) => Promise<R>): Promise<R> {
    const use = this.#use;
    this.#calls++;
    try {
      for (let failures = 0; ; failures++) {
        const isNew = this.#session === undefined;
        try {
          return await run(this.#session ?? (await this.#acquire(use)), isNew);
        } catch (error) {
          // Refused before anything happened: the session is as it was.
          if (error instanceof ConfigError || error instanceof DataError || use !== this.#use) throw error;
          await this.#discard();
          // Only a lost process is worth another try: everything else happens again.
          const isLost = error instanceof WorldError && !(error instanceof ReplayError);
          if (!isLost || failures >= RETRIES) throw error;
        }
      }
    } finally {
      if (use === this.#use) this.#calls--;
    }
  }

  async #acquire(use: number): Promise<S> {
    const session = await this.source.acquire();
    if (use === this.#use) {
      this.#session = session;
      return session;
    }
    await this.source.release(session);
    throw new WorldError(
      `[${this.name}] the environment was closed: got a call under way, expected none. Reset it.`,
    );
  }

  async #discard(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    if (session) await this.source.discard(session);
  }

  async #replay(session: S, { options, first, played }: Game): Promise<void> {
    const again = await session.reset(options);
    this.#checkSame("(reset)", first.obs, again.obs);
    for (const { command, obs } of played) this.#checkSame(command, obs, (await session.step(command)).obs);
  }

  #checkSame(command: string, before: string, now: string): void {
    if (before === now) return;
    throw new ReplayError(
      `[${this.name}] a game went another way when it was played again: got ${JSON.stringify(now.slice(0, 120))} for \
\`${command}\`, expected ${JSON.stringify(before.slice(0, 120))}. The world must answer the same commands alike; mend it.`,
    );
  }

  #current(): Game {
    if (this.#game) return this.#game;
    throw new ArgumentError(`[${this.name}] no episode: expected a reset first. Call \`reset\`.`);
  }
}

/** The world is not deterministic: no restart helps. */
class ReplayError extends WorldError {}

/** Opens what `ReplayedEnvironment.snapshot` gave. @throws ArgumentError when it is something else */
export function readReplaySnapshot(value: unknown): Snapshot {
  const snapshot = value as Partial<Snapshot> | null | undefined;
  if (snapshot?.kind === "replayed" && Array.isArray(snapshot.played)) return snapshot as Snapshot;
  throw new ArgumentError(
    "[world] not a snapshot: expected what `snapshot()` of such an environment gave. Pass that.",
  );
}
