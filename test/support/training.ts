/** Runs trainings with records in memory. */
import { type TrainConfig, type TrainConfigInput, trainConfigSchema } from "../../src/config/schema.js";
import { silentLogger } from "../../src/core/logger.js";
import type {
  Checkpoint,
  Evaluation,
  EvaluationTranscript,
  Json,
  Metrics,
  RolloutRow,
} from "../../src/core/run_record.js";
import { householdWorld } from "../../src/env/household/world.js";
import type { World } from "../../src/env/world.js";
import { hostTimer } from "../../src/host/run/timer.js";
import { openPolicy } from "../../src/host/run/training_setup.js";
import type { Launcher } from "../../src/kernels/index.js";
import type { Qwen2Model } from "../../src/model/qwen2.js";
import type { Tokenizer } from "../../src/model/tokenizer.js";
import type { OnInfluence } from "../../src/rl/loop/influence_hook.js";
import { type ResumePoint, runTraining } from "../../src/rl/loop/train.js";

/** A checkpoint with its values read. */
export interface SavedCheckpoint {
  readonly step: number;
  readonly model: ReadonlyMap<string, Float32Array>;
  readonly optimizer: ReadonlyMap<string, Float32Array>;
  readonly state: Json;
}

export interface RecordedRun {
  readonly metrics: Metrics[];
  readonly evaluations: Evaluation[];
  readonly transcripts: EvaluationTranscript[];
  readonly rollouts: RolloutRow[];
  readonly checkpoints: SavedCheckpoint[];
}

export type ConfigInput = TrainConfigInput;

/** A few games of the household world. */
export const fewHouseholds = (): World =>
  householdWorld({ sizes: { train: 6, in_domain: 2, out_of_domain: 0 }, difficulty: "easy" });

/** A training of both stages that uses every term of the loss and takes seconds. */
export const shortTraining = (imitationSteps: number, grpoSteps: number): ConfigInput => ({
  world: { max_steps: 3 },
  imitation: { episodes: 3, max_steps: imitationSteps, batch_size: 5, learning_rate: 1e-3 },
  grpo: {
    max_steps: grpoSteps,
    tasks_per_step: 2,
    num_generations: 3,
    max_completion_length: 6,
    learning_rate: 1e-3,
    num_iterations: 2,
    mini_batch_size: 7,
    beta: 0.05,
    entropy_coef: 0.01,
    invalid_action_penalty: 0.5,
  },
  eval: { episodes: 2, modes: ["greedy"], splits: ["in_domain"] },
  checkpoint: { save_steps: 1 },
});

async function valuesOf(tensors: Checkpoint["tensors"]["model"]): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const { name, data } of tensors) values.set(name, typeof data === "function" ? await data() : data);
  return values;
}

/** @param stopAfter aborts after that many updates of this process
 *  @param policy what is trained; default: the policy of the configuration
 *  @param onInfluence hook of the run */
export async function recordTraining(
  launcher: Launcher,
  world: World,
  input: ConfigInput,
  from?: SavedCheckpoint,
  stopAfter = Number.POSITIVE_INFINITY,
  policy?: { readonly model: Qwen2Model; readonly tokenizer: Tokenizer },
  onInfluence?: OnInfluence,
): Promise<RecordedRun> {
  const config: TrainConfig = trainConfigSchema.parse(input);
  const { model, tokenizer } = policy ?? (await openPolicy(config, world, launcher));
  const run: RecordedRun = { metrics: [], evaluations: [], transcripts: [], rollouts: [], checkpoints: [] };
  const stop = new AbortController();
  const resume: ResumePoint | undefined = from && {
    step: from.step,
    evaluated: [],
    state: from.state,
    model: { tensors: from.model, read: async (name) => from.model.get(name) as Float32Array },
    optimizer: { tensors: from.optimizer, read: async (name) => from.optimizer.get(name) as Float32Array },
  };
  await runTraining(config, {
    world,
    tokenizer,
    model,
    resume,
    signal: stop.signal,
    now: () => 0,
    timer: hostTimer,
    onInfluence,
    logger: silentLogger,
    sink: {
      metrics: async (row) => {
        run.metrics.push(row);
        if (run.metrics.length >= stopAfter) stop.abort();
      },
      evaluation: async (row) => void run.evaluations.push(row),
      transcripts: async (_step, episodes) => void run.transcripts.push(...episodes),
      rollouts: async (_step, rows) => void run.rollouts.push(...rows),
      checkpoint: async ({ step, tensors, state }) => {
        run.checkpoints.push({
          step,
          state,
          model: await valuesOf(tensors.model),
          optimizer: await valuesOf(tensors.optimizer),
        });
      },
    },
  });
  model.release();
  model.parameters.release();
  return run;
}

/** A record without GPU memory, which depends on what the process did before. */
export function withoutMemory(row: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(row).filter(([name]) => !name.startsWith("gpu/")));
}
