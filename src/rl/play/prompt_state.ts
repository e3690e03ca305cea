/** What prompts are made of, and the settings that say how. */
import type { AnswerFormat, AnswerRule } from "./action.js";

/** Fields have the names of the section `prompt` of a configuration. */
export interface PromptOptions {
  /**
   * `plain`: bare blocks and nothing else, no template needed. `message`: the same as one user message in the tokenizer's chat
   * template. `chat`: worded instructions as one user message, for pretrained chat models.
   */
  readonly format: "plain" | "message" | "chat";
  /** Last k (observation, action) pairs shown in full. */
  readonly history: number;
  /** Show the admissible commands. */
  readonly admissible: boolean;
  /**
   * `step`: each prompt is written anew and shows a part of the history. `episode`: each is the one before, its answer and
   * what the world said to it, token by token. Default `step`.
   */
  readonly context?: "step" | "episode";
  /** What an answer is made of. Default `command`. */
  readonly answer?: AnswerFormat;
  /** Default `strict`. */
  readonly answer_rule?: AnswerRule;
  /** Whose commands a chat model is told about. Default `household`, which ALFWorld's games are too. */
  readonly wording?: "household" | "scienceworld";
  /** Steps before those of `history` are shown with their actions alone. Default false. */
  readonly past_actions?: boolean;
  /** Last k answers shown as they were given, thoughts included. Default 0. */
  readonly recent_answers?: number;
  /** Most tokens of a prompt; longer ones show less of the past, see `pastsOf`. Default null: no limit. */
  readonly max_tokens?: number | null;
}

/** One past step. */
export interface Turn {
  readonly observation: string;
  readonly action: string;
  /** The answer as it was given; default: the action. */
  readonly answer?: string;
  /** Where the answer announced a plan: that plan. */
  readonly plan?: string;
}

/** All that a prompt may be made of. */
export interface PromptState {
  /** The task in the world's words; default: what the opening says after "Your task is to:", or all of it. */
  readonly task?: string;
  /** First observation, which may hold the task too. */
  readonly opening: string;
  readonly turns: readonly Turn[];
  readonly observation: string;
  readonly admissibleCommands: readonly string[];
  /** What a caller adds between task and history: the instructions of prompt-based correction. */
  readonly instructions?: string | undefined;
}

export interface Block {
  readonly name:
    | "task"
    | "instructions"
    | "commands"
    | "room"
    | "history"
    | "answers"
    | "observation"
    | "admissible"
    | "plan"
    | "answer_format"
    | "candidate";
  readonly text: string;
}

/** The marker before the task sentence in a first observation. @source ALFWorld's grammar */
const TASK_MARKER = "Your task is to:";

export function taskOf({ opening, task }: Pick<PromptState, "opening" | "task">): string {
  if (task !== undefined) return task;
  const at = opening.indexOf(TASK_MARKER);
  return (at < 0 ? opening : opening.slice(at + TASK_MARKER.length)).trim();
}

/** The first observation without banner and without the task, which has a block of its own. */
export function roomOf(state: Pick<PromptState, "opening" | "task">): string {
  const { opening } = state;
  const task = taskOf(state);
  const at = task === "" ? -1 : opening.lastIndexOf(task);
  const text = at < 0 ? opening : opening.slice(0, at) + opening.slice(at + task.length);
  return text
    .replace(/^-=.*=-\s*/, "")
    .replace(TASK_MARKER, "")
    .trim();
}

/** The content of a message made of blocks. */
export function textOf(blocks: readonly Block[]): string {
  return blocks.map(({ text }) => text).join("\n");
}
