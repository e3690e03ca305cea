import { describe, expect, test } from "vitest";
import { householdWorld } from "../../src/env/household/world.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { JUDGE_WORDS, Judge, type JudgeOptions } from "../../src/rl/gcd/judge.js";
import { isHeldOut } from "../../src/rl/gcd/stream.js";
import { expertRows } from "../../src/rl/loop/imitation.js";
import { PromptBuilder } from "../../src/rl/play/prompt.js";
import type { Block } from "../../src/rl/play/prompt_state.js";

const words = [
  "find the mug . You are in a room see desk 1 2 open go to avoid : look after Nothing happens",
  "plan SECRET answer thought > ;",
  ...JUDGE_WORDS,
];
const tokenizer = new Tokenizer(buildWordTokenizer(words, { roles: ["user", "assistant"] }));
const options: JudgeOptions = { format: "plain", mode: "direct", context: "step", history: 1 };
const judgeOf = (change: Partial<JudgeOptions> = {}) => new Judge(tokenizer, { ...options, ...change });

const blocks: readonly Block[] = [
  { name: "task", text: "find the mug" },
  { name: "instructions", text: "avoid : look after Nothing happens" },
  { name: "history", text: "You are in a room\n> look" },
  { name: "answers", text: "SECRET thought" },
  { name: "observation", text: "You see desk 1" },
  { name: "plan", text: "plan SECRET" },
  { name: "answer_format", text: "answer SECRET" },
];
/** A row that knows how it ended. */
const state = {
  text: { blocks, text: "", hash: "" },
  outcome: 10,
  stepReward: 1,
  advantage: 2,
  parts: { step: 2 },
};

describe("questions to the judge", () => {
  test("hold the state and the action, and nothing of what the label is made of", () => {
    const { text, tokens } = judgeOf().ask(state, "open desk 1");
    expect(text.blocks.map(({ name }) => name)).toEqual([
      "task",
      "instructions",
      "history",
      "observation",
      "candidate",
    ]);
    expect(text.blocks.at(-1)?.text).toBe("judge : open desk 1");
    for (const trace of ["SECRET", "10", "good", "bad", "reward", "advantage"])
      expect(text.text).not.toContain(trace);
    expect(tokens).toEqual(tokenizer.encode(text.text));
    // nothing but the action differs between the two questions of a pair
    const other = judgeOf().ask(state, "look");
    expect(other.text.blocks.slice(0, -1)).toEqual(text.blocks.slice(0, -1));
    expect(other.text.hash).not.toBe(text.hash);
  });

  test("of a whole episode show its start and its last steps", () => {
    const episode: Block[] = [
      { name: "task", text: "find the mug" },
      { name: "observation", text: "You are in a room" },
      ...[1, 2].flatMap((n): Block[] => [
        { name: "history", text: `> go to desk ${n}` },
        { name: "observation", text: `You see desk ${n}` },
      ]),
    ];
    const shown = (history: number) =>
      judgeOf({ context: "episode", history })
        .ask({ text: { blocks: episode, text: "", hash: "" } }, "look")
        .text.blocks.map(({ text }) => text);
    const [start, end] = [["find the mug", "You are in a room"], "judge : look"];
    expect(shown(0)).toEqual([...start, "You see desk 2", end]);
    expect(shown(1)).toEqual([...start, "> go to desk 2", "You see desk 2", end]);
    expect(shown(5)).toHaveLength(7);
  });

  test("verdicts are one token each, or the judge cannot be opened", () => {
    const { good, bad } = judgeOf().verdictTokens;
    expect(tokenizer.decode([good, bad])).toBe("good bad");
    const without = new Tokenizer(buildWordTokenizer(["red"], { roles: ["user", "assistant"] }));
    expect(() => new Judge(without, options)).toThrow(/verdict "good" is no token of its own/);
  });

  test("a whole episode keeps the blocks before its steps; without steps, or read by steps, all blocks are shown", () => {
    const named = (names: readonly Block["name"][]) =>
      names.map((name, at): Block => ({ name, text: `look ${at}` }));
    const shown = (names: readonly Block["name"][], change: Partial<JudgeOptions>) =>
      judgeOf(change)
        .ask({ text: { blocks: named(names), text: "", hash: "" } }, "look")
        .text.blocks.slice(0, -1)
        .map(({ text }) => text);
    const two = [
      "task",
      "observation",
      "history",
      "observation",
      "history",
      "observation",
      "admissible",
    ] as const;
    expect(shown(two, { context: "episode", history: 1 })).toEqual([
      "look 0",
      "look 1",
      "look 4",
      "look 5",
      "look 6",
    ]);
    expect(shown(two, { context: "step" })).toHaveLength(7);
    expect(shown(["task", "room", "observation"], { context: "episode" })).toHaveLength(3);
    // steps from the very start
    expect(shown(["history", "observation", "history", "observation"], { context: "episode" })).toEqual([
      "look 2",
      "look 3",
    ]);
    expect(judgeOf().ask({ text: undefined }, "look").text.text).toBe("judge : look");
  });

  test("answers are read strictly", () => {
    const judge = judgeOf({ mode: "think" });
    const said = (text: string, finished = true) => judge.parse(tokenizer.encode(text), finished);
    expect(said("open desk 1 good")).toBe("good");
    expect(said("bad")).toBe("bad");
    expect(said("bad", false)).toBeUndefined();
    expect(said("good look")).toBeUndefined();
    expect(judge.reasoning(tokenizer.encode("open desk 1 bad"))).toBe("open desk 1");
    // the end token is no word
    const ended = [...tokenizer.encode("open desk 1 bad"), tokenizer.eosTokenId as number];
    expect(judge.parse(ended, true)).toBe("bad");
    expect(judge.reasoning(ended)).toBe("open desk 1");
  });

  test("two verdicts of one token are refused, and words of several tokens", () => {
    const spelled = { encode: (word: string) => [...word].map((_, at) => at), decode: () => "good" };
    expect(() => new Judge(spelled as unknown as Tokenizer, options)).toThrow(
      /got 4 tokens "good", expected one\. Use a tokenizer that has it/,
    );
    let word = "";
    const same = {
      encode: (text: string) => {
        word = text;
        return [7];
      },
      decode: () => ` ${word}`,
    };
    expect(() => new Judge(same as unknown as Tokenizer, options)).toThrow(
      /"good" and "bad" are the same token/,
    );
  });
});

describe("a chat model as judge", () => {
  /** Text is its own tokens: one for each letter, one for each verdict. */
  const letters = {
    encode: (text: string) =>
      /^(good|bad)$/.test(text) ? [text === "good" ? 1 : 2] : [...text].map((c) => c.charCodeAt(0)),
    decode: (tokens: readonly number[]) =>
      tokens.map((token) => ["", "good", "bad"][token] ?? String.fromCharCode(token)).join(""),
    encodeChat: (messages: readonly { content: string }[]) => ({ text: messages[0].content, tokens: [9] }),
  } as unknown as Tokenizer;
  const chat = (mode: JudgeOptions["mode"]) => new Judge(letters, { ...options, format: "chat", mode });
  const said = (text: string) => chat("think").parse(letters.encode(text), true);

  test("is asked in words", () => {
    const asked = (mode: JudgeOptions["mode"]) =>
      chat(mode).ask({ text: undefined }, "open desk 1").text.text;
    const question = "Candidate action: open desk 1\nIs this a good or a bad action here?";
    expect(asked("direct")).toBe(`${question} Answer with one word, good or bad.`);
    expect(asked("think")).toBe(
      `${question} Reason in one short sentence, then end with <judge>good</judge> or <judge>bad</judge>.`,
    );
  });

  test.each([
    ["it is shut <judge>bad</judge>", "bad"],
    ["<judge>  good\n</judge>\n ", "good"],
    ["it is good", undefined],
    ["<judge>bad</judge> or not", undefined],
    ["<judge>very bad</judge>", undefined],
    ["<judge>badly</judge>", undefined],
    ["<judge>bad</judge>!", undefined],
  ])("thinks, then answers in its tags: %j", (text, verdict) => {
    expect(said(text)).toBe(verdict);
  });

  test("answers with a bare word where it is not asked to think, and its words are what stands before", () => {
    expect(chat("direct").parse(letters.encode("it is  good \n"), true)).toBe("good");
    expect(chat("direct").parse(letters.encode("<judge>good</judge>"), true)).toBeUndefined();
    expect(chat("direct").parse(letters.encode("so good!"), true)).toBeUndefined();
    expect(chat("think").reasoning(letters.encode(" it is shut  <judge> bad </judge> \n"))).toBe(
      "it is shut",
    );
    expect(chat("think").reasoning(letters.encode("it is shut bad"))).toBe("it is shut");
  });
});

test("the expert asks about its own action and about one that brings nothing, on tasks that may be trained on", async () => {
  const world = householdWorld({ seed: 2, difficulty: "easy", sizes: { train: 12 } });
  const tokens = new Tokenizer(
    buildWordTokenizer([...((await world.sampleTexts?.()) ?? []), ...JUDGE_WORDS, ": ; >"], {
      roles: ["user", "assistant"],
    }),
  );
  const prompts = new PromptBuilder(tokens, { format: "plain", history: 1, admissible: false });
  const judge = new Judge(tokens, options);
  const deps = { world, prompts, endToken: tokens.eosTokenId as number };
  const shared = { seed: 0, detours: 0.3, maxSteps: 30 };
  const rows = await expertRows(deps, world.tasks("train"), { ...shared, questions: { share: 0.3, judge } });
  const asked = rows.filter(({ answer }) => answer.length === 1);
  const verdicts = asked.map(({ answer }) => (answer[0] === judge.verdictTokens.good ? "good" : "bad"));
  expect(asked.length).toBeGreaterThan(8);
  expect(verdicts.filter((verdict) => verdict === "good")).toHaveLength(asked.length / 2);
  expect(asked.filter(({ taskId }) => isHeldOut(taskId))).toEqual([]);
  expect(asked.length / rows.length).toBeGreaterThan(0.1);
  // the walk itself is the same as without questions
  const walked = await expertRows(deps, world.tasks("train"), shared);
  expect(rows.filter(({ answer }) => answer.length > 1)).toEqual(walked);
});
