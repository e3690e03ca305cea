/** A stage of a run: a number of updates of one kind, with an optimiser of its own. */
import type { Json } from "../../core/run_record.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import type { Learner } from "../update/learner.js";

/** Settings of the optimiser and the batching, the same fields in the section of every stage. */
export interface StageSettings {
  readonly max_steps: number;
  readonly learning_rate: number;
  readonly lr_scheduler_type: "constant" | "linear" | "cosine";
  readonly warmup_steps: number;
  readonly max_grad_norm: number;
  readonly weight_decay: number;
  readonly adam_beta1: number;
  readonly adam_beta2: number;
  readonly adam_epsilon: number;
  readonly adam_moments: "f32" | "f16";
  readonly tokens_per_micro_batch: number;
}

/** What one update of a stage works with. */
export interface UpdateContext {
  readonly learner: Learner;
  /** Present where the stage asks for one. */
  readonly reference: Qwen2Model | undefined;
  /** 0-based number of the update within its stage. */
  readonly index: number;
  /** Number of the update in the run's records, from 1 on. */
  readonly step: number;
  readonly learningRate: number;
}

export interface Stage {
  /** Its section in the configuration, and `stage` in records. */
  readonly name: "imitation" | "grpo";
  readonly settings: StageSettings;
  /** Keeps a frozen copy of the policy as it is when the stage begins. */
  readonly needsReference: boolean;
  /** Evaluated after every so many of its updates, beside its end; 0 = at its end only. */
  readonly evaluateEvery: number;
  /** @returns metrics under their names; `num_tokens` among them */
  update(context: UpdateContext): Promise<Record<string, number>>;
  /** The instruction block of each task type as it is now; undefined where there is none. */
  instructions?(): ((taskType: string) => string | undefined) | undefined;
  /** What the stage remembers from one update to the next, as plain data for checkpoints. */
  save?(): Promise<Json>;
  restore?(saved: Json): void;
  release?(): void;
}

/** Where a step number of the run lies. */
export interface StagePlace {
  readonly stage: Stage;
  /** Updates of the stages before it. */
  readonly first: number;
}

/** The stage that makes update number `step` (0-based); undefined beyond the last one. */
export function stageAt(stages: readonly Stage[], step: number): StagePlace | undefined {
  let first = 0;
  for (const stage of stages) {
    if (step < first + stage.settings.max_steps) return { stage, first };
    first += stage.settings.max_steps;
  }
  return undefined;
}

/** Updates of all stages together. */
export function totalSteps(stages: readonly Stage[]): number {
  return stages.reduce((sum, { settings }) => sum + settings.max_steps, 0);
}
