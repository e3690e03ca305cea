/** Answers read strictly and loosely. */
import { describe, expect, test } from "vitest";
import { commandSpan, parseAnswer, writeAnswer } from "../../src/rl/play/action.js";

test("a bare command is the whole answer", () => {
  expect(parseAnswer(" go to shelf 1 \n", "command")).toEqual({
    command: "go to shelf 1",
    isWellFormed: true,
  });
  expect(parseAnswer("<action>look</action>", "command").command).toBe("<action>look</action>");
});

describe("one thought, then one action", () => {
  test.each([
    ["<planning>to the shelf</planning><action>go to shelf 1</action>", "planning", "go to shelf 1"],
    ["Well. <monitor>\ntwo to go\n</monitor>\n<action> look </action> done", "monitor", "look"],
    ["<reflection>a <b> was wrong</reflection><action>open box 1</action>", "reflection", "open box 1"],
  ])("%s", (text, tag, command) => {
    const answer = parseAnswer(text, "tags");
    expect(answer).toMatchObject({ tag, command, isWellFormed: true });
    expect(answer.thought).toBe(answer.thought?.trim());
  });

  test.each([
    ["no tag", "<action>look</action>"],
    ["no action", "<explore>what is here</explore> look"],
    ["two tags", "<explore>a</explore><monitor>b</monitor><action>look</action>"],
    ["the same tag twice", "<explore>a</explore><explore>b</explore><action>look</action>"],
    ["two actions", "<explore>a</explore><action>look</action><action>look</action>"],
    ["a tag left open", "<explore>a<action>look</action>"],
    ["a second tag left open", "<explore>a</explore><planning><action>look</action>"],
    ["an action left open", "<explore>a</explore><action>look"],
    ["a stray closing tag", "<explore>a</explore><action>look</action></action>"],
    ["an empty thought", "<explore> </explore><action>look</action>"],
    ["an empty action", "<explore>a</explore><action> </action>"],
    ["the action first", "<action>look</action><explore>a</explore>"],
    ["the action within the thought", "<explore>a <action>look</action></explore>"],
    ["a tag of another kind", "<think>a</think><action>look</action>"],
    ["Chinese", "<explore>去</explore><action>look</action>"],
  ])("not with %s", (_, text) => {
    expect(parseAnswer(text, "tags").isWellFormed).toBe(false);
  });
});

test("the loose rule wants a pair of each kind and no more", () => {
  const loose = (text: string) => parseAnswer(text, "think", "loose");
  expect(loose("<think></think><action>look</action>")).toMatchObject({
    command: "look",
    isWellFormed: true,
  });
  expect(loose("<action>look</action><think>a</think><think>b</think>").isWellFormed).toBe(true);
  expect(loose("<action>look</action><action>wait</action><think>a</think>")).toMatchObject({
    command: "look",
    isWellFormed: true,
  });
  expect(loose("<think>a</think>look").isWellFormed).toBe(false);
  expect(loose("<action>look</action>").isWellFormed).toBe(false);
  expect(loose("<think>看</think><action>look</action>").isWellFormed).toBe(false);
  const tags = parseAnswer(
    "<monitor>a</monitor><planning>b</planning><action>look</action>",
    "tags",
    "loose",
  );
  expect(tags).toMatchObject({ tag: "monitor", thought: "a", isWellFormed: true });
});

test("a malformed answer has a command all the same, and its tag where there is one", () => {
  const text = `${"x".repeat(40)} take mug 1 from shelf 1`;
  expect(parseAnswer(text, "think").command).toBe(text.slice(-30));
  expect(parseAnswer("<planning>a</planning>", "tags")).toMatchObject({
    tag: "planning",
    isWellFormed: false,
  });
  expect(parseAnswer("", "tags")).toEqual({ command: "", isWellFormed: false });
});

test("the last 30 characters are trimmed; a thought alone has no step tag", () => {
  const text = `${"x".repeat(10)} ${"y".repeat(29)}`;
  expect(parseAnswer(text, "think").command).toBe("y".repeat(29));
  expect(parseAnswer("<think>a</think><action>look</action>", "think")).toEqual({
    command: "look",
    isWellFormed: true,
    thought: "a",
  });
});

test.each([
  ["planning go  to\tshelf 1", { command: "go to shelf 1", isWellFormed: true, tag: "planning" }],
  [" monitor look ", { command: "look", isWellFormed: true, tag: "monitor" }],
  ["explore", { command: "", isWellFormed: false, tag: "explore" }],
  ["look  explore", { command: "look  explore", isWellFormed: false }],
  ["", { command: "", isWellFormed: false }],
])("a step tag's word, then the command: %j", (text, answer) => {
  expect(parseAnswer(text, "tag")).toEqual(answer);
});

test.each([
  ["command", "take mug 1"],
  ["tag", "reflection take mug 1"],
  ["think", "<think>The next command is take mug 1.</think><action>take mug 1</action>"],
  ["tags", "<reflection>The next command is take mug 1.</reflection><action>take mug 1</action>"],
] as const)("an answer that is written is read back, as %s", (format, text) => {
  expect(writeAnswer("take mug 1", "reflection", format)).toBe(text);
  expect(parseAnswer(text, format)).toMatchObject({ command: "take mug 1", isWellFormed: true });
  expect(text.slice(...commandSpan(text, format))).toBe("take mug 1");
});

test("a bare command is the answer, however long", () => {
  expect(commandSpan("x".repeat(50), "command")).toEqual([0, 50]);
});
