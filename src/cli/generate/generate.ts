/** `uncouple generate`: what a model writes after a prompt, to try a folder by hand. */
import { Option } from "@commander-js/extra-typings";
import { MANY } from "../../config/fields.js";
import { ConfigError } from "../../core/errors.js";
import type { Tokenizer } from "../../model/tokenizer.js";
import { wholeNumber } from "../kit/numbers.js";
import { collect, type Register } from "../kit/options.js";
import { samplingCommand, type Texts, withAnswerer } from "./answerer.js";

export const register: Register = (program, context) => {
  samplingCommand(program, "generate", "print what a model writes after prompts")
    .addOption(
      new Option("--prompt <text>", "text to go on from; may be given again")
        .argParser(collect)
        .makeOptionMandatory(),
    )
    .option("--samples <number>", "answers to each prompt", wholeNumber(1, MANY), 1)
    .option("--chat", "each prompt is a message of a user, in the model's chat template")
    .option("--json", "print one JSON object")
    .action(async (options) => {
      const { terminal } = context;
      const { samples, chat, prompt: texts, model } = options;
      if (texts.includes("")) {
        throw new ConfigError('[generate] prompt is empty: got "", expected a text. Give --prompt one.');
      }
      const promptsOf = (tokenizer: Tokenizer) =>
        texts.map((text) => (chat ? chatTokens(tokenizer, text, model) : tokenizer.encode(text)));
      const check = ({ tokenizer, checkLength }: Texts) => promptsOf(tokenizer).forEach(checkLength);
      await withAnswerer(options, context, check, async ({ tokenizer, answer }) => {
        const prompts = promptsOf(tokenizer);
        const all = prompts.flatMap((prompt) => Array.from({ length: samples }, () => prompt));
        const answers = await answer(all, 0);
        const results = answers.map(({ tokens, logProbs, finished }, index) => ({
          prompt: texts[Math.floor(index / samples)],
          text: tokenizer.decode(tokens, { skipSpecialTokens: true }),
          tokens,
          log_probs: logProbs,
          finished,
        }));
        if (options.json) {
          terminal.print(JSON.stringify({ answers: results }));
          return;
        }
        for (const { prompt, text } of results)
          terminal.print(results.length > 1 ? `--- ${prompt}\n${text}` : text);
      });
    });
};

function chatTokens(tokenizer: Tokenizer, content: string, model: string): readonly number[] {
  if (!tokenizer.hasChatTemplate) {
    throw new ConfigError(
      `[${model}] model has no chat template: got none in its tokenizer files, expected one for --chat. Leave --chat out.`,
    );
  }
  return tokenizer.encodeChat([{ role: "user", content }], { addGenerationPrompt: true }).tokens;
}
