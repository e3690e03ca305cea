/** Which tokens of an answer are the action, and which are the thought and the tags around it. */
import { type AnswerFormat, commandSpan } from "./action.js";

/**
 * 1 for tokens of the command, 0 for tags and thoughts. A token that holds a part of both is the command's. What follows the
 * last character, the end token for one, counts where the command itself is the end of the answer: it says where it stops.
 * @param tokens of the answer
 * @param decode tokens to text, special tokens left out
 * @returns as many as tokens
 */
export function actionTokenMask(
  tokens: readonly number[],
  decode: (tokens: readonly number[]) => string,
  format: AnswerFormat,
): number[] {
  const [start, end] = commandSpan(decode(tokens), format);
  const isOpen = format === "command" || format === "tag";
  let before = 0;
  return tokens.map((_, t) => {
    const after = decode(tokens.slice(0, t + 1)).length;
    const counts = after > before ? after > start && before < end : isOpen && before >= end;
    before = after;
    return Number(counts);
  });
}
