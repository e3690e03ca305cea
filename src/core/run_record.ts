/**
 * Records of a run folder: what training writes, and what reports, resumed runs and other tools read.
 *
 *     run.json             RunInfo, replaced as a whole
 *     metrics.jsonl        one MetricsRow a line, one line for each update
 *     eval.jsonl           one EvaluationRow a line, one for each split and evaluation
 *     alerts.jsonl         one Alert a line, see alerts.ts; there is none where nothing was noticed
 *     rollouts/step_*.jsonl  one RolloutRow a line, one for each environment step
 *     evaluations/step_*.jsonl  one EvaluationTranscript a line, the first few episodes of each split and mode
 *     checkpoints/step_*   Checkpoint
 */

/**
 * Version of the records. A reader refuses newer ones, since it cannot know what they mean. Older ones are read, and a run is
 * gone on with where its version is at least `OLDEST_RESUMABLE`: before it, checkpoints had another layout.
 * 1: optimiser moments in the layout of storage, prompt hashes of 32 bits. 2: moments by Hugging Face names, rows of all streams.
 */
export const RECORD_VERSION = 2;
export const OLDEST_RESUMABLE = 2;

/** `running` also stays behind when a process is killed. */
export type RunStatus = "running" | "finished" | "stopped" | "failed";

/** Version control of the folder that a run was started in. */
export interface GitState {
  readonly commit: string;
  /** Tracked files differed from the commit: `code.diff` holds the difference (`code.N.diff` of the Nth session). */
  readonly dirty: boolean;
}

/** One process that worked on the run: the first start, or one that resumed it. */
export interface RunSession {
  /** ISO 8601 */
  readonly started: string;
  /** Update that it started from; 0 = the beginning. */
  readonly fromStep: number;
  readonly argv: readonly string[];
  readonly version: string;
  readonly node: string;
  readonly platform: string;
  readonly git: GitState | null;
  /** The GPU adapter as `uncouple doctor` reports it. */
  readonly adapter: Readonly<Record<string, unknown>> | null;
  /** Kernels that measuring chose on the adapter, and what they hold for; empty choices: all as shipped. */
  readonly tuning?: { readonly key: string; readonly choices: Readonly<Record<string, string>> };
}

/** Content of `run.json`. */
export interface RunInfo {
  readonly recordVersion: number;
  readonly name: string;
  readonly seed: number;
  readonly status: RunStatus;
  /** ISO 8601 */
  readonly started: string;
  /** ISO 8601 */
  readonly updated: string;
  /** Updates done, all stages together, as of the last checkpoint or the end. */
  readonly step: number;
  /** Why the run stopped or failed. */
  readonly reason?: string;
  /** SHA-256 of `config.yaml`, by which a cut or changed one is noticed; older runs have none. */
  readonly configSum?: string;
  readonly sessions: readonly RunSession[];
}

/** Numbers of one update under their metric names (`reward`, `grad_norm`, `perf/tokens_per_s`). */
export interface Metrics {
  /** Updates done, from 1 on, all stages together. */
  readonly step: number;
  /** `imitation` or `grpo`. */
  readonly stage: string;
  /** Values that are not finite are written as null. */
  readonly [name: string]: number | string | null;
}

/** Metrics as written. */
export type MetricsRow = Metrics & { /** Unix time in seconds */ readonly time: number };

/** Result of evaluating one split. */
export interface Evaluation {
  /** Updates done before it; 0 = before training. */
  readonly step: number;
  readonly stage: string;
  readonly split: string;
  /** How actions were chosen. */
  readonly mode: "greedy" | "sampled";
  /** Whether the policy read the instructions of prompt-based correction; absent where there are none. */
  readonly instructions?: "with" | "without";
  readonly episodes: number;
  /** Share of episodes that reached their goal, with its 95 % interval. */
  readonly success: number;
  readonly success_low: number;
  readonly success_high: number;
  /** Further numbers under their metric names. */
  readonly [name: string]: number | string | null | undefined;
}

/** An evaluation as written. */
export type EvaluationRow = Evaluation & { /** Unix time in seconds */ readonly time: number };

/** One episode of an evaluation, step by step. Records of older versions have none. */
export interface EvaluationTranscript extends Pick<Evaluation, "step" | "split" | "mode" | "instructions"> {
  readonly task_id: string;
  readonly task_type: string;
  /** 0-based number of the episode among those of its task. */
  readonly sample: number;
  readonly ended: "won" | "lost" | "truncated" | "failed";
  /** What went wrong in a failed episode. */
  readonly failure?: string;
  readonly steps: readonly TranscriptStep[];
}

/** One step of it. Very long texts are cut. */
export interface TranscriptStep {
  /** What the world showed before acting. */
  readonly observation: string;
  /** The command as sent to the world. */
  readonly action: string;
  readonly valid: boolean;
  /** The answer hit the token limit before it ended. */
  readonly truncated: boolean;
  /** The world's reward for this step. */
  readonly reward: number;
}

/** One row that was trained on: an environment step of a rollout, or a verdict on an action. */
export interface RolloutRow {
  /** Update that the row was made for, from 1 on. */
  readonly step: number;
  /** The stream that it trains. */
  readonly kind: "policy" | "classification" | "imitation";
  readonly group: number;
  readonly episode: number;
  /** 0-based environment step within the episode. */
  readonly env_step: number;
  readonly task_id: string;
  readonly task_type: string;
  /** What was read: the text, and its parts by name (`instructions` is the block of prompt-based correction). */
  readonly prompt: string;
  readonly prompt_blocks: readonly { readonly name: string; readonly text: string }[];
  readonly prompt_tokens: readonly number[];
  /** Identity of the text that was read: 16 hexadecimal digits. */
  readonly prompt_hash: string;
  /** What the world showed before acting. */
  readonly observation: string | null;
  /** The command as sent to the world, or judged. */
  readonly action: string;
  readonly action_tokens: readonly number[];
  /** Log-probabilities of `action_tokens` under the policy that chose them, at the sampling temperature. */
  readonly log_probs: readonly number[];
  /** 1 where an action token counts in the loss. */
  readonly mask: readonly number[];
  /** Factor of each action token's term in the loss, beside the normaliser. */
  readonly weight: readonly number[];
  readonly tag: string | null;
  readonly valid: boolean;
  /** The answer hit the token limit before it ended. */
  readonly truncated: boolean;
  /** States with the same key are compared step by step. */
  readonly anchor_key: string | null;
  /** Identity of the world's state before acting. */
  readonly state_key: string | null;
  /** The world's reward for this step. */
  readonly reward: number;
  /** Reward of the whole episode. */
  readonly return: number;
  readonly advantage: number;
  /** Parts of the advantage by name (outcome, penalty, step, ...). */
  readonly advantage_parts: Readonly<Record<string, number>>;
  /** `good` or `bad`: what the action was labelled, or, of a verdict, what the right one is. Null where nothing was labelled. */
  readonly verdict?: "good" | "bad" | null;
}

/** A tensor to save. `data` may be a function, called once when its turn comes (a readback, for example). */
export interface RecordedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array | (() => Float32Array | Promise<Float32Array>);
}

/** Anything that JSON holds. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Everything from which a run goes on as if it had never stopped. */
export interface Checkpoint {
  /** Updates done, all stages together. */
  readonly step: number;
  /** Stage that the last update belonged to. */
  readonly stage: string;
  /** Names are unique within each list. Values are kept bit by bit. */
  readonly tensors: {
    readonly model: readonly RecordedTensor[];
    readonly optimizer: readonly RecordedTensor[];
  };
  /** Random streams, counters, positions in the data. */
  readonly state: Json;
}

/**
 * Where the training loop puts its records. Calls are awaited one after the other. Everything that belongs to an update
 * is written before its checkpoint: a resumed run drops what is newer than the checkpoint and writes it again.
 */
export interface RunSink {
  metrics(row: Metrics): Promise<void>;
  evaluation(row: Evaluation): Promise<void>;
  /**
   * Episodes of one split and mode, before its `evaluation`; they take the place of those that are there. A sink without it
   * keeps none.
   */
  transcripts?(step: number, episodes: readonly EvaluationTranscript[]): Promise<void>;
  rollouts(step: number, rows: Iterable<RolloutRow>): Promise<void>;
  checkpoint(checkpoint: Checkpoint): Promise<void>;
}
