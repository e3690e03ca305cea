/** Measures a policy on held-out splits: fixed episodes, fixed seeds, greedy and sampled. */

import type { TrainConfig } from "../../config/schema.js";
import type { Evaluation } from "../../core/run_record.js";
import type { Task, World } from "../../env/world.js";
import { taskOrder } from "../loop/data_order.js";
import { summariseByType, summariseEpisodes } from "./evaluation.js";
import type { RolloutWorker } from "./rollout.js";

export type EvaluationMode = "greedy" | "sampled";

interface EvaluationRequest {
  readonly step: number;
  readonly stage: string;
  readonly split: string;
  readonly tasks: readonly Task[];
  readonly mode: EvaluationMode;
  readonly signal: AbortSignal | undefined;
}

/** Plays the same episodes at every call, so that results before and after training can be compared. */
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

  /**
   * One result per split and mode, as they are made.
   * @param done results that are there already
   * @param signal ends the evaluation: what is not whole by then is not given
   */
  async *run(
    step: number,
    stage: string,
    done: readonly Pick<Evaluation, "split" | "mode">[] = [],
    signal?: AbortSignal,
  ): AsyncGenerator<Evaluation> {
    for (const [split, tasks] of this.#tasks) {
      for (const mode of this.config.eval.modes) {
        if (done.some((one) => one.split === split && one.mode === mode)) continue;
        try {
          yield await this.#evaluate({ step, stage, split, tasks, mode, signal });
        } catch (error) {
          if (signal?.aborted) return;
          throw error;
        }
      }
    }
  }

  async #evaluate({ step, stage, split, tasks, mode, signal }: EvaluationRequest): Promise<Evaluation> {
    const { eval: options, grpo, world } = this.config;
    const requests = tasks.map((task, index) => ({
      taskId: task.id,
      taskType: task.type,
      group: index,
      episode: index,
    }));
    const episodes = await this.worker.play(requests, {
      maxSteps: world.max_steps,
      sampling: {
        temperature: mode === "greedy" ? 0 : options.temperature,
        topP: options.top_p,
        maxNewTokens: grpo.max_completion_length,
      },
      seed: options.seed,
      label: "evaluation",
      signal,
    });
    const byType = [...summariseByType(episodes)].map(([type, { success }]): [string, number] => [
      `success/${type}`,
      success,
    ]);
    return { step, stage, split, mode, ...summariseEpisodes(episodes), ...Object.fromEntries(byType) };
  }
}
