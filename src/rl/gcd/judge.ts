/** The policy as a judge: the question it is asked about an action, and its verdict. The wording is ours (RECON). */
import { ConfigError } from "../../core/errors.js";
import { hashText64 } from "../../core/hash.js";
import type { Tokenizer } from "../../model/tokenizer.js";
import { encodeContent } from "../play/prompt.js";
import { type Block, type PromptOptions, textOf } from "../play/prompt_state.js";
import type { PromptText, Row } from "../rows.js";
import type { Verdict } from "./labels.js";

/** Words of the question and the verdicts in plain prompts; a vocabulary of words must hold them. */
export const JUDGE_WORDS = ["judge", "good", "bad"] as const;

/** `direct`: the answer is the verdict. `think`: a few words of reasoning, then the verdict. */
export type JudgeMode = "direct" | "think";

export interface JudgeOptions {
  readonly format: PromptOptions["format"];
  readonly mode: JudgeMode;
  /** How the policy reads, see `PromptOptions`. A judge reads each state by itself. */
  readonly context: "step" | "episode";
  /** Past steps that a judge of whole-episode prompts is shown. */
  readonly history: number;
}

/** A state as far as a question needs it. */
export type JudgedState = Pick<Row, "text">;

/** A question, ready to be read. */
export interface Question {
  readonly tokens: readonly number[];
  readonly text: PromptText;
}

/** Blocks of a policy prompt that describe the state. What the policy said or planned is no part of it, nor how to answer. */
const STATE_BLOCKS: ReadonlySet<Block["name"]> = new Set([
  "task",
  "instructions",
  "room",
  "history",
  "observation",
  "admissible",
]);

const VERDICT_TAG = /<judge>\s*(good|bad)\s*<\/judge>\s*$/;
const VERDICT_WORD = /(?:^|\s)(good|bad)\s*$/;

/** Asks one policy by its tokenizer. */
export class Judge {
  /** Token of each verdict in `direct` mode. */
  readonly verdictTokens: Readonly<Record<Verdict, number>>;

  /** @throws ConfigError when a verdict is more than one token, or none: their lengths would tell the classes apart */
  constructor(
    readonly tokenizer: Tokenizer,
    readonly options: JudgeOptions,
  ) {
    const tokenOf = (word: Verdict): number => {
      const tokens = tokenizer.encode(word);
      const isWhole = tokens.length === 1 && tokenizer.decode(tokens).trim() === word;
      if (isWhole) return tokens[0];
      throw new ConfigError(
        `[gcd] the verdict "${word}" is no token of its own: got ${tokens.length} tokens ` +
          `"${tokenizer.decode(tokens)}", expected one. Use a tokenizer that has it: fresh policies of this version do.`,
      );
    };
    this.verdictTokens = { good: tokenOf("good"), bad: tokenOf("bad") };
    if (this.verdictTokens.good === this.verdictTokens.bad)
      throw new ConfigError(
        '[gcd] "good" and "bad" are the same token. Use a tokenizer that tells them apart.',
      );
  }

  /**
   * The state part of a policy prompt, without its instruction to act, and the action to be judged. Nothing of what came after
   * the state is in it: no reward, no later observation, no outcome, and no words of the policy about this step.
   * @param state a row whose prompt describes the state
   */
  ask(state: JudgedState, action: string): Question {
    const described = this.#described(state.text?.blocks ?? []);
    const blocks: Block[] = [...described, { name: "candidate", text: this.#question(action) }];
    const { text, tokens } = encodeContent(this.tokenizer, this.options.format, textOf(blocks));
    return { tokens, text: { blocks, text, hash: hashText64(text) } };
  }

  /** Where a prompt holds the whole episode, the start and the last few steps describe its state. */
  #described(all: readonly Block[]): Block[] {
    const blocks = all.filter(({ name }) => STATE_BLOCKS.has(name));
    const first = blocks.findIndex(({ name }) => name === "history");
    if (this.options.context === "step" || first < 0) return blocks;
    const steps = [...blocks.keys()].filter((at) => blocks[at].name === "history");
    // undefined where no step is asked for
    const from: number | undefined = steps[Math.max(0, steps.length - this.options.history)];
    return [...blocks.slice(0, first), ...blocks.slice(from ?? blocks.length - 1)];
  }

  #question(action: string): string {
    const { format, mode } = this.options;
    if (format !== "chat") return `judge : ${action}`;
    const asked = `Candidate action: ${action}\nIs this a good or a bad action here?`;
    return mode === "direct"
      ? `${asked} Answer with one word, good or bad.`
      : `${asked} Reason in one short sentence, then end with <judge>good</judge> or <judge>bad</judge>.`;
  }

  /** The verdict that an answer ends with; undefined where it has none, or was cut off. */
  parse(answer: readonly number[], finished: boolean): Verdict | undefined {
    if (!finished) return undefined;
    const text = this.tokenizer.decode([...answer], { skipSpecialTokens: true });
    const pattern =
      this.options.format === "chat" && this.options.mode === "think" ? VERDICT_TAG : VERDICT_WORD;
    return pattern.exec(text)?.[1] as Verdict | undefined;
  }

  /** What an answer says before its verdict. */
  reasoning(answer: readonly number[]): string {
    const text = this.tokenizer.decode([...answer], { skipSpecialTokens: true });
    return text.replace(VERDICT_TAG, "").replace(VERDICT_WORD, "").trim();
  }
}
