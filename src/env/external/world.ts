/** A world behind sessions that speak Gymnasium words: a program of the user, or a server. */
import { ConfigError } from "../../core/errors.js";
import { Random } from "../../core/random.js";
import type { Environment, ResetOptions, Task, World } from "../world.js";
import { readExpert, readTexts, type WorldSpec } from "./messages.js";
import type { Pool } from "./pool.js";
import { ReplayedEnvironment } from "./replayed_environment.js";
import type { Running, Session } from "./session.js";

/** A session that can be asked more than a game. */
export interface ExternalSession extends Session, Running {
  /** @throws WorldError when the process is lost, DataError when it refuses */
  ask(method: "expert" | "texts", params: Readonly<Record<string, unknown>>): Promise<unknown>;
}

/** Its environments are played again after a crash, as `ReplayedEnvironment` says: programs must be deterministic. */
export class ExternalWorld implements World {
  readonly id: string;
  readonly splits: readonly string[];
  readonly maxEnvironments: number;
  readonly expert: World["expert"];
  readonly sampleTexts: World["sampleTexts"];

  /** @param limit most sessions at a time */
  constructor(
    readonly spec: WorldSpec,
    readonly sessions: Pool<ExternalSession>,
    limit: number,
  ) {
    this.id = spec.id;
    this.splits = [...spec.splits.keys()];
    this.maxEnvironments = Math.min(limit, spec.maxEnvironments ?? limit);
    // Methods that the program does not have are absent, as in other worlds.
    if (spec.expert) this.expert = (taskId, from) => this.#expert(taskId, from);
    if (spec.texts) this.sampleTexts = async () => readTexts(await this.#ask("texts", {}));
  }

  tasks(split: string): readonly Task[] {
    const tasks = this.spec.splits.get(split);
    if (tasks) return tasks;
    throw new ConfigError(
      `[${this.id}] unknown split: got \`${split}\`, expected one of ${this.splits.join(", ")}. Choose one of them.`,
    );
  }

  create(): Environment {
    const environment = new ReplayedEnvironment(this.id, this.sessions);
    const reset = environment.reset.bind(environment);
    environment.reset = (options) => reset(this.#named(options));
    return environment;
  }

  async close(): Promise<void> {
    await this.sessions.close();
  }

  /** Options that name a task: programs need not draw. */
  #named({ seed = 0, options = {} }: ResetOptions = {}): ResetOptions {
    const { split = this.splits[0] } = options;
    const taskId = options.taskId ?? Random.of(seed, this.id, "task").pick(this.tasks(split)).id;
    return { seed, options: { ...options, taskId } };
  }

  /** Programs plan from the start of a task only. */
  async #expert(taskId: string, from: unknown): Promise<readonly string[] | null> {
    return from === undefined ? readExpert(await this.#ask("expert", { task_id: taskId })) : null;
  }

  async #ask(method: "expert" | "texts", params: Readonly<Record<string, unknown>>): Promise<unknown> {
    const session = await this.sessions.acquire();
    try {
      const answer = await session.ask(method, params);
      await this.sessions.release(session);
      return answer;
    } catch (error) {
      await this.sessions.discard(session);
      throw error;
    }
  }
}
