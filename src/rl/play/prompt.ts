/** What the policy reads: named blocks of text, written once per environment step. */
import { DataError } from "../../core/errors.js";
import { hashText64 } from "../../core/hash.js";
import type { EncodedChat, Tokenizer } from "../../model/tokenizer.js";
import { blocksOf, type PastShown, pastsOf } from "./prompt_blocks.js";
import { type Block, type PromptOptions, type PromptState, textOf } from "./prompt_state.js";

export interface Prompt {
  readonly blocks: readonly Block[];
  readonly text: string;
  readonly tokens: readonly number[];
  /** Identity of the text the policy saw, see `hashText64`. */
  readonly hash: string;
  /** Less of the past is shown than asked for, since the prompt would have been too long. */
  readonly isShortened?: boolean;
}

/** Stand for texts while the chat template is looked at. */
const ANSWER_PLACE = "ANSWER-PLACE";
export const CONTENT_PLACE = "CONTENT-PLACE";

/** What a policy reads: the content alone, or as the only message in the chat template. Special tokens come from the template. */
export function encodeContent(
  tokenizer: Tokenizer,
  format: PromptOptions["format"],
  content: string,
): EncodedChat {
  if (format === "plain") return tokenizer.encodeFilled("", content, "");
  return tokenizer.encodeChat([{ role: "user", content }], { addGenerationPrompt: true });
}

/** Builds prompts for one tokenizer. */
export class PromptBuilder {
  /** What the chat template puts between an answer and the next content, and after that. */
  #between: { readonly before: string; readonly after: string } | undefined;

  constructor(
    readonly tokenizer: Tokenizer,
    readonly options: PromptOptions,
  ) {}

  /**
   * A prompt by itself. One that is too long shows less of the past, see `pastsOf`; the rest of it is never cut.
   * @param longest tokens of a prompt, beside `max_tokens`
   * @throws DataError when it is too long without any past step
   */
  build(state: PromptState, longest = Number.POSITIVE_INFINITY): Prompt {
    const limit = this.limit(longest);
    const prompt = this.#shortened(state, limit);
    if (prompt.tokens.length <= limit) return prompt;
    const cure =
      limit < longest
        ? "Raise prompt.max_tokens"
        : "Lower grpo.max_completion_length, or use a model that reads longer texts";
    throw new DataError(
      `[prompt] too long without any past step: got ${prompt.tokens.length} tokens, expected at most ${limit}. ${cure}.`,
    );
  }

  /** The same, but undefined where it is too long without any past step. */
  buildWithin(state: PromptState, longest: number): Prompt | undefined {
    const limit = this.limit(longest);
    const prompt = this.#shortened(state, limit);
    return prompt.tokens.length <= limit ? prompt : undefined;
  }

  /** Tokens of a prompt, at most. @param longest what a caller bounds it by, beside `max_tokens` */
  limit(longest: number): number {
    return Math.min(longest, this.options.max_tokens ?? Number.POSITIVE_INFINITY);
  }

  /** The prompt that shows most of the past within the limit, or none of it. */
  #shortened(state: PromptState, limit: number): Prompt {
    const [all, ...fewer] = pastsOf(state, this.options);
    const whole = this.#write(state, all);
    if (whole.tokens.length <= limit || fewer.length === 0) return whole;
    // less of the past is a shorter prompt: found by halving, since each try is encoded anew
    let from = 0;
    let to = fewer.length - 1;
    let prompt = this.#write(state, fewer[to]);
    while (from < to) {
      const middle = (from + to) >> 1;
      const tried = this.#write(state, fewer[middle]);
      if (tried.tokens.length <= limit) {
        to = middle;
        prompt = tried;
      } else from = middle + 1;
    }
    return { ...prompt, isShortened: true };
  }

  /**
   * What comes between an answer and the next one where an episode is one text: the end of the answer's message and a message
   * with this content.
   * @param last last token of the answer: where it ends the message as the template does, that end is not written again
   */
  continuation(content: string, last: number | undefined): EncodedChat {
    // without a template blocks are lines
    if (this.options.format === "plain") return this.tokenizer.encodeFilled("\n", content, "");
    this.#between ??= this.#findBetween();
    const { before, after } = this.#between;
    const id = this.tokenizer.endTokenIds.find((token) => token === last);
    const end = (id !== undefined && this.tokenizer.token(id)) || "";
    const rest = before.startsWith(end) ? before.slice(end.length) : before;
    return this.tokenizer.encodeFilled(rest, content, after);
  }

  #write(state: PromptState, past: PastShown): Prompt {
    const blocks = blocksOf(state, this.options, past);
    const { text, tokens } = encodeContent(this.tokenizer, this.options.format, textOf(blocks));
    return { blocks, text, tokens, hash: hashText64(text) };
  }

  #findBetween() {
    const text = this.tokenizer.applyChatTemplate(
      [
        { role: "user", content: "-" },
        { role: "assistant", content: ANSWER_PLACE },
        { role: "user", content: CONTENT_PLACE },
      ],
      { addGenerationPrompt: true },
    );
    const [, between = "", ...rest] = text.split(ANSWER_PLACE);
    const parts = between.split(CONTENT_PLACE);
    if (parts.length === 2 && rest.length === 0) return { before: parts[0], after: parts[1] };
    throw new DataError(
      "[prompt] chat template changes messages: expected it to print an answer and the message after it as they are. " +
        "Set prompt.context to step.",
    );
  }
}
