/** What the policy reads: named blocks of text, assembled once per environment step. */
import { hashText } from "../../core/hash.js";
import type { ChatMessage, Tokenizer } from "../../model/tokenizer.js";

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
  /** The task in the world's words. */
  readonly task: string;
  /** First observation, which may hold the task too. */
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

/** The first observation without banner and without the task, which has a block of its own. */
function roomOf({ opening, task }: PromptState): string {
  const at = task === "" ? -1 : opening.lastIndexOf(task);
  const text = at < 0 ? opening : opening.slice(0, at) + opening.slice(at + task.length);
  return text
    .replace(/^-=.*=-\s*/, "")
    .replace("Your task is to:", "")
    .trim();
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
    const blocks: Block[] = [{ name: "task", text: state.task }];
    const shown = this.#shown(state);
    const room = roomOf(state);
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
    const blocks: Block[] = [{ name: "task", text: `You act in a text world. Your task: ${state.task}` }];
    const shown = this.#shown(state);
    const hidden = state.turns.length - shown.length;
    if (hidden > 0) blocks.push({ name: "room", text: `The world at the start: ${roomOf(state)}` });
    if (shown.length > 0) {
      const lines = shown.map(
        ({ observation, action }, index) =>
          `Step ${hidden + index + 1}. You saw: ${observation === state.opening ? roomOf(state) : observation}\nYou did: ${action}`,
      );
      blocks.push({ name: "history", text: lines.join("\n") });
    }
    const now = state.observation === state.opening ? roomOf(state) : state.observation;
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
