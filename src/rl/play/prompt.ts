/** What the policy reads: named blocks of text, assembled once per environment step. */
import { hashText } from "../../core/hash.js";
import type { ChatMessage, Tokenizer } from "../../model/tokenizer.js";

/** The marker before the task sentence in a first observation. @source ALFWorld's grammar */
const TASK_MARKER = "Your task is to:";

export interface PromptOptions {
  /** `plain`: bare blocks, for policies trained from scratch. `chat`: worded instructions, for pretrained chat models. */
  readonly format: "plain" | "chat";
  /** Last k (observation, action) pairs shown in full. */
  readonly history: number;
  /** Show the admissible commands. */
  readonly admissible: boolean;
}

/** One past step. */
export interface Turn {
  readonly observation: string;
  readonly action: string;
}

/** All that a prompt may be made of. */
export interface PromptState {
  /** First observation, which holds the task sentence. */
  readonly opening: string;
  readonly turns: readonly Turn[];
  readonly observation: string;
  readonly admissibleCommands: readonly string[];
}

export interface Block {
  readonly name: "task" | "room" | "history" | "observation" | "admissible" | "instruction";
  readonly text: string;
}

export interface Prompt {
  readonly blocks: readonly Block[];
  readonly text: string;
  readonly tokens: readonly number[];
  /** Identity of the text the policy saw. */
  readonly hash: number;
}

/** Task sentence of a first observation, without the marker; the whole text when there is no marker. */
function taskOf(opening: string): string {
  const at = opening.indexOf(TASK_MARKER);
  return (at < 0 ? opening : opening.slice(at + TASK_MARKER.length)).trim();
}

/** The first observation without banner and task sentence. */
function roomOf(opening: string): string {
  const at = opening.indexOf(TASK_MARKER);
  const text = at < 0 ? "" : opening.slice(0, at);
  return text.replace(/^-=.*=-\s*/, "").trim();
}

/** Builds prompts for one tokenizer. The policy's answer is the bare command followed by the end token. */
export class PromptBuilder {
  constructor(
    readonly tokenizer: Tokenizer,
    readonly options: PromptOptions,
  ) {}

  build(state: PromptState): Prompt {
    const blocks = this.options.format === "plain" ? this.#plainBlocks(state) : this.#chatBlocks(state);
    const content = blocks.map(({ text }) => text).join("\n");
    const messages: ChatMessage[] = [{ role: "user", content }];
    const text = this.tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true });
    return { blocks, text, tokens: this.tokenizer.encode(text), hash: hashText(text) };
  }

  #shown(state: PromptState): readonly Turn[] {
    return this.options.history === 0 ? [] : state.turns.slice(-this.options.history);
  }

  #plainBlocks(state: PromptState): Block[] {
    const blocks: Block[] = [{ name: "task", text: taskOf(state.opening) }];
    const shown = this.#shown(state);
    const room = roomOf(state.opening);
    // the opening may still be among the shown turns or be the observation itself
    if (shown.length < state.turns.length) blocks.push({ name: "room", text: room });
    const textOf = (observation: string) => (observation === state.opening ? room : observation);
    for (const { observation, action } of shown)
      blocks.push({ name: "history", text: `${textOf(observation)}\n> ${action}` });
    blocks.push({ name: "observation", text: textOf(state.observation) });
    if (this.options.admissible)
      blocks.push({ name: "admissible", text: state.admissibleCommands.join(" ; ") });
    return blocks;
  }

  #chatBlocks(state: PromptState): Block[] {
    const blocks: Block[] = [
      { name: "task", text: `You act in a text world. Your task: ${taskOf(state.opening)}` },
    ];
    const shown = this.#shown(state);
    const hidden = state.turns.length - shown.length;
    if (hidden > 0) blocks.push({ name: "room", text: `The world at the start: ${roomOf(state.opening)}` });
    if (shown.length > 0) {
      const lines = shown.map(
        ({ observation, action }, index) =>
          `Step ${hidden + index + 1}. You saw: ${observation === state.opening ? roomOf(observation) : observation}\nYou did: ${action}`,
      );
      blocks.push({ name: "history", text: lines.join("\n") });
    }
    const now = state.observation === state.opening ? roomOf(state.observation) : state.observation;
    blocks.push({ name: "observation", text: `Step ${state.turns.length + 1}. You see: ${now}` });
    if (this.options.admissible) {
      blocks.push({
        name: "admissible",
        text: `Commands possible now:\n${state.admissibleCommands.join("\n")}`,
      });
    }
    blocks.push({ name: "instruction", text: "Answer with one command and nothing else." });
    return blocks;
  }
}
