/** The word tokenizer: exact round trips of game text, order of ids, reload from its own JSON. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { ArgumentError } from "../../src/core/errors.js";
import { Tokenizer, type TokenizerFiles } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { readRecordings, withRecordings } from "../support/alfworld_archive.js";

const texts = [
  "You are in the middle of a room. You see a mug 1, and a shelf 2.",
  "take mug 1 from shelf 2",
  "focus on inclined plane (unpainted wood surface)",
  "-= Welcome! =- Your task is to: don't touch the self-watering flower pot 3.",
];

/** What a program that reads the written files would have. */
function reloaded(files: TokenizerFiles): Tokenizer {
  return new Tokenizer(JSON.parse(JSON.stringify(files)) as TokenizerFiles);
}

const tokenizer = reloaded(buildWordTokenizer(texts, { numbersUpTo: 12 }));
const squeezed = (text: string) => text.trim().replace(/\s+/g, " ").toLowerCase();

test("commands come back exactly, one token a word", () => {
  expect(tokenizer.decode(tokenizer.encode("take mug 1 from shelf 2"))).toBe("take mug 1 from shelf 2");
  expect(tokenizer.encode("take mug 11 from shelf 12")).toHaveLength(6);
  for (const text of texts) expect(tokenizer.decode(tokenizer.encode(text))).toBe(squeezed(text));
});

test("the fixed tokens come first, then roles, then pieces by code unit", () => {
  const files = buildWordTokenizer(["b a, 1"], { roles: ["user", "policy"], specialTokens: ["<|good|>"] });
  const small = reloaded(files);
  const tokens = Array.from({ length: small.vocabularySize }, (_, id) => small.token(id));
  const special = ["<|pad|>", "<|unk|>", "<|end|>", "<|user|>", "<|policy|>", "<|good|>"];
  expect(tokens).toEqual([...special, "1", "a", "b", "\u2040,"]);
  expect([small.padTokenId, small.unkTokenId, small.eosTokenId]).toEqual([0, 1, 2]);
  expect(small.bosTokenId).toBeNull();
});

test("ids depend on the set of words alone", () => {
  const again = buildWordTokenizer([...texts, ...texts].reverse(), { numbersUpTo: 12 });
  expect(JSON.stringify(again)).toBe(JSON.stringify(buildWordTokenizer(texts, { numbersUpTo: 12 })));
});

test("the chat template writes role markers that are single tokens", () => {
  const text = tokenizer.applyChatTemplate(
    [
      { role: "user", content: "You see a mug 1." },
      { role: "assistant", content: "take mug 1" },
    ],
    { addGenerationPrompt: true },
  );
  expect(text).toBe("<|user|>You see a mug 1.<|end|><|assistant|>take mug 1<|end|><|assistant|>");
  const ids = tokenizer.encode(text);
  expect(ids.map((id) => tokenizer.token(id))).toEqual([
    ...["<|user|>", "you", "see", "a", "mug", "1", "\u2040.", "<|end|>"],
    ...["<|assistant|>", "take", "mug", "1", "<|end|>", "<|assistant|>"],
  ]);
  expect(tokenizer.decode(ids.slice(9, 13), { skipSpecialTokens: true })).toBe("take mug 1");
  expect(() => tokenizer.applyChatTemplate([{ role: "tool", content: "" }])).toThrow("unknown role tool");
});

test("unknown words become one unknown token, or are spelt", () => {
  expect(tokenizer.encode("take xylophone")).toEqual([tokenizer.tokenId("take"), 1]);
  const spelling = reloaded(buildWordTokenizer(texts, { characterFallback: true }));
  for (const text of ["take xylophone, 77!", "{mug} ~3#4", "## mug"]) {
    expect(spelling.encode(text)).not.toContain(1);
    expect(spelling.decode(spelling.encode(text))).toBe(text);
  }
});

test("case is kept on request", () => {
  const cased = reloaded(buildWordTokenizer(["focus on unknown substance B"], { lowercase: false }));
  expect(cased.decode(cased.encode("focus on unknown substance B"))).toBe("focus on unknown substance B");
  expect(cased.encode("Focus")).toEqual([1]);
});

test("every text that was shown comes back, whatever its characters", () => {
  const text = fc.string({ unit: "grapheme" }).filter((text) => !text.includes("\u2040"));
  fc.assert(
    fc.property(fc.array(text), (list) => {
      const built = reloaded(buildWordTokenizer(list, { lowercase: false }));
      for (const shown of list) {
        const expected = (shown.normalize("NFC").match(/\S+/g) ?? []).join(" ");
        expect(built.decode(built.encode(shown))).toBe(expected);
      }
    }),
  );
});

test("words that JavaScript treats specially are words", () => {
  const odd = "__proto__ constructor toString 1 10 2";
  const built = reloaded(buildWordTokenizer([odd], { lowercase: false }));
  expect(built.encode(odd)).not.toContain(1);
  expect(built.decode(built.encode(odd))).toBe(odd);
});

test("what cannot be built is named", () => {
  expect(() => buildWordTokenizer([], { roles: [] })).toThrow(ArgumentError);
  expect(() => buildWordTokenizer([], { roles: ["user", "user"] })).toThrow("<|user|>");
  expect(() => buildWordTokenizer([], { roles: ["it's"] })).toThrow("it's");
  expect(() => buildWordTokenizer([], { specialTokens: ["two words"] })).toThrow("two words");
  expect(() => buildWordTokenizer(["a \u2040b"])).toThrow("U+2040");
});

withRecordings.test("every command of recorded games comes back exactly", () => {
  const shown: string[] = [];
  const commands = new Set<string>();
  for (const { episodes } of readRecordings()) {
    for (const { initial, steps } of episodes) {
      shown.push(initial, ...steps.map(({ feedback }) => feedback));
      for (const { admissible } of steps) for (const command of admissible) commands.add(command);
    }
  }
  const built = reloaded(buildWordTokenizer([...shown, ...commands]));
  for (const command of commands) expect(built.decode(built.encode(command))).toBe(command);
  for (const text of shown) expect(built.decode(built.encode(text))).toBe(squeezed(text));
  expect(commands.size).toBeGreaterThan(100);
  expect(built.vocabularySize).toBeLessThan(1000);
});
