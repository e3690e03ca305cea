/** Plays episodes of a text world with a policy: each a coroutine of its own, on a bounded number of environments. */
import type { TrainConfig } from "../../config/schema.js";
import { ArgumentError, DataError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import type { Timer } from "../../core/timer.js";
import type { Environment, ResetResult, World } from "../../env/world.js";
import type { Conversation } from "../../model/conversations.js";
import type { SamplingOptions } from "../../model/generate.js";
import type { ValidRule } from "./action.js";
import type { AnchorRule } from "./anchor.js";
import { Batching } from "./batching.js";
import { type Episode, type EpisodeRequest, type EpisodeRules, playEpisode } from "./episode.js";
import type { PromptBuilder } from "./prompt.js";
import type { ActionSampler } from "./sampler.js";
import { type CallLimits, callWorld, Stop, type WorldFailure } from "./world_calls.js";

export interface RolloutOptions {
  readonly maxSteps: number;
  readonly sampling: Omit<SamplingOptions, "seed" | "endTokens">;
  readonly seed: number;
  /** Names the random streams: episodes of equal label, group and episode number draw alike. */
  readonly label: string;
  /** Default `observation`. */
  readonly anchor?: AnchorRule;
  /** Default `admissible`. */
  readonly valid?: ValidRule;
  /** Default `won`. */
  readonly outcome?: "won" | "score";
  /** Text between task and history, for example by task type; its hash is in that of the prompt. */
  readonly instructions?: (request: EpisodeRequest) => string | undefined;
  /** Told each episode when it has ended, in the order in which they end. */
  readonly onEpisode?: (episode: Episode) => void;
  /** Ends play: environments are released, and `play` throws the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface WorkerOptions {
  /** Most environments at a time, beside the world's own limit; null or absent = one for each episode. */
  readonly maxEnvironments?: number | null;
  /** Milliseconds for one reset, step or close of an environment; null or absent = none. Needs `timer`. */
  readonly timeLimit?: number | null;
  /**
   * Milliseconds for which the first answered episode waits for others before the next batch is sampled without them, which
   * makes last bits depend on how fast the world was; null or absent = a batch waits for all. Needs `timer`.
   */
  readonly patience?: number | null;
  readonly timer?: Timer;
  /** Told why an episode has failed. */
  readonly logger?: Logger;
}

const MILLISECONDS = 1000;

/** What a configuration says about playing, for any rollout of the run. */
export function playRules({
  world,
  prompt,
}: TrainConfig): Pick<RolloutOptions, "anchor" | "valid" | "outcome"> {
  return { anchor: world.anchor, valid: prompt.valid_action, outcome: world.outcome };
}

/** What a configuration says about environments. */
export function workerOptions(
  { world }: TrainConfig,
  host: Pick<WorkerOptions, "timer" | "logger">,
): WorkerOptions {
  const { max_environments: maxEnvironments, step_time_limit, patience } = world;
  return {
    ...host,
    maxEnvironments,
    timeLimit: milliseconds(step_time_limit),
    patience: milliseconds(patience),
  };
}

function milliseconds(seconds: number | null): number | null {
  return seconds === null ? null : seconds * MILLISECONDS;
}

/** Keeps environments between rollouts, since making one may start a process. */
export class RolloutWorker {
  readonly #idle: Environment[] = [];
  readonly #limit: number;
  /** Of calls of environments. */
  readonly limits: CallLimits;
  readonly endTokens: readonly number[];

  /** @throws ArgumentError for a time limit or patience without a timer, or a number of environments that is not positive */
  constructor(
    readonly world: World,
    readonly prompts: PromptBuilder,
    readonly sampler: ActionSampler,
    /** The end token that training writes; every end token of the tokenizer ends an answer. */
    readonly endToken: number,
    readonly options: WorkerOptions = {},
  ) {
    const { maxEnvironments, timeLimit = null, patience, timer } = options;
    this.limits = { timeLimit, timer };
    this.endTokens = [...new Set([endToken, ...prompts.tokenizer.endTokenIds])];
    this.#limit = Math.min(maxEnvironments ?? Infinity, world.maxEnvironments ?? Infinity);
    if (!(this.#limit >= 1)) {
      throw new ArgumentError(
        `[rollout] number of environments: got ${this.#limit}, expected 1 or more. Change world.max_environments.`,
      );
    }
    if ((timeLimit ?? patience ?? null) !== null && !timer) {
      throw new ArgumentError("[rollout] a time limit or patience needs a timer: got none. Pass one.");
    }
  }

  /**
   * Plays all requested episodes. What a step draws depends on seed, label, group, episode and step alone: how many
   * environments there are and which episodes share a batch change nothing but rounding. How fast the world is changes nothing
   * at all, but with `patience`, where it decides which episodes share a batch.
   * @returns them in the order of the requests; a world that fails in some episodes is no error
   * @throws the first failure when every episode failed
   * @throws DataError when two episodes of a group do not start alike
   */
  async play(requests: readonly EpisodeRequest[], options: RolloutOptions): Promise<Episode[]> {
    const rollout = new Rollout(this, requests, options);
    await rollout.run(Math.min(this.#limit, requests.length));
    const [first] = rollout.episodes;
    if (first && rollout.episodes.every(({ ended }) => ended === "failed")) {
      throw new DataError(
        `[rollout] every episode failed, the first one of task \`${first.taskId}\` with: ${first.failure}. See to the world.`,
      );
    }
    return rollout.episodes;
  }

  /** An environment that nobody uses. */
  take(): Environment {
    return this.#idle.pop() ?? this.world.create();
  }

  /** Gives back an environment whose last call has ended well. */
  give(environment: Environment): void {
    this.#idle.push(environment);
  }

  /** Closes an environment for good. @throws WorldFailure when that fails */
  async discard(environment: Environment): Promise<void> {
    await callWorld("close", () => environment.close(), this.limits);
  }

  /** Closes all environments. @throws the first error, after all have been closed */
  async close(): Promise<void> {
    const closed = await Promise.allSettled(
      this.#idle.splice(0).map((environment) => this.discard(environment)),
    );
    const failed = closed.find((result) => result.status === "rejected");
    if (failed) throw failed.reason;
  }
}

/** One call of `play`. */
class Rollout {
  /** By place of the request; holes until they have ended. */
  readonly episodes: Episode[] = [];
  readonly #stop: Stop;
  readonly #batching: Batching;
  readonly #rules: EpisodeRules;
  readonly #limits: CallLimits;
  readonly #starts = new Map<number, ResetResult>();
  #next = 0;

  constructor(
    readonly worker: RolloutWorker,
    readonly requests: readonly EpisodeRequest[],
    readonly options: RolloutOptions,
  ) {
    const { patience, timer } = worker.options;
    const { sampling, seed, signal } = options;
    this.#batching = new Batching(
      worker.sampler,
      { ...sampling, seed, endTokens: worker.endTokens },
      timer && typeof patience === "number" ? { milliseconds: patience, timer } : undefined,
    );
    this.#rules = {
      ...options,
      maxNewTokens: sampling.maxNewTokens,
      anchor: options.anchor ?? "observation",
      valid: options.valid ?? "admissible",
      outcome: options.outcome ?? "won",
    };
    this.#stop = new Stop(signal);
    this.#limits = { ...worker.limits, stop: this.#stop };
  }

  /** Plays on that many environments at a time. @throws what ended play early */
  async run(environments: number): Promise<void> {
    await Promise.allSettled(Array.from({ length: environments }, () => this.#lane()));
    this.#stop.close();
    this.#stop.check();
  }

  /** Plays one episode after the other on one environment at a time, as long as there are some. */
  async #lane(): Promise<void> {
    this.#batching.join();
    let environment: Environment | undefined;
    try {
      while (this.#next < this.requests.length) {
        const place = this.#next++;
        environment ??= this.worker.take();
        let episode = await this.#play(place, environment);
        if (episode.ended === "failed") {
          episode = await this.#discard(environment, episode);
          environment = undefined;
          this.worker.options.logger?.warn(
            `[rollout] an episode of task ${episode.taskId} failed: ${episode.failure}`,
          );
        }
        this.episodes[place] = episode;
        this.options.onEpisode?.(episode);
      }
    } catch (error) {
      // the others end with the same error, which `run` throws
      this.#stop.now(error);
    } finally {
      this.#batching.leave();
      if (environment) await this.#release(environment);
    }
  }

  async #play(place: number, environment: Environment): Promise<Episode> {
    const { sampler, prompts } = this.worker;
    const request = this.requests[place];
    const conversation: Conversation | undefined =
      prompts.options.context === "episode" ? sampler.open?.() : undefined;
    try {
      return await playEpisode(request, this.#rules, {
        environment,
        prompts,
        limits: this.#limits,
        maxTokens: sampler.maxTokens ?? Infinity,
        conversation,
        ask: (generation) => {
          this.#stop.check();
          return this.#batching.ask(place, generation);
        },
        started: (first) => this.#checkStart(request, first),
      });
    } finally {
      conversation?.close();
    }
  }

  /** Episodes of a group are compared with each other: they must be about the same. */
  #checkStart({ group, taskId }: EpisodeRequest, first: ResetResult): void {
    const known = this.#starts.get(group) ?? first;
    this.#starts.set(group, known);
    if (first.info.taskId === taskId && known.info.taskId === taskId && first.obs === known.obs) return;
    throw new DataError(
      `[rollout] episodes of group ${group} start differently: got task \`${first.info.taskId}\` with "${first.obs}", ` +
        `expected task \`${taskId}\` with "${known.obs}". The world must start alike for equal seed and task.`,
    );
  }

  /** Closes an environment that has failed; that it cannot even be closed is told with the failure. */
  async #discard(environment: Environment, episode: Episode): Promise<Episode> {
    try {
      await this.worker.discard(environment);
      return episode;
    } catch (error) {
      return { ...episode, failure: `${episode.failure}; then ${(error as WorldFailure).message}` };
    }
  }

  /** After the last episode the environment is kept; when play was ended, it may be in the middle of a step and is closed. */
  async #release(environment: Environment): Promise<void> {
    if (this.#stop.isAsked) await this.worker.discard(environment);
    else this.worker.give(environment);
  }
}
