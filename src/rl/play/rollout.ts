/** Plays episodes of a text world with a policy: many environments in step, one generation batch per environment step. */
import { hashText } from "../../core/hash.js";
import type { Environment, ResetResult, World } from "../../env/world.js";
import type { Generation, GenerationRequest, SamplingOptions } from "../../model/generate.js";
import type { Prompt, PromptBuilder, Turn } from "./prompt.js";

/** Anything that answers prompts: a Generator, or an expert in tests. */
export interface ActionSampler {
  generate(requests: readonly GenerationRequest[], options: SamplingOptions): Promise<readonly Generation[]>;
}

/** One environment step: the row that training works on. */
export interface StepRow {
  readonly group: number;
  readonly episode: number;
  /** 0-based step within the episode. */
  readonly step: number;
  readonly prompt: Prompt;
  readonly observation: string;
  /** Identity of the world's state before acting; undefined where the world does not tell it. */
  readonly stateKey: string | undefined;
  /** Decoded command as sent to the world. */
  readonly action: string;
  readonly actionTokens: readonly number[];
  /** Behaviour policy's log-probabilities of `actionTokens`. */
  readonly logProbs: readonly number[];
  /** The answer ended by itself, within the token limit. */
  readonly finished: boolean;
  /** The command was one of the admissible ones. */
  readonly valid: boolean;
  /** The world's reward for this step. */
  readonly reward: number;
}

export interface Episode {
  readonly group: number;
  readonly episode: number;
  readonly taskId: string;
  readonly taskType: string;
  readonly won: boolean;
  /** Ended by the step limit. */
  readonly truncated: boolean;
  readonly rows: readonly StepRow[];
}

/** One episode to play. Episodes of one group start from one state. */
export interface EpisodeRequest {
  readonly taskId: string;
  readonly taskType: string;
  readonly group: number;
  readonly episode: number;
}

export interface RolloutOptions {
  readonly maxSteps: number;
  readonly sampling: Omit<SamplingOptions, "seed" | "endTokens">;
  readonly seed: number;
  /** Names the random streams: episodes of equal label, group and episode number draw alike. */
  readonly label: string;
  readonly signal?: AbortSignal;
}

interface Playing {
  readonly request: EpisodeRequest;
  readonly environment: Environment;
  readonly task: string;
  readonly opening: string;
  readonly turns: Turn[];
  readonly rows: StepRow[];
  observation: string;
  stateKey: string | undefined;
  admissible: readonly string[];
  won: boolean;
  done: boolean;
}

/** Keeps environments between rollouts, since making one may start a process. */
export class RolloutWorker {
  readonly #idle: Environment[] = [];

  constructor(
    readonly world: World,
    readonly prompts: PromptBuilder,
    readonly sampler: ActionSampler,
    readonly endToken: number,
  ) {}

  /** Plays all requested episodes at once. @returns them in the order of the requests */
  async play(requests: readonly EpisodeRequest[], options: RolloutOptions): Promise<Episode[]> {
    const all = await this.#start(requests, options.seed);
    let active = all;
    for (let step = 0; step < options.maxSteps && active.length > 0; step++) {
      options.signal?.throwIfAborted();
      await this.#step(active, step, options);
      active = active.filter(({ done }) => !done);
    }
    for (const { environment } of all) this.#idle.push(environment);
    return all.map(({ request, rows, won }) => ({ ...request, rows, won, truncated: !won }));
  }

  async close(): Promise<void> {
    for (const environment of this.#idle.splice(0)) await environment.close();
  }

  async #start(requests: readonly EpisodeRequest[], seed: number): Promise<Playing[]> {
    const starts = new Map<number, { readonly snapshot: unknown; readonly first: ResetResult }>();
    const all: Playing[] = [];
    for (const request of requests) {
      const environment = this.#idle.pop() ?? this.world.create();
      const known = starts.get(request.group);
      let first: ResetResult;
      if (known && environment.restore) {
        await environment.restore(known.snapshot);
        first = known.first;
      } else {
        first = await environment.reset({ seed, options: { taskId: request.taskId } });
        starts.set(request.group, { snapshot: await environment.snapshot?.(), first });
      }
      all.push({
        request,
        environment,
        task: first.task,
        opening: first.obs,
        turns: [],
        rows: [],
        observation: first.obs,
        stateKey: first.info.stateKey,
        admissible: first.info.admissibleCommands,
        won: first.info.won,
        done: first.info.won,
      });
    }
    return all;
  }

  async #step(active: readonly Playing[], step: number, options: RolloutOptions): Promise<void> {
    const prompts = active.map(({ task, opening, turns, observation, admissible }) =>
      this.prompts.build({ task, opening, turns, observation, admissibleCommands: admissible }),
    );
    const generations = await this.sampler.generate(
      active.map(({ request }, index) => ({
        prompt: prompts[index].tokens,
        stream: hashText(`${options.label}/${request.group}/${request.episode}/${step}`),
      })),
      { ...options.sampling, seed: options.seed, endTokens: [this.endToken] },
    );
    await Promise.all(active.map((one, index) => this.#act(one, step, prompts[index], generations[index])));
  }

  async #act(one: Playing, step: number, prompt: Prompt, generation: Generation): Promise<void> {
    const spoken = generation.tokens.filter((token) => token !== this.endToken);
    const action = this.prompts.tokenizer.decode(spoken, { skipSpecialTokens: true }).trim();
    const valid = one.admissible.includes(action);
    const result = await one.environment.step(action);
    one.rows.push({
      group: one.request.group,
      episode: one.request.episode,
      step,
      prompt,
      observation: one.observation,
      stateKey: one.stateKey,
      action,
      actionTokens: generation.tokens,
      logProbs: generation.logProbs,
      finished: generation.finished,
      valid,
      reward: result.reward,
    });
    one.turns.push({ observation: one.observation, action });
    one.observation = result.obs;
    one.stateKey = result.info.stateKey;
    one.admissible = result.info.admissibleCommands;
    one.won = result.info.won;
    one.done = result.terminated || result.truncated;
  }
}
