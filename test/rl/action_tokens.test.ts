/** Which tokens of an answer are the action, letter by letter and with real tokenizers. */
import { expect, test } from "vitest";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { type AnswerFormat, parseAnswer } from "../../src/rl/play/action.js";
import { actionTokenMask } from "../../src/rl/play/action_tokens.js";

/** A token a piece of text; -1 is an end token, which has none. */
function masked(pieces: readonly string[], format: AnswerFormat): string[] {
  const tokens = [...pieces.keys()];
  const decode = (ids: readonly number[]) => ids.map((id) => pieces[id]).join("");
  const mask = actionTokenMask(tokens, decode, format);
  return pieces.filter((_, t) => mask[t] === 1);
}

test("inside <action>, tokens across its border included, tags and thoughts and the end left out", () => {
  const pieces = ["<think>", "the ", "lamp", "</think>", "<act", "ion>", "go to", " lamp", "</action>", ""];
  expect(masked(pieces, "think")).toEqual(["go to", " lamp"]);
  expect(masked(["<planning>x</planning><action", ">go", " up<", "/action>"], "tags")).toEqual([
    ">go",
    " up<",
  ]);
});

test("the word of a step tag is none of the command; where the command ends is a part of it", () => {
  expect(masked(["explore", " go", " to", " shelf", ""], "tag")).toEqual([" go", " to", " shelf", ""]);
  expect(masked([" go", " to", ""], "tag")).toEqual([" go", " to", ""]);
  expect(masked(["go", " to", ""], "command")).toEqual(["go", " to", ""]);
  // a token without text before the end is no part of it
  expect(masked(["", "go", ""], "command")).toEqual(["go", ""]);
});

test("an answer without an action has its last 30 characters as the command, as it is sent", () => {
  const text = "I do not know what to do here, so I look around";
  const letters = [...text];
  expect(masked(letters, "tags").join("")).toBe(parseAnswer(text, "tags").command);
  expect(masked([...letters, "  "], "tags").join("")).toBe(text.slice(-30));
});

test("with a word tokenizer the masked tokens decode to the command", () => {
  const tokenizer = new Tokenizer(buildWordTokenizer(["planning go to shelf 1", "explore"]));
  const answer = [...tokenizer.encode("planning go to shelf 1"), tokenizer.eosTokenId as number];
  const decode = (ids: readonly number[]) => tokenizer.decode(ids, { skipSpecialTokens: true });
  const mask = actionTokenMask(answer, decode, "tag");
  expect(mask).toEqual([0, 1, 1, 1, 1, 1]);
  expect(decode(answer.filter((_, t) => mask[t] === 1))).toBe("go to shelf 1");
});
