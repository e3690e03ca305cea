/** Measures a policy on held-out splits: fixed episodes, fixed seeds, greedy and sampled. */

import type { TrainConfig } from "../../config/schema.js";
import type { Evaluation, EvaluationTranscript } from "../../core/run_record.js";
import { cut } from "../../core/shown.js";
import type { Task, World } from "../../env/world.js";
import { taskOrder } from "../loop/data_order.js";
import type { Episode, EpisodeRequest } from "./episode.js";
import { type SampledEpisode, summariseByType, summariseEpisodes, summariseSamples } from "./evaluation.js";
import { playRules, type RolloutWorker } from "./rollout.js";

export type EvaluationMode = "greedy" | "sampled";

/** One episode of an evaluation, all that its numbers are made from. Plain data: a line of JSON holds it. */
export interface EvaluationEpisode extends SampledEpisode {
  readonly split: string;
  readonly mode: EvaluationMode;
  /** Whether the policy read instructions, where there are some. */
  readonly instructions?: "with" | "without";
  /** 0-based number of the episode among those of its task. */
  readonly sample: number;
  readonly failure?: string;
}

/** Episodes that an earlier evaluation of the same policy has played, and where new ones go. */
export interface EpisodeRecords {
  readonly played: readonly EvaluationEpisode[];
  /** Told every new episode as soon as it has ended. */
  add(episode: EvaluationEpisode): void;
}

export interface EvaluationOptions {
  /** Results that are there already: they are not made again. */
  readonly done?: readonly Pick<Evaluation, "split" | "mode" | "instructions">[];
  /** Ends the evaluation: what is not whole by then is not given. */
  readonly signal?: AbortSignal | undefined;
  /** Lets an evaluation that was stopped go on from its episodes. */
  readonly records?: EpisodeRecords;
  /** Where the first episodes of each part go, step by step, before the part's result is given. */
  readonly transcripts?: {
    readonly episodes: number;
    add(episodes: readonly EvaluationTranscript[]): Promise<void>;
  };
  /** Text between task and history, by task: every split and mode is played without it, and then with it. */
  readonly instructions?: ((request: EpisodeRequest) => string | undefined) | undefined;
}

/** Apart by more than there are tasks: numbers of a task's episodes, whatever the number of tasks and samples. */
const SAMPLE_STRIDE = 2 ** 20;

/** Episodes of a part: all that its numbers are made from, and the first of those played now as they were. */
interface Played {
  readonly episodes: readonly EvaluationEpisode[];
  readonly whole: readonly Episode[];
}

/** One split in one mode. */
interface Part {
  readonly split: string;
  readonly tasks: readonly Task[];
  readonly mode: EvaluationMode;
  readonly instructions: "with" | "without" | undefined;
}

/**
 * Plays the same episodes at every call, so that results before and after training can be compared. Each episode is a function
 * of policy, seed, split and task: it does not matter which others are played, or when.
 */
export class Evaluator {
  readonly #tasks: ReadonlyMap<string, readonly Task[]>;

  constructor(
    readonly config: TrainConfig,
    world: World,
    readonly worker: RolloutWorker,
  ) {
    const { splits, episodes, seed, task_types } = config.eval;
    const names = splits ?? world.splits.filter((split) => split !== config.world.train_split);
    this.#tasks = new Map(
      names.map((split) => {
        const wanted = world
          .tasks(split)
          .filter(({ type }) => task_types === null || task_types.includes(type));
        return [split, taskOrder(seed, `evaluation ${split}`, wanted).slice(0, episodes)];
      }),
    );
  }

  /** One result per split and mode (and, where there are instructions, without and with them), as they are made. */
  async *run(step: number, stage: string, options: EvaluationOptions = {}): AsyncGenerator<Evaluation> {
    for (const part of this.#parts(options.instructions !== undefined)) {
      const { split, mode, instructions } = part;
      const isSame = (one: Pick<Evaluation, "split" | "mode" | "instructions">) =>
        one.split === split && one.mode === mode && (one.instructions ?? undefined) === instructions;
      if (options.done?.some(isSame)) continue;
      let played: Played;
      try {
        played = await this.#play(part, options);
      } catch (error) {
        if (options.signal?.aborted) return;
        throw error;
      }
      const { episodes, whole } = played;
      const read = instructions && { instructions };
      const { transcripts } = options;
      if (transcripts && transcripts.episodes > 0)
        await transcripts.add(whole.map((episode) => transcript(episode, { step, split, mode, ...read })));
      yield { step, stage, split, mode, ...read, ...summary(episodes, this.#samples(mode)) };
    }
  }

  #parts(hasInstructions: boolean): Part[] {
    const variants = hasInstructions ? (["without", "with"] as const) : [undefined];
    return [...this.#tasks].flatMap(([split, tasks]) =>
      this.config.eval.modes.flatMap((mode) =>
        variants.map((instructions) => ({ split, tasks, mode, instructions })),
      ),
    );
  }

  #samples(mode: EvaluationMode): number {
    return mode === "greedy" ? 1 : this.config.eval.samples;
  }

  async #play(
    part: Part,
    { signal, records, instructions, transcripts }: EvaluationOptions,
  ): Promise<Played> {
    const { split, tasks, mode } = part;
    const isOwn = (one: EvaluationEpisode) =>
      one.split === split &&
      one.mode === mode &&
      (one.instructions ?? "without") === (part.instructions ?? "without");
    const { eval: options, grpo, world } = this.config;
    const key = ({ taskId, sample }: Pick<EvaluationEpisode, "taskId" | "sample">) => `${sample} ${taskId}`;
    const known = new Map(records?.played.filter(isOwn).map((one) => [key(one), one]));
    const wanted = Array.from({ length: this.#samples(mode) }, (_, sample) =>
      tasks.map(({ id, type }, index) => ({
        sample,
        taskId: id,
        taskType: type,
        group: index,
        episode: index + sample * SAMPLE_STRIDE,
      })),
    ).flat();
    const recorded = (episode: Episode): EvaluationEpisode => ({
      ...evaluated(episode),
      split,
      mode,
      ...(part.instructions && { instructions: part.instructions }),
      sample: sampleOf(episode),
    });
    const played = await this.worker.play(
      wanted.filter((one) => !known.has(key(one))),
      {
        ...playRules(this.config),
        maxSteps: world.max_steps,
        sampling: {
          temperature: mode === "greedy" ? 0 : options.temperature,
          topP: options.top_p,
          maxNewTokens: grpo.max_completion_length,
        },
        seed: options.seed,
        label: "evaluation",
        instructions: part.instructions === "with" ? instructions : undefined,
        signal,
        onEpisode: (episode) => records?.add(recorded(episode)),
      },
    );
    for (const episode of played) {
      const one = recorded(episode);
      known.set(key(one), one);
    }
    const inOrder = new Map(played.map((one) => [one.episode, one]));
    return {
      episodes: wanted.map((one) => known.get(key(one)) as EvaluationEpisode),
      whole: wanted.slice(0, transcripts?.episodes ?? 0).flatMap(({ episode }) => inOrder.get(episode) ?? []),
    };
  }
}

/** What is kept of an episode: token ids and prompts are left behind. */
function evaluated({
  taskId,
  taskType,
  ended,
  failure,
  rows,
}: Episode): SampledEpisode & { failure?: string } {
  return {
    taskId,
    taskType,
    ended,
    ...(failure !== undefined && { failure }),
    rows: rows.map(({ observation, action, valid, stateKey }) => ({ observation, action, valid, stateKey })),
  };
}

function sampleOf({ episode }: Pick<Episode, "episode">): number {
  return Math.floor(episode / SAMPLE_STRIDE);
}

/** Characters of a text in a transcript: a world may show whole books. */
const LONGEST_TEXT = 10_000;

function transcript(
  episode: Episode,
  part: Pick<EvaluationTranscript, "step" | "split" | "mode" | "instructions">,
): EvaluationTranscript {
  const { taskId, taskType, ended, failure, rows } = episode;
  return {
    ...part,
    ...{ task_id: taskId, task_type: taskType, sample: sampleOf(episode), ended },
    ...(failure !== undefined && { failure: cut(failure, LONGEST_TEXT) }),
    steps: rows.map(({ observation, action, valid, truncated, stepReward }) => ({
      observation: cut(observation, LONGEST_TEXT),
      action: cut(action, LONGEST_TEXT),
      ...{ valid, truncated, reward: stepReward },
    })),
  };
}

function summary(episodes: readonly EvaluationEpisode[], samples: number) {
  const byType: Record<string, number> = {};
  for (const [type, numbers] of summariseByType(episodes, samples)) {
    byType[`episodes/${type}`] = numbers.episodes;
    byType[`success/${type}`] = numbers.success;
    byType[`success_low/${type}`] = numbers.success_low;
    byType[`success_high/${type}`] = numbers.success_high;
  }
  return { ...summariseEpisodes(episodes, samples), ...summariseSamples(episodes, samples), ...byType };
}
