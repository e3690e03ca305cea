/**
 * A whole iteration of RL on household games: play, then the update on its rows, by the parts of the training loop itself. The
 * learning rate is 0, so that every iteration plays the same episodes and computes the same rows.
 */
import { type TrainConfig, trainConfigSchema } from "../src/config/schema.js";
import { openPolicy, openTrainingWorld } from "../src/host/run/training_setup.js";
import type { Launcher } from "../src/kernels/engine/launch.js";
import { Generator } from "../src/model/generate.js";
import { parameterShapes } from "../src/model/parameters.js";
import type { Qwen2Model } from "../src/model/qwen2.js";
import { expertRows } from "../src/rl/loop/imitation.js";
import { imitationStage } from "../src/rl/loop/imitation_stage.js";
import { stageOptimizer } from "../src/rl/loop/optimizer.js";
import { policyStage } from "../src/rl/loop/policy_stage.js";
import type { Stage } from "../src/rl/loop/stage.js";
import { RolloutWorker } from "../src/rl/play/rollout.js";
import { Learner } from "../src/rl/update/learner.js";
import { IterationClock } from "./iteration_clock.js";
import {
  IterationRecord,
  TimedLearner,
  TimedPrompts,
  TimedTokenizer,
  timedSampler,
  timedWorld,
} from "./iteration_parts.js";
import type { Work } from "./measure.js";
import type { Precision } from "./precision.js";

/** What an iteration is of. */
export interface IterationCase {
  readonly preset: "nano" | "micro";
  /** Groups, and episodes of each. */
  readonly tasks: number;
  readonly generations: number;
  /** Updates by imitation before, so that the policy answers in words that the world understands. */
  readonly imitation: number;
}

/** The cases of a run. */
export function iterationCases(quick: boolean): IterationCase[] {
  if (quick) return [{ preset: "nano", tasks: 2, generations: 4, imitation: 30 }];
  const size = { tasks: 8, generations: 8, imitation: 40 };
  return [
    { preset: "nano", ...size },
    { preset: "micro", ...size },
  ];
}

/** `nano household 8x8`, as rows name it. */
export function iterationLabel({ preset, tasks, generations }: IterationCase): string {
  return `${preset} household ${tasks}x${generations}`;
}

function configOf(
  { preset, tasks, generations, imitation }: IterationCase,
  precision: Precision,
): TrainConfig {
  const household = {
    receptacles: [3, 4],
    items: [3, 4],
    doors: 0,
    train: 512,
    task_types: { train: ["pick_and_place_simple"], in_domain: ["pick_and_place_simple"] },
  };
  return trainConfigSchema.parse({
    world: { id: "household", max_steps: 8, household },
    model: { preset, precision },
    imitation: { episodes: 64, max_steps: imitation, batch_size: 16, learning_rate: 5e-3 },
    grpo: { tasks_per_step: tasks, num_generations: generations, max_completion_length: 9 },
  });
}

/** Plays and updates, again and again. */
export class IterationWork implements Work {
  readonly record = new IterationRecord();
  readonly clock: IterationClock;
  readonly #sums = { play: 0, update: 0 };
  #count = 0;
  #parts: OpenParts | undefined;

  private constructor(
    readonly launcher: Launcher,
    readonly config: TrainConfig,
  ) {
    const { runtime } = launcher;
    this.clock = new IterationClock(
      () => performance.now(),
      () => runtime.counters.dispatches,
    );
  }

  /** Opens world and policy, and lets it imitate the world's expert. */
  static async open(launcher: Launcher, one: IterationCase, precision: Precision): Promise<IterationWork> {
    const work = new IterationWork(launcher, configOf(one, precision));
    work.#parts = await work.#open();
    return work;
  }

  get model(): Qwen2Model {
    return this.#opened.model;
  }

  async run(calls: number): Promise<void> {
    for (let call = 0; call < calls; call++) await this.iterate();
  }

  /** One iteration. @returns the metrics of training */
  async iterate(): Promise<Record<string, number>> {
    const { learner, stage } = this.#opened;
    this.record.clear();
    this.clock.start();
    learner.startStep(0);
    const update = { learner, reference: undefined, index: 0, step: 1, learningRate: 0 };
    const metrics = await stage.update(update);
    this.#sums.play += metrics["perf/step_ms/rollout"];
    this.#sums.update += metrics["perf/step_ms/update"];
    this.#count++;
    return metrics;
  }

  /** Mean milliseconds of play and update. */
  get phases(): Readonly<Record<string, number>> {
    const { play, update } = this.#sums;
    return { play: play / this.#count, update: update / this.#count };
  }

  /** Tokens sampled in one iteration. */
  get sampledTokens(): number {
    const counts = this.record.batches.flatMap(({ answers }) => answers.map(({ tokens }) => tokens.length));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** Parameters under the names of Hugging Face. */
  async weights() {
    const { model } = this.#opened;
    const weights = [];
    for (const { name, shape } of parameterShapes(model.config))
      weights.push({ name, shape, data: await model.read(name) });
    return weights;
  }

  async release(): Promise<void> {
    const { worker, stage, generator, learner, model } = this.#opened;
    await worker.close();
    await worker.world.close?.();
    stage.release?.();
    generator.release();
    learner.optimizer.release();
    model.release();
    model.parameters.release();
  }

  get #opened(): OpenParts {
    return this.#parts as OpenParts;
  }

  async #open(): Promise<OpenParts> {
    const { launcher, config, clock, record } = this;
    const { runtime } = launcher;
    const bare = await openTrainingWorld(config);
    const { model, tokenizer } = await openPolicy(config, bare, launcher);
    const world = timedWorld(bare, clock);
    const prompts = new TimedPrompts(new TimedTokenizer(tokenizer.files, clock), config.prompt, clock);
    const tokens = config.grpo.tokens_per_micro_batch;
    const generator = new Generator(model, {
      tokensPerBatch: tokens,
      onPrompts: async () => {
        await runtime.finish();
        clock.turn("decode");
      },
    });
    const endToken = tokenizer.eosTokenId as number;
    const worker = new RolloutWorker(world, prompts, timedSampler(generator, clock, record), endToken);
    const tasks = bare.tasks(config.world.train_split);
    await imitate(
      config,
      model,
      await expertRows({ world: bare, prompts, endToken }, tasks.slice(0, config.imitation.episodes), {
        seed: 0,
        detours: 0,
        maxSteps: config.world.max_steps,
      }),
    );
    const learner = new TimedLearner(model, stageOptimizer(model, config.grpo), tokens, clock, record);
    const none = async () => {};
    const sink = { metrics: none, evaluation: none, rollouts: none, checkpoint: none };
    const stage = policyStage({ config, model, worker, tasks, sink, now: () => performance.now() });
    return { model, worker, generator, learner, stage };
  }
}

interface OpenParts {
  readonly model: Qwen2Model;
  readonly worker: RolloutWorker;
  readonly generator: Generator;
  readonly learner: Learner;
  readonly stage: Stage;
}

async function imitate(
  config: TrainConfig,
  model: Qwen2Model,
  rows: Awaited<ReturnType<typeof expertRows>>,
): Promise<void> {
  const { max_steps, learning_rate: learningRate, tokens_per_micro_batch } = config.imitation;
  const stage = imitationStage(config, rows);
  const optimizer = stageOptimizer(model, config.imitation);
  const learner = new Learner(model, optimizer, tokens_per_micro_batch);
  for (let index = 0; index < max_steps; index++) {
    learner.startStep(index);
    await stage.update({ learner, reference: undefined, index, step: index + 1, learningRate });
  }
  optimizer.release();
}
