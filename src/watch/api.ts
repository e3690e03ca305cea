/** What the page of `uncouple watch` asks for and gets: types alone, shared by server and page. */
import type { RunEvaluation, RunSessionText } from "../report/run_report.js";

/**
 * `stale`: `run.json` says running, but no process has given a sign of life for a while: it was killed, or the folder is a copy.
 * `unreadable`: the folder has a `run.json` that says nothing that can be understood.
 */
export type ShownStatus = "running" | "finished" | "stopped" | "failed" | "stale" | "unreadable";

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

/** An error of the server, as JSON. */
export interface ApiError {
  readonly error: string;
}
