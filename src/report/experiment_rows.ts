/** Results of an experiment as `results.jsonl` holds them: one line for each finished cell and seed. */

/** Episodes played and won. */
export interface WinCount {
  readonly episodes: number;
  readonly wins: number;
}

/** End of the mode of episodes that were played with the instructions that the run ended with. */
export const WITH_INSTRUCTIONS = " with instructions";

/** One split in one mode, after the last update. */
export interface SplitResult extends WinCount {
  readonly split: string;
  /** `greedy` or `sampled`, perhaps with `WITH_INSTRUCTIONS`. */
  readonly mode: string;
  readonly success: number;
  /** By task type; empty where the evaluation counted none. */
  readonly types: Readonly<Record<string, WinCount>>;
  readonly mean_length: number | null;
  readonly invalid_action_rate: number | null;
  readonly repeated_action_rate: number | null;
  /** Null where the world does not tell its states apart. */
  readonly repeated_action_in_state_rate: number | null;
  readonly repeated_action_anywhere_rate: number | null;
  /** Further numbers of the evaluation, such as `pass@4`. */
  readonly further: Readonly<Record<string, number>>;
}

/** A point of a learning curve. */
export interface CurvePoint {
  /** Updates done. */
  readonly step: number;
  readonly split: string;
  readonly mode: string;
  readonly success: number;
  readonly episodes: number;
}

export interface ExperimentResult {
  readonly cell: string;
  /** `start`: the policy that all cells begin with. */
  readonly kind: "start" | "cell";
  readonly levels: Readonly<Record<string, string>>;
  /** The cell that it is compared with. */
  readonly baseline: string | null;
  readonly seed: number;
  /** Settings of the cell on top of the base. */
  readonly overrides: unknown;
  readonly start_sha256: string;
  readonly config_sha256: string;
  readonly program: { readonly version: string; readonly commit: string | null; readonly dirty: boolean };
  readonly adapter: string;
  /** Run folder, relative to the folder of the experiment; null where nothing was trained. */
  readonly run: string | null;
  readonly updates: number;
  readonly splits: readonly SplitResult[];
  /** Evaluations while training, the last one included. */
  readonly curve: readonly CurvePoint[];
  /** Success of the training rollouts: updates done at the middle of a bin, share of episodes won in it. */
  readonly training: readonly (readonly [step: number, success: number])[];
  /** Prompt and answer tokens of all training rows. */
  readonly tokens: number;
  /** Of all updates, without evaluations. */
  readonly seconds: number;
  /** Means over the last updates of the numbers that the experiment asks for, by metric name. */
  readonly last: Readonly<Record<string, number>>;
  /** Of the same samples of the start under each policy, by the names of a coupling analysis; where the experiment asks for it. */
  readonly coupling?: Readonly<Record<string, number | null>>;
}
