/** The training run: imitation of the expert, then GRPO, with evaluations and checkpoints between. */

import type { TrainConfig } from "../../config/schema.js";
import { ConfigError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import type { Evaluation, Metrics, RunSink } from "../../core/run_record.js";
import type { Task, World } from "../../env/world.js";
import { Generator } from "../../model/generate.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import type { Tokenizer } from "../../model/tokenizer.js";
import { AdamW } from "../../optim/adamw.js";
import { schedule } from "../../optim/schedule.js";
import { Evaluator } from "../play/evaluate.js";
import { PromptBuilder } from "../play/prompt.js";
import { RolloutWorker } from "../play/rollout.js";
import { Learner } from "../update/learner.js";
import { imitationBatch, taskOrder } from "./data_order.js";
import { grpoIteration } from "./grpo.js";
import { type ExpertRow, expertRows } from "./imitation.js";
import {
  modelTensors,
  optimizerTensors,
  referenceModel,
  restoreModel,
  restoreOptimizer,
  type TensorReader,
} from "./policy_state.js";

/** A checkpoint to go on from. */
export interface ResumePoint {
  readonly step: number;
  readonly model: TensorReader;
  readonly optimizer: TensorReader;
}

export type Stage = "imitation" | "grpo";

export interface TrainingDeps {
  readonly world: World;
  readonly tokenizer: Tokenizer;
  readonly model: Qwen2Model;
  readonly sink: RunSink;
  readonly resume?: ResumePoint;
  /** Aborted when the run should end after the current update, with a checkpoint. */
  readonly signal: AbortSignal;
  /** Milliseconds, monotonic; for timing metrics only. */
  readonly now: () => number;
  readonly logger: Logger;
}

export interface TrainingResult {
  /** Updates done. */
  readonly step: number;
  /** False when a stop was asked for before the end. */
  readonly finished: boolean;
  /** Every evaluation made by this process, in order. */
  readonly evaluations: readonly Evaluation[];
}

/** Runs a training from its start or from a checkpoint. Everything that decides the result is in config and checkpoint. */
export async function runTraining(config: TrainConfig, deps: TrainingDeps): Promise<TrainingResult> {
  const run = await TrainingRun.open(config, deps);
  try {
    return await run.run();
  } finally {
    await run.close();
  }
}

class TrainingRun {
  readonly #imitationSteps: number;
  readonly #totalSteps: number;
  readonly #worker: RolloutWorker;
  readonly #evaluator: Evaluator;
  readonly #generator: Generator;
  readonly #practiceTasks: readonly Task[];
  readonly #evaluations: Evaluation[] = [];
  #learner: Learner | undefined;
  #reference: Qwen2Model | undefined;
  #step: number;
  #lastSaved: number;

  private constructor(
    readonly config: TrainConfig,
    readonly deps: TrainingDeps,
    tasks: readonly Task[],
    readonly expert: readonly ExpertRow[],
    prompts: PromptBuilder,
    endToken: number,
  ) {
    this.#imitationSteps = expert.length > 0 ? config.imitation.max_steps : 0;
    this.#totalSteps = this.#imitationSteps + config.grpo.max_steps;
    this.#practiceTasks = taskOrder(config.seed, "practice", tasks).slice(
      0,
      config.grpo.max_tasks ?? undefined,
    );
    this.#generator = new Generator(deps.model, { tokensPerBatch: config.grpo.tokens_per_micro_batch });
    this.#worker = new RolloutWorker(deps.world, prompts, this.#generator, endToken);
    this.#evaluator = new Evaluator(config, deps.world, this.#worker);
    this.#step = deps.resume?.step ?? 0;
    this.#lastSaved = deps.resume?.step ?? -1;
  }

  static async open(config: TrainConfig, deps: TrainingDeps): Promise<TrainingRun> {
    const { world, tokenizer } = deps;
    const endToken = tokenizer.eosTokenId;
    if (endToken === null) {
      throw new ConfigError(
        "[train] the tokenizer names no eos_token: expected one that ends an action. Add it to tokenizer_config.json.",
      );
    }
    const prompts = new PromptBuilder(tokenizer, config.prompt);
    const tasks = selectTasks(config, world);
    const chosen = taskOrder(config.seed, "expert", tasks).slice(0, config.imitation.episodes);
    const options = {
      seed: config.seed,
      detours: config.imitation.detours,
      detourPattern: config.imitation.detour_pattern
        ? new RegExp(config.imitation.detour_pattern)
        : undefined,
      maxSteps: config.world.max_steps,
    };
    const expert = chosen.length > 0 ? await expertRows(world, chosen, prompts, endToken, options) : [];
    return new TrainingRun(config, deps, tasks, expert, prompts, endToken);
  }

  async run(): Promise<TrainingResult> {
    const { deps } = this;
    if (deps.resume) await restoreModel(deps.model, deps.resume.model);
    else if (this.config.eval.at_start) await this.#evaluate("start");
    while (this.#step < this.#totalSteps && !deps.signal.aborted) {
      const stage = this.#stageOf(this.#step);
      const learner = await this.#openStage(stage);
      const started = deps.now();
      const numbers = stage === "imitation" ? await this.#imitate(learner) : await this.#improve(learner);
      const elapsed = deps.now() - started;
      this.#step++;
      const metrics: Metrics = {
        step: this.#step,
        stage,
        ...numbers,
        "perf/step_ms": elapsed,
        "perf/tokens_per_s": numbers.num_tokens / (elapsed / 1000),
        "gpu/bytes_live": deps.model.launcher.runtime.buffers.liveBytes,
        "gpu/bytes_peak": deps.model.launcher.runtime.buffers.peakBytes,
      };
      await deps.sink.metrics(metrics);
      await this.#evaluateWhenDue(stage);
      await this.#saveWhenDue();
    }
    if (this.#lastSaved !== this.#step) await this.#save();
    return { step: this.#step, finished: this.#step >= this.#totalSteps, evaluations: this.#evaluations };
  }

  async close(): Promise<void> {
    await this.#worker.close();
    this.#learner?.optimizer.release();
    this.#reference?.parameters.release();
    this.#reference?.release();
    this.#generator.release();
  }

  #stageOf(step: number): Stage {
    return step < this.#imitationSteps ? "imitation" : "grpo";
  }

  /** The learner of the stage; each stage begins with a fresh optimiser. */
  async #openStage(stage: Stage): Promise<Learner> {
    const first = stage === "imitation" ? 0 : this.#imitationSteps;
    if (this.#learner && this.#step !== first) return this.#learner;
    const { config, deps } = this;
    const { weight_decay: weightDecay, max_grad_norm: maxGradNorm, learning_rate: lr } = config[stage];
    const { adam_beta1, adam_beta2, adam_epsilon: eps, tokens_per_micro_batch } = config.grpo;
    const { launcher, parameters } = deps.model;
    this.#learner?.optimizer.release();
    const optimizer = new AdamW({
      parameters,
      launcher,
      lr,
      betas: [adam_beta1, adam_beta2],
      eps,
      weightDecay,
      maxGradNorm,
      lossScale: parameters.half ? {} : undefined,
    });
    this.#learner = new Learner(deps.model, optimizer, tokens_per_micro_batch);
    const resumed =
      deps.resume && this.#step === deps.resume.step && this.#step !== first ? deps.resume : undefined;
    if (resumed) await restoreOptimizer(optimizer, resumed.optimizer);
    if (stage === "grpo" && config.grpo.beta > 0)
      this.#reference = await referenceModel(deps.model, resumed?.model);
    return this.#learner;
  }

  #rate(stage: Stage): number {
    const {
      learning_rate,
      lr_scheduler_type: kind,
      warmup_steps: warmupSteps,
      max_steps: totalSteps,
    } = this.config[stage];
    const first = stage === "imitation" ? 0 : this.#imitationSteps;
    return learning_rate * schedule({ kind, warmupSteps, totalSteps })(this.#step - first);
  }

  async #imitate(learner: Learner): Promise<Record<string, number>> {
    const rows = imitationBatch(this.config.seed, this.expert, this.config.imitation.batch_size, this.#step);
    const learning_rate = this.#rate("imitation");
    const { prompt_loss_weight } = this.config.imitation;
    const update = await learner.imitate(rows, learning_rate, prompt_loss_weight);
    return {
      loss: update.loss,
      learning_rate,
      grad_norm: update.gradNorm,
      skipped: Number(update.skipped),
      skipped_updates: update.skippedSteps,
      loss_scale: update.lossScale,
      num_tokens: update.tokens,
    };
  }

  async #improve(learner: Learner): Promise<Record<string, number>> {
    const { config, deps } = this;
    return grpoIteration({
      config,
      learner,
      worker: this.#worker,
      reference: this.#reference,
      tasks: this.#practiceTasks,
      iteration: this.#step - this.#imitationSteps,
      step: this.#step + 1,
      learningRate: this.#rate("grpo"),
      sink: deps.sink,
      now: deps.now,
    });
  }

  async #evaluateWhenDue(stage: Stage): Promise<void> {
    const { every } = this.config.eval;
    const done = this.#step - this.#imitationSteps;
    const due = stage === "grpo" && every > 0 && done % every === 0;
    if (due || this.#step === this.#imitationSteps || this.#step === this.#totalSteps)
      await this.#evaluate(stage);
  }

  async #evaluate(stage: Stage | "start"): Promise<void> {
    for (const result of await this.#evaluator.run(this.#step, stage)) {
      this.#evaluations.push(result);
      const share = (value: number) => `${(100 * value).toFixed(1)} %`;
      this.deps.logger.info(
        `evaluation after update ${result.step}, ${result.split}, ${result.mode}: success ${share(result.success)} ` +
          `(95 % interval ${share(result.success_low)} to ${share(result.success_high)}, ${result.episodes} episodes)`,
      );
      await this.deps.sink.evaluation(result);
    }
  }

  async #saveWhenDue(): Promise<void> {
    const { save_steps } = this.config.checkpoint;
    const boundary = this.#step === this.#imitationSteps || this.#step === this.#totalSteps;
    if (boundary || (save_steps > 0 && this.#step % save_steps === 0)) await this.#save();
  }

  async #save(): Promise<void> {
    const { deps } = this;
    const stage = this.#stageOf(Math.max(0, this.#step - 1));
    await deps.sink.checkpoint({
      step: this.#step,
      stage,
      tensors: {
        model: modelTensors(deps.model, this.#reference),
        optimizer: this.#learner ? optimizerTensors(this.#learner.optimizer) : [],
      },
      state: { seed: this.config.seed, precision: this.config.model.precision },
    });
    this.#lastSaved = this.#step;
  }
}

/** Training tasks: the split, narrowed to task types and to a number. */
function selectTasks({ world: options }: TrainConfig, world: World): Task[] {
  const { train_split, task_types, max_tasks } = options;
  const tasks = world
    .tasks(train_split)
    .filter(({ type }) => task_types === null || task_types.includes(type));
  if (tasks.length === 0) {
    throw new ConfigError(
      `[train] no task of split ${train_split} has one of the types ${task_types?.join(", ")}. Check world.task_types.`,
    );
  }
  return tasks.slice(0, max_tasks ?? undefined);
}
