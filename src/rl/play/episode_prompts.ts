/** The prompts of one episode, step after step, in either context mode. */
import { hashText64 } from "../../core/hash.js";
import { type ParsedAnswer, parseAnswer } from "./action.js";
import type { Prompt, PromptBuilder } from "./prompt.js";
import { nextBlocks } from "./prompt_blocks.js";
import { type Block, type PromptState, roomOf, type Turn, textOf } from "./prompt_state.js";

/** What stays the same throughout an episode. */
export type EpisodeStart = Pick<PromptState, "task" | "opening" | "instructions">;

/** What the world shows now. */
type Shown = Pick<PromptState, "observation" | "admissibleCommands">;

/**
 * Calls of `next` and `answered` take turns. In context `episode` every prompt is exactly the one before, the tokens of its
 * answer, and the tokens of what the world said to that; nothing is encoded twice.
 */
export class EpisodePrompts {
  readonly #turns: Turn[] = [];
  /** The last prompt. */
  #prompt: Prompt | undefined;
  /** The answer to it. */
  #answer: { readonly tokens: readonly number[]; readonly text: string } | undefined;
  #observation = "";

  constructor(
    readonly builder: PromptBuilder,
    readonly start: EpisodeStart,
  ) {}

  /**
   * The prompt for what the world shows now.
   * @throws DataError when it does not fit `max_tokens`, see `PromptBuilder.build`; a text that goes on is not looked at
   */
  next(observation: string, admissibleCommands: readonly string[], longest?: number): Prompt {
    const shown = { observation, admissibleCommands };
    return this.#given(shown, this.#extended(shown) ?? this.builder.build(this.#state(shown), longest));
  }

  /**
   * The same, but undefined where it is too long: by itself, without any past step; as a text that goes on, as a whole.
   * @param longest tokens of a prompt, beside `max_tokens`
   */
  nextWithin(
    observation: string,
    admissibleCommands: readonly string[],
    longest: number,
  ): Prompt | undefined {
    const shown = { observation, admissibleCommands };
    const extended = this.#extended(shown);
    const prompt = extended ?? this.builder.buildWithin(this.#state(shown), longest);
    if (!prompt || prompt.tokens.length > this.builder.limit(longest)) return undefined;
    return this.#given(shown, prompt);
  }

  /**
   * Reads an answer to the last prompt.
   * @param tokens as sampled, the end token included where it came
   */
  answered(tokens: readonly number[]): ParsedAnswer {
    const { tokenizer, options } = this.builder;
    const spoken = tokens.filter((token) => !tokenizer.endTokenIds.includes(token));
    const text = tokenizer.decode(spoken, { skipSpecialTokens: true }).trim();
    const parsed = parseAnswer(text, options.answer ?? "command", options.answer_rule);
    this.#answer = { tokens, text };
    this.#turns.push({
      observation: this.#observation,
      action: parsed.command,
      answer: text,
      ...(parsed.tag === "planning" && { plan: parsed.thought }),
    });
    return parsed;
  }

  #given({ observation }: Shown, prompt: Prompt): Prompt {
    this.#observation = observation;
    this.#prompt = prompt;
    return prompt;
  }

  #state(shown: Shown): PromptState {
    return { ...this.start, turns: this.#turns, ...shown };
  }

  /** In context `episode`, from the second step on. */
  #extended({ observation, admissibleCommands }: Shown): Prompt | undefined {
    const { tokenizer, options } = this.builder;
    const before = this.#prompt;
    const answer = this.#answer;
    if (!before || !answer || options.context !== "episode") return undefined;
    const seen = observation === this.start.opening ? roomOf(this.start) : observation;
    const added = nextBlocks({ observation: seen, admissibleCommands }, options);
    const continuation = this.builder.continuation(textOf(added), answer.tokens.at(-1));
    const text = before.text + tokenizer.decode(answer.tokens) + continuation.text;
    const said: Block = { name: "history", text: `> ${answer.text}` };
    return {
      blocks: [...before.blocks, said, ...added],
      text,
      tokens: [...before.tokens, ...answer.tokens, ...continuation.tokens],
      hash: hashText64(text),
    };
  }
}
