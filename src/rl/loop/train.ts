/** The training run: its stages one after the other, with checkpoints and evaluations between. */
import { RE2JS } from "re2js";
import type { TrainConfig } from "../../config/schema.js";
import { ConfigError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import type { Evaluation, EvaluationTranscript, Json, Metrics, RunSink } from "../../core/run_record.js";
import type { Timer } from "../../core/timer.js";
import type { Task, World } from "../../env/world.js";
import { Generator } from "../../model/generate.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import type { Tokenizer } from "../../model/tokenizer.js";
import { schedule } from "../../optim/schedule.js";
import { KnownMistakes } from "../correction/cold_start.js";
import { openJudge } from "../gcd/gcd.js";
import { Evaluator } from "../play/evaluate.js";
import { PromptBuilder } from "../play/prompt.js";
import { RolloutWorker, workerOptions } from "../play/rollout.js";
import { Learner } from "../update/learner.js";
import { taskOrder } from "./data_order.js";
import { expertRows } from "./imitation.js";
import { imitationStage } from "./imitation_stage.js";
import type { OnInfluence } from "./influence_hook.js";
import { stageOptimizer } from "./optimizer.js";
import { policyStage } from "./policy_stage.js";
import {
  modelTensors,
  optimizerTensors,
  referenceModel,
  releaseReference,
  restoreModel,
  restoreOptimizer,
  type TensorReader,
} from "./policy_state.js";
import { type Stage, stageAt, totalSteps } from "./stage.js";

/** A checkpoint to go on from. */
export interface ResumePoint {
  readonly step: number;
  readonly model: TensorReader;
  readonly optimizer: TensorReader;
  /** What the checkpoint's `state` holds. */
  readonly state: Json;
  /** Evaluations that were recorded after this very step: they are not made again. */
  readonly evaluated: readonly Pick<Evaluation, "split" | "mode" | "instructions">[];
}

export interface TrainingDeps {
  readonly world: World;
  readonly tokenizer: Tokenizer;
  readonly model: Qwen2Model;
  readonly sink: RunSink;
  readonly resume?: ResumePoint;
  /** Aborted when the run should end: after the current update, or in the middle of an evaluation, with a checkpoint. */
  readonly signal: AbortSignal;
  /** Milliseconds, monotonic; for timing metrics only. */
  readonly now: () => number;
  /** For time limits of worlds, and so that batches need not wait for slow ones. */
  readonly timer?: Timer;
  readonly logger: Logger;
  /**
   * Sees the rows of each update of the RL stage before the optimiser's step, each with the part of its predicted change that is its
   * own and the part that is others', and may drop or reweight rows. Costs about four more passes over them. Default: none
   */
  readonly onInfluence?: OnInfluence;
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
  const parts = new RunParts(config, deps);
  try {
    const stages = await openStages(config, deps, parts);
    return await new TrainingRun(config, deps, parts, stages).run();
  } finally {
    await parts.close();
  }
}

/** What stages and evaluations share. */
class RunParts {
  readonly endToken: number;
  readonly prompts: PromptBuilder;
  readonly generator: Generator;
  readonly worker: RolloutWorker;
  readonly evaluator: Evaluator;

  constructor(config: TrainConfig, { world, tokenizer, model, timer, logger }: TrainingDeps) {
    const endToken = tokenizer.eosTokenId;
    if (endToken === null) {
      throw new ConfigError(
        "[train] the tokenizer names no eos_token: expected one that ends an action. Add it to tokenizer_config.json.",
      );
    }
    this.endToken = endToken;
    this.prompts = new PromptBuilder(tokenizer, config.prompt);
    this.generator = new Generator(model, { tokensPerBatch: config.grpo.tokens_per_micro_batch });
    const options = workerOptions(config, { timer, logger });
    this.worker = new RolloutWorker(world, this.prompts, this.generator, endToken, options);
    this.evaluator = new Evaluator(config, world, this.worker);
  }

  async close(): Promise<void> {
    await this.worker.close();
    this.generator.release();
  }
}

/** The stages that the configuration asks for; stages of no updates are left out. */
async function openStages(config: TrainConfig, deps: TrainingDeps, parts: RunParts): Promise<Stage[]> {
  const { imitation, grpo, seed } = config;
  const stages: Stage[] = [];
  const demonstrated = taskOrder(seed, "expert", selectTasks(config, deps.world, "imitation")).slice(
    0,
    imitation.episodes,
  );
  if (demonstrated.length > 0) {
    const { detours, detour_pattern, misplaced_detours: misplacedDetours } = imitation;
    const options = {
      seed,
      isSearching: imitation.expert === "searching",
      detours,
      detourPattern: detour_pattern ? RE2JS.compile(detour_pattern) : undefined,
      misplacedDetours,
      maxSteps: config.world.max_steps,
      questions:
        config.gcd.cold_start_share > 0
          ? { share: config.gcd.cold_start_share, judge: openJudge({ config, worker: parts.worker }) }
          : undefined,
      instructions: shownInstructions(config, deps.tokenizer),
    };
    const rows = await expertRows({ world: deps.world, ...parts }, demonstrated, options);
    stages.push(imitationStage(config, rows));
  }
  if (grpo.max_steps > 0) {
    const tasks = taskOrder(seed, "practice", selectTasks(config, deps.world, "grpo")).slice(
      0,
      grpo.max_tasks ?? undefined,
    );
    const { worker } = parts;
    const { model, sink, now, onInfluence } = deps;
    stages.push(policyStage({ config, model, worker, tasks, sink, now, onInfluence }));
  }
  return stages;
}

/** Instructions in the prompts of demonstrations, where the configuration asks for some. */
function shownInstructions({ correction, prompt }: TrainConfig, tokenizer: TrainingDeps["tokenizer"]) {
  const { cold_start_share: share, max_instructions: perTaskType, max_tokens: maxTokens } = correction;
  if (share === 0) return undefined;
  const tokensOf = (text: string) => tokenizer.encode(text).length;
  return { share, mistakes: new KnownMistakes(prompt.format, { perTaskType, maxTokens, tokensOf }) };
}

class TrainingRun {
  readonly #total: number;
  readonly #evaluations: Evaluation[] = [];
  #learner: Learner | undefined;
  #reference: Qwen2Model | undefined;
  #step: number;
  #lastSaved: number;

  constructor(
    readonly config: TrainConfig,
    readonly deps: TrainingDeps,
    readonly parts: RunParts,
    readonly stages: readonly Stage[],
  ) {
    this.#total = totalSteps(stages);
    this.#step = deps.resume?.step ?? 0;
    this.#lastSaved = deps.resume?.step ?? -1;
  }

  async run(): Promise<TrainingResult> {
    try {
      const isDone = (await this.#begin()) && (await this.#updates());
      if (this.#lastSaved !== this.#step) await this.#save();
      return { step: this.#step, finished: isDone, evaluations: this.#evaluations };
    } finally {
      this.#learner?.optimizer.release();
      if (this.#reference) releaseReference(this.#reference, this.deps.model);
      for (const stage of this.stages) stage.release?.();
    }
  }

  /** @returns false when a stop was asked for meanwhile, as the other steps do */
  async #begin(): Promise<boolean> {
    const { resume, model } = this.deps;
    if (!resume) return !this.config.eval.at_start || this.#evaluate("start", undefined, []);
    await restoreModel(model, resume.model);
    const { stages } = resume.state as { readonly stages?: Readonly<Record<string, Json>> };
    for (const stage of this.stages) if (stages?.[stage.name]) stage.restore?.(stages[stage.name]);
    // the run may have ended between a checkpoint and the evaluation that follows it
    return this.#evaluateWhenDue(resume.evaluated);
  }

  async #updates(): Promise<boolean> {
    const { deps } = this;
    while (this.#step < this.#total) {
      if (deps.signal.aborted) return false;
      await this.#update();
      await this.#saveWhenDue();
      if (!(await this.#evaluateWhenDue([]))) return false;
    }
    return true;
  }

  async #update(): Promise<void> {
    const { deps } = this;
    const { stage, first } = this.#place(this.#step);
    const learner = await this.#openStage(stage, first);
    learner.startStep(this.#step);
    const started = deps.now();
    const numbers = await stage.update({
      learner,
      reference: this.#reference,
      index: this.#step - first,
      step: this.#step + 1,
      learningRate: this.#rate(stage, first),
    });
    const elapsed = deps.now() - started;
    this.#step++;
    const metrics: Metrics = {
      step: this.#step,
      stage: stage.name,
      ...numbers,
      "perf/step_ms": elapsed,
      "perf/tokens_per_s": numbers.num_tokens / (elapsed / 1000),
      "gpu/bytes_live": deps.model.launcher.runtime.buffers.liveBytes,
      "gpu/bytes_peak": deps.model.launcher.runtime.buffers.peakBytes,
    };
    await deps.sink.metrics(metrics);
    const empty = numbers["updates/empty"] ?? 0;
    if (empty > 0) {
      deps.logger.info(
        `update ${this.#step}: no row has a gradient, so no optimiser step was taken${empty > 1 ? ` (${empty} times)` : ""}`,
      );
    }
  }

  /** The stage that makes the update number `step` (0-based). */
  #place(step: number) {
    const place = stageAt(this.stages, step);
    if (!place)
      throw new ConfigError(`[train] the run has ${this.#total} updates, there is no number ${step}.`);
    return place;
  }

  /** The learner of the stage; each stage begins with a fresh optimiser. */
  async #openStage(stage: Stage, first: number): Promise<Learner> {
    if (this.#learner && this.#step !== first) return this.#learner;
    const { deps } = this;
    const { settings } = stage;
    this.#learner?.optimizer.release();
    const optimizer = stageOptimizer(deps.model, settings);
    this.#learner = new Learner(deps.model, optimizer, settings.tokens_per_micro_batch, {
      dropoutSeed: this.config.seed,
    });
    // in the middle of a stage there is none yet after a resume alone
    const resumed = this.#step === first ? undefined : deps.resume;
    if (resumed) await restoreOptimizer(optimizer, resumed.optimizer);
    if (stage.needsReference) this.#reference = await referenceModel(deps.model, resumed?.model);
    return this.#learner;
  }

  #rate({ settings }: Stage, first: number): number {
    const { learning_rate, lr_scheduler_type: kind, warmup_steps, max_steps } = settings;
    return (
      learning_rate * schedule({ kind, warmupSteps: warmup_steps, totalSteps: max_steps })(this.#step - first)
    );
  }

  /** Whether the updates done so far end a stage. */
  get #atBoundary(): boolean {
    return this.#step > 0 && (this.#step === this.#total || this.#place(this.#step).first === this.#step);
  }

  async #evaluateWhenDue(evaluated: ResumePoint["evaluated"]): Promise<boolean> {
    if (this.#step === 0) return true;
    const { stage, first } = this.#place(this.#step - 1);
    const { evaluateEvery } = stage;
    // with 0 it never is: a remainder by 0 is no number
    const isDue = (this.#step - first) % evaluateEvery === 0;
    return isDue || this.#atBoundary ? this.#evaluate(stage.name, stage, evaluated) : true;
  }

  async #evaluate(name: string, stage: Stage | undefined, done: ResumePoint["evaluated"]): Promise<boolean> {
    const { signal, logger, sink } = this.deps;
    const blockOf = stage?.instructions?.();
    const instructions = blockOf && (({ taskType }: { readonly taskType: string }) => blockOf(taskType));
    const transcripts = sink.transcripts && {
      episodes: this.config.log.evaluation_episodes,
      add: async (episodes: readonly EvaluationTranscript[]) => sink.transcripts?.(this.#step, episodes),
    };
    const options = { done, signal, instructions, transcripts };
    for await (const result of this.parts.evaluator.run(this.#step, name, options)) {
      this.#evaluations.push(result);
      const share = (value: number) => `${(100 * value).toFixed(1)} %`;
      logger.info(
        `evaluation after update ${result.step}, ${result.split}, ${result.mode}${result.instructions ? `, ${result.instructions} instructions` : ""}: success ${share(result.success)} ` +
          `(95 % interval ${share(result.success_low)} to ${share(result.success_high)}, ${result.episodes} episodes)`,
      );
      await sink.evaluation(result);
    }
    return !signal.aborted;
  }

  async #saveWhenDue(): Promise<void> {
    const { save_steps } = this.config.checkpoint;
    // with 0 only at boundaries, as above
    if (this.#atBoundary || this.#step % save_steps === 0) await this.#save();
  }

  async #save(): Promise<void> {
    const { deps } = this;
    const stages: Record<string, Json> = {};
    for (const stage of this.stages) if (stage.save) stages[stage.name] = await stage.save();
    await deps.sink.checkpoint({
      step: this.#step,
      stage: this.#place(Math.max(0, this.#step - 1)).stage.name,
      tensors: {
        model: modelTensors(deps.model, this.#reference),
        optimizer: this.#learner ? optimizerTensors(this.#learner.optimizer) : [],
      },
      state: { seed: this.config.seed, precision: this.config.model.precision, stages },
    });
    this.#lastSaved = this.#step;
  }
}

/** Tasks of a stage: the training split, narrowed to task types of the run and of the stage, and to a number. */
function selectTasks(config: TrainConfig, world: World, stage: "imitation" | "grpo"): Task[] {
  const { train_split, task_types, max_tasks } = config.world;
  const wanted = [task_types, config[stage].task_types];
  const tasks = world
    .tasks(train_split)
    .filter(({ type }) => wanted.every((types) => types === null || types.includes(type)));
  if (tasks.length === 0) {
    throw new ConfigError(
      `[${stage}] no task of split ${train_split} has one of the types ${wanted.filter((types) => types !== null).join(" and ")}. ` +
        `Check world.task_types and ${stage}.task_types.`,
    );
  }
  return tasks.slice(0, max_tasks ?? undefined);
}
