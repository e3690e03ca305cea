/** The tokenizer wrapper on the real Qwen2.5 files, and what it says about broken ones. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { ArgumentError, DataError } from "../../src/core/errors.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { qwenFiles } from "./qwen_files.js";

const files = qwenFiles();
const qwen = new Tokenizer(files);

test("Qwen2.5 encodes as published", () => {
  expect(qwen.encode("Hello, world!")).toEqual([9707, 11, 1879, 0]);
  expect(qwen.encode("<|im_start|>")).toEqual([151644]);
  expect(qwen.encode("")).toEqual([]);
  expect(qwen.tokenId("<|im_end|>")).toBe(151645);
  expect(qwen.token(9707)).toBe("Hello");
});

test("special ids and size come from the files", () => {
  expect(qwen.eosTokenId).toBe(151645);
  expect(qwen.padTokenId).toBe(151643);
  expect(qwen.bosTokenId).toBeNull();
  expect(qwen.unkTokenId).toBeNull();
  expect(qwen.vocabularySize).toBe(151665);
});

test("any text comes back, special tokens only when asked for", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      // Qwen composes characters before it looks them up
      expect(qwen.decode(qwen.encode(text))).toBe(text.normalize("NFC"));
    }),
  );
  const ids = qwen.encode("<|im_start|>go west<|im_end|>");
  expect(qwen.decode(ids)).toBe("<|im_start|>go west<|im_end|>");
  expect(qwen.decode(ids, { skipSpecialTokens: true })).toBe("go west");
  expect(qwen.decode(Uint32Array.from(ids), { skipSpecialTokens: true })).toBe("go west");
});

test("ids beyond the tokens decode to nothing, other numbers are refused", () => {
  expect(qwen.decode([])).toBe("");
  expect(qwen.decode([151935])).toBe("");
  expect(qwen.decode([9707, 151900, 0])).toBe("Hello!");
  expect(() => qwen.decode([1.5])).toThrow(ArgumentError);
  expect(() => qwen.decode([-1])).toThrow("got -1");
});

const chat = [
  { role: "system", content: "You play." },
  { role: "user", content: "look" },
];

test("the chat template renders", () => {
  expect(qwen.applyChatTemplate(chat, { addGenerationPrompt: true })).toBe(
    "<|im_start|>system\nYou play.<|im_end|>\n<|im_start|>user\nlook<|im_end|>\n<|im_start|>assistant\n",
  );
  expect(qwen.applyChatTemplate(chat)).not.toContain("assistant");
  expect(qwen.encode(qwen.applyChatTemplate(chat)).filter((id) => id === 151644)).toHaveLength(2);
});

test("tools reach the template", () => {
  const tool = { type: "function", function: { name: "open", parameters: {} } };
  const text = qwen.applyChatTemplate(chat, { tools: [tool] });
  expect(text).toContain("<tools>\n");
  expect(text).toContain('"name": "open"');
});

/** A tokenizer of three tokens with this template: the real one takes half a second to build. */
const template = (chat_template: unknown, chatTemplate?: string) =>
  new Tokenizer(
    {
      tokenizerJson: {
        model: { type: "WordLevel", vocab: { go: 0, west: 1, "</s>": 2 } },
        pre_tokenizer: { type: "Whitespace" },
      },
      tokenizerConfig: { chat_template, eos_token: "</s>" },
      ...(chatTemplate !== undefined && { chatTemplate }),
    },
    "m/tokenizer.json",
  );

test("templates come from a file, or from a list with names", () => {
  const fromFile = template("from the configuration", "{{ eos_token }}{{ greeting }}");
  expect(fromFile.applyChatTemplate([], { variables: { greeting: "hi" } })).toBe("</s>hi");
  const named = template([
    { name: "default", template: "plain" },
    { name: "tool_use", template: "tools" },
  ]);
  expect(named.applyChatTemplate([])).toBe("plain");
  expect(named.applyChatTemplate([], { tools: [] })).toBe("tools");
});

test("a missing, broken or refusing template is named", () => {
  expect(template(undefined).hasChatTemplate).toBe(false);
  expect(() => template(undefined).applyChatTemplate(chat)).toThrow(DataError);
  expect(() => template(undefined).applyChatTemplate(chat)).toThrow(
    /^\[m\/tokenizer\.json\] chat template is missing.*chat_template\.jinja/,
  );
  expect(() => template("{% for %}").applyChatTemplate(chat)).toThrow("chat template failed");
  expect(() => template("{{ raise_exception('no system') }}").applyChatTemplate(chat)).toThrow("no system");
  expect(() => template("{{ strftime_now('%Y') }}").applyChatTemplate(chat)).toThrow("reads the clock");
});

test("broken files are named", () => {
  const build = (json: object, config: object = {}) => {
    const make = () =>
      new Tokenizer(
        {
          tokenizerJson: json as Record<string, unknown>,
          tokenizerConfig: config as Record<string, unknown>,
        },
        "m/tokenizer.json",
      );
    expect(make).toThrow(DataError);
    return expect(make);
  };
  build({}).toThrow("[m/tokenizer.json] tokenizer files are malformed");
  build([]).toThrow("malformed");
  build({ model: { type: "BPE", vocab: {}, merges: [] }, decoder: { type: "Nonsense" } }).toThrow("Nonsense");
  build({ model: { type: "WordLevel", vocab: { a: 0 } } }, { eos_token: "</s>" }).toThrow('no "</s>"');
});

test("a word outside a vocabulary without an unknown token is named", () => {
  const tokenizer = template(undefined);
  expect(tokenizer.encode("go west")).toEqual([0, 1]);
  expect(() => tokenizer.encode("go east")).toThrow('got "east"');
});

test("tokens may be given as objects, as older files do", () => {
  const eos_token = { __type: "AddedToken", content: "<|endoftext|>", lstrip: false };
  const tokenizer = new Tokenizer({ ...files, tokenizerConfig: { ...files.tokenizerConfig, eos_token } });
  expect(tokenizer.eosTokenId).toBe(151643);
});
