/**
 * What training works on: one row for each answer, of the policy as a player, of the policy as a judge, or of an expert. A
 * row gains columns on its way from play to the loss; it is never copied into another shape.
 */
import type { Block } from "./play/prompt_state.js";

/** The stream that a row belongs to: acting, judging actions, or copying an expert. */
export type RowKind = "policy" | "classification" | "imitation";

/** The text that was read, for records; the loss needs its tokens only. */
export interface PromptText {
  readonly blocks: readonly Block[];
  readonly text: string;
  /** Identity of the text. */
  readonly hash: string;
}

export interface Row {
  readonly kind: RowKind;
  /** Rows of one group are compared: episodes of one task from one start, or verdicts on one question. */
  readonly group: number;
  readonly episode: number;
  /** 0-based environment step within the episode. */
  readonly step: number;
  readonly taskId: string;
  readonly taskType: string;

  /** Token ids read before the answer, at least one. */
  readonly prompt: readonly number[];
  /** Token ids answered, the end token included; at least one. */
  readonly answer: readonly number[];
  /** Per answer token: 1 counts in the loss, 0 does not. Absent: all count. */
  readonly mask?: readonly number[];
  /** Per answer token: factor of its term in the loss, beside the normaliser. Absent: 1. */
  readonly weight?: readonly number[];
  /** Log-probabilities of `answer` under the policy that gave it, natural logarithm, at the sampling temperature. */
  readonly logProbs?: readonly number[];
  readonly text?: PromptText;
  /** The prompt shows less of the past than asked for, since it would have been too long. */
  readonly shortened?: boolean;

  /** What the world showed before acting. */
  readonly observation?: string;
  /** States of one group with the same key are compared step by step; absent: the step is compared with none. */
  readonly anchorKey?: string;
  /** Identity of the world's state before acting, where the world tells it. */
  readonly stateKey?: string;
  /** The command as sent to the world, or judged. */
  readonly action?: string;
  /** Kind of step that the policy announced (RLVMR). */
  readonly tag?: string;
  /** The answer was acceptable, by the rule in force. */
  readonly valid?: boolean;
  /** The command was one that the world would act upon. */
  readonly admissible?: boolean;
  /** The answer hit the token limit before it ended. */
  readonly truncated?: boolean;
  /** The world's reward for this step alone. */
  readonly stepReward?: number;
  /** Reward of the whole episode, the same on each of its rows. */
  readonly outcome?: number;

  /** The right verdict, of a row that judges an action. */
  readonly verdict?: "good" | "bad";

  readonly advantage?: number;
  /** Parts of `advantage` by name (outcome, penalty, step, ...). */
  readonly parts?: Readonly<Record<string, number>>;
}

/** A row with certain columns filled. */
export type With<K extends keyof Row> = Row & Required<Pick<Row, K>>;

/** A row as play leaves it. */
export type PlayedRow = With<
  "logProbs" | "text" | "observation" | "action" | "valid" | "truncated" | "stepReward" | "outcome"
>;

/** What the pass over a row needs of it. */
export type TokenRow = Pick<Row, "prompt" | "answer">;

/**
 * Whether a row goes on where another ended: its prompt begins with the other's prompt and whole answer. Both are then scored
 * in one pass over the longer text, which is exact since attention is causal.
 */
export function goesOn({ prompt }: TokenRow, before: TokenRow): boolean {
  const { length } = before.prompt;
  return (
    before.prompt.every((token, t) => token === prompt[t]) &&
    before.answer.every((token, t) => token === prompt[length + t])
  );
}
