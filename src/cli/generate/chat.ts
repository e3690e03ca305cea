/** `uncouple chat`: messages typed or piped in, one a line, answered in the model's chat template. */
import { ConfigError } from "../../core/errors.js";
import type { ChatMessage } from "../../model/tokenizer.js";
import type { Register } from "../kit/options.js";
import { samplingCommand, type Texts, withAnswerer } from "./answerer.js";

const QUIT = "quit";
const AGAIN = "new";

export const register: Register = (program, context) => {
  samplingCommand(program, "chat", "talk with a model, one message a line")
    .option("--system <text>", "system message (default: the one of the model's template, if it has one)")
    .action(async (options) => {
      const { terminal } = context;
      const opening: readonly ChatMessage[] =
        options.system === undefined ? [] : [{ role: "system", content: options.system }];
      const check = ({ tokenizer, checkLength }: Texts) => {
        if (!tokenizer.hasChatTemplate) {
          throw new ConfigError(
            `[${options.model}] model has no chat template: got none in its tokenizer files, expected one. Use \`uncouple generate\`.`,
          );
        }
        const shortest: readonly ChatMessage[] = [...opening, { role: "user", content: "-" }];
        checkLength(tokenizer.encodeChat(shortest, { addGenerationPrompt: true }).tokens);
      };
      await withAnswerer(options, context, check, async ({ tokenizer, answer }) => {
        if (terminal.isPrompted) terminal.info(`${AGAIN} begins another conversation, ${QUIT} ends.\n`);
        let messages = [...opening];
        let turn = 0;
        for await (const line of terminal.lines("> ", () => [AGAIN, QUIT])) {
          const content = line.trim();
          if (content === QUIT) break;
          if (content === AGAIN) messages = [...opening];
          if (content === AGAIN || content === "") continue;
          messages.push({ role: "user", content });
          const { tokens } = tokenizer.encodeChat(messages, { addGenerationPrompt: true });
          // the template may write earlier answers otherwise than they were sampled, so each prompt is computed whole
          const [{ tokens: answered }] = await answer([tokens], turn++);
          const text = tokenizer.decode(answered, { skipSpecialTokens: true });
          messages.push({ role: "assistant", content: text });
          terminal.print(text);
        }
      });
    });
};
