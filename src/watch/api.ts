/** What the page of `uncouple watch` asks for and gets, shared by server and page. */
import type { RunEvaluation, RunSessionText } from "../report/run_report.js";

/**
 * `stale`: `run.json` says running, but no process has given a sign of life for a while: it was killed, or the folder is a copy.
 * `unreadable`: the folder has a `run.json` that says nothing that can be understood. `unread`: in a long list, not yet looked at.
 */
export type ShownStatus = "running" | "finished" | "stopped" | "failed" | "stale" | "unreadable" | "unread";

/** A line of the list of runs. */
export interface RunLine {
  /** Name of the folder; names the run in every address. */
  readonly run: string;
  readonly status: ShownStatus;
  /** Why it stopped or failed, or what is wrong with its record. */
  readonly reason: string | null;
  /** ISO 8601; null where the record does not say. */
  readonly started: string | null;
  readonly updated: string | null;
  /** Updates recorded. */
  readonly step: number;
  /** Updates that the configuration asks for; null where it cannot be read. */
  readonly steps: number | null;
  readonly seed: number | null;
  /** Of the settings: world, algorithm, policy. */
  readonly world: string | null;
  readonly algorithm: string | null;
  readonly model: string | null;
  /** What was noticed last: kind and text of the newest alert. */
  readonly alert: string | null;
  /** Share of won episodes in the newest update and in the newest evaluation. */
  readonly success: number | null;
  readonly evaluated: number | null;
}

/** What is new is told by these numbers alone. */
export interface RunState {
  readonly status: ShownStatus;
  /** Lines read of `metrics.jsonl` and `eval.jsonl`. */
  readonly metrics: number;
  readonly evaluations: number;
  /** Alerts read. */
  readonly alerts: number;
  /** Counts how often lines were taken back, as a resumed run does: what was read before is void. */
  readonly generation: number;
  /** Newest update whose rollouts are kept; null: none. */
  readonly rollouts: number | null;
  /** Names of metrics that came up, and lines that are damaged. */
  readonly keys: number;
  readonly damaged: number;
}

/** Something that went wrong. */
export interface ShownAlert {
  readonly step: number;
  readonly kind: string;
  readonly text: string;
}

/** A run by itself. */
export interface RunDetail extends RunLine {
  readonly state: RunState;
  /** Metric names in the order in which they came up. */
  readonly keys: readonly string[];
  /** Settings by their path, as `grpo.learning_rate`; of files that are there but cannot be read, why. */
  readonly settings: Readonly<Record<string, string>>;
  readonly settingsError: string | null;
  readonly sessions: readonly (RunSessionText & { readonly fromStep: number | null })[];
  /** Lines that are no JSON, by file. */
  readonly damaged: Readonly<Record<string, number>>;
  readonly alerts: readonly ShownAlert[];
  /** Updates whose rollouts are kept. */
  readonly rolloutSteps: readonly number[];
  /** Updates after which evaluated episodes were kept. */
  readonly transcriptSteps: readonly number[];
  /** Coupling analyses in the folder, oldest first. */
  readonly analyses: readonly string[];
}

/** Columns of `metrics.jsonl`. */
export interface Series {
  readonly generation: number;
  /** First line that is in here, and how many there are in all. */
  readonly from: number;
  readonly total: number;
  /** Lines that one point stands for: means of so many, where there are very many. */
  readonly stride: number;
  /** Each point is one line of so many: the others are still being read. */
  readonly isSample?: true;
  readonly step: readonly number[];
  readonly stage: readonly string[];
  /** null where the line has no such number. */
  readonly values: Readonly<Record<string, readonly (number | null)[]>>;
}

/** One line of `eval.jsonl`. */
export interface EvaluationPoint extends RunEvaluation {
  /** Success by task type: `[share, low, high]`. */
  readonly types: Readonly<Record<string, readonly [number, number, number]>>;
}

export interface EpisodeLine {
  readonly episode: number;
  /** Reward of the whole episode. */
  readonly outcome: number;
  /** Mean over its steps. */
  readonly advantage: number;
  readonly turns: number;
  readonly invalid: number;
  readonly repeated: number;
}

/** Rollouts of one task from one start. */
export interface GroupLine {
  readonly group: number;
  readonly taskId: string;
  readonly taskType: string;
  readonly episodes: readonly EpisodeLine[];
  /** All outcomes are equal: the group says nothing about which episode was better. */
  readonly dead: boolean;
  /** Largest outcome less the smallest. */
  readonly spread: number;
}

/** Groups and states of one answer. */
export const PAGE = 60;

export interface GroupPage {
  readonly step: number;
  readonly groups: readonly GroupLine[];
  readonly total: number;
  readonly from: number;
  /** Lines of the file that are no rows. */
  readonly damaged: number;
  /** Verdicts on actions that were trained on beside the play. */
  readonly verdicts: number;
}

/** One step of an episode. */
export interface Turn {
  /** 0-based step within the episode. */
  readonly turn: number;
  readonly observation: string;
  readonly action: string;
  readonly tag: string | null;
  readonly valid: boolean;
  readonly truncated: boolean;
  /** The same action was given before under the same observation. */
  readonly repeated: boolean;
  readonly reward: number;
  readonly advantage: number;
  readonly parts: Readonly<Record<string, number>>;
  /** Each token of the answer: text (its id where no tokenizer is kept), log-probability, and weight in the loss. */
  readonly tokens: readonly {
    readonly text: string;
    readonly logProb: number | null;
    readonly weight: number;
  }[];
  /** Block of the prompt with instructions of prompt-based correction. */
  readonly instructions: string | null;
  readonly anchor: string | null;
  /** Whether the action counted as good or bad where actions were labelled. */
  readonly verdict: string | null;
  /** Probability that the policy gave the right verdict when it was asked about this action. */
  readonly judged: number | null;
  /** Predicted change of the action's log-probability by the whole update, and the part of it that is others': of an analysis. */
  readonly influence: { readonly total: number; readonly cross: number } | null;
}

export interface EpisodePage {
  readonly step: number;
  readonly group: number;
  readonly episode: number;
  readonly taskId: string;
  readonly taskType: string;
  readonly outcome: number;
  readonly turns: readonly Turn[];
}

/** One episode of an evaluation, in a list. */
export interface EvaluatedLine {
  /** Place in the file of its update. */
  readonly index: number;
  readonly split: string;
  readonly mode: string;
  readonly instructions: string | null;
  readonly taskId: string;
  readonly taskType: string;
  readonly sample: number;
  readonly ended: string;
  readonly failure: string | null;
  readonly turns: number;
  readonly invalid: number;
  readonly repeated: number;
}

export interface EvaluatedPage {
  readonly step: number;
  readonly episodes: readonly EvaluatedLine[];
  /** Lines of the file that are no episodes. */
  readonly damaged: number;
}

/** One episode of an evaluation, turn by turn. */
export interface EvaluatedEpisode extends EvaluatedLine {
  readonly step: number;
  readonly steps: readonly {
    readonly observation: string;
    readonly action: string;
    readonly valid: boolean;
    readonly truncated: boolean;
    /** The same action was given before under the same observation. */
    readonly repeated: boolean;
    readonly reward: number;
  }[];
}

/** What was tried in one state. */
export interface AnchorAction {
  readonly action: string;
  readonly visits: number;
  /** Means over its visits. */
  readonly outcome: number;
  readonly advantage: number;
  readonly verdict: string | null;
  /** Where it was tried. */
  readonly places: readonly { readonly episode: number; readonly turn: number }[];
}

export interface AnchorState {
  readonly group: number;
  readonly anchor: string;
  readonly taskId: string;
  readonly taskType: string;
  readonly observation: string;
  readonly visits: number;
  readonly actions: readonly AnchorAction[];
}

export interface AnchorPage {
  readonly step: number;
  readonly states: readonly AnchorState[];
  readonly total: number;
  readonly from: number;
}

/** A pair of an analysis with the turns that its samples stand for. */
export interface LinkedPair {
  readonly text: string;
  readonly change: number;
  readonly cosine: number;
  readonly from: TurnPlace | null;
  readonly to: TurnPlace | null;
  readonly fromAction: string;
  readonly toAction: string;
}

export interface TurnPlace {
  readonly step: number;
  readonly group: number;
  readonly episode: number;
  readonly turn: number;
}

/** Saved benchmarks. */
export interface BenchList {
  /** Folder that they lie in; null: none was given or found. */
  readonly folder: string | null;
  /** Files that are no benchmark, and why. */
  readonly problems: readonly { readonly file: string; readonly problem: string }[];
  readonly adapters: readonly BenchAdapter[];
}

/** Figures of two adapters, or of two presets, never share a table. */
export interface BenchAdapter {
  readonly adapter: string;
  readonly preset: string;
  /** What is measured, in how many measurements. */
  readonly measurements: number;
  /** Name of the newest run, which is its date. */
  readonly newest: string;
}

/** Everything of one adapter and preset. */
export interface BenchView {
  readonly tables: readonly {
    readonly title: string;
    readonly titles: readonly string[];
    readonly body: readonly (readonly string[])[];
    /** Columns from the left that hold words. */
    readonly names: number;
  }[];
  /** Kernels as points: FLOP per byte, and 10^9 FLOP a second. */
  readonly points: readonly {
    readonly op: string;
    readonly direction: string;
    readonly shape: string;
    readonly dtype: string;
    readonly intensity: number;
    readonly gflops: number;
  }[];
  /** Peaks measured beside them: 10^9 bytes a second of the copy kernel, null where there is none, and arithmetic, highest first. */
  readonly gbps: number | null;
  readonly ceilings: readonly { readonly name: string; readonly gflops: number }[];
  readonly runs: readonly BenchRun[];
  /** What was measured more than once. */
  readonly histories: readonly BenchHistoryName[];
}

/** One run of the benchmark. */
export interface BenchRun {
  readonly run: string;
  readonly commit: string;
  readonly command: string;
  readonly driver: string;
  readonly cpu: string;
  readonly load: number | null;
}

export interface BenchHistoryName {
  /** Names it in a question. */
  readonly key: string;
  readonly op: string;
  /** Everything else that says which it is. */
  readonly text: string;
  readonly points: number;
}

/** Figures that have a history. */
export const BENCH_FIGURES = ["medianMs", "gpuMs", "gflops", "gbps", "tokensPerSecond"] as const;
export type BenchFigure = (typeof BENCH_FIGURES)[number];

/** One measurement over time, oldest first. */
export interface BenchHistory {
  readonly key: string;
  readonly points: readonly ({
    readonly run: string;
    readonly commit: string;
    readonly load: number | null;
    /** 10th and 90th percentile of the samples of `medianMs`. */
    readonly p10Ms: number | null;
    readonly p90Ms: number | null;
  } & Readonly<Record<BenchFigure, number | null>>)[];
}

/** An error of the server, as JSON. */
export interface ApiError {
  readonly error: string;
}
