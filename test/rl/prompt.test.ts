/** Prompts block by block, and prompts of an episode as one text. */
import { describe, expect, test } from "vitest";
import { hashText64 } from "../../src/core/hash.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { EpisodePrompts } from "../../src/rl/play/episode_prompts.js";
import { PromptBuilder } from "../../src/rl/play/prompt.js";
import type { PromptOptions, PromptState, Turn } from "../../src/rl/play/prompt_state.js";

/** Every printable piece, so that any prompt can be encoded. */
const files = buildWordTokenizer(["a look"], { characterFallback: true, lowercase: false });
const tokenizer = new Tokenizer(files);
/** The same with a chat template as Qwen's is laid out: line feeds between messages. */
const chatml = new Tokenizer({
  ...files,
  chatTemplate:
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}" +
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
});
const endToken = tokenizer.eosTokenId as number;

const opening =
  "-= Welcome to TextWorld, ALFRED! =-\n\nYou see a shelf 1.\n\nYour task is to: put a mug on the shelf.";
const turn = (n: number): Turn => ({ observation: n === 1 ? opening : `You see ${n}.`, action: `act ${n}` });
const state = (turns: readonly Turn[], given: Partial<PromptState> = {}): PromptState => ({
  task: "put a mug on the shelf.",
  opening,
  turns,
  observation: turns.length === 0 ? opening : `You see ${turns.length + 1}.`,
  admissibleCommands: ["look", "go to shelf 1"],
  ...given,
});

function blocks(options: Partial<PromptOptions>, of: PromptState): [string, string][] {
  const builder = new PromptBuilder(tokenizer, {
    format: "message",
    history: 2,
    admissible: false,
    ...options,
  });
  return builder.build(of).blocks.map(({ name, text }) => [name, text]);
}

const three = [turn(1), turn(2), turn(3)];

describe("plain prompts", () => {
  test("show task, what is hidden of the start, the last steps and the present", () => {
    expect(blocks({}, state([]))).toEqual([
      ["task", "put a mug on the shelf."],
      ["observation", "You see a shelf 1."],
    ]);
    expect(blocks({}, state(three))).toEqual([
      ["task", "put a mug on the shelf."],
      ["room", "You see a shelf 1."],
      ["history", "You see 2.\n> act 2"],
      ["history", "You see 3.\n> act 3"],
      ["observation", "You see 4."],
    ]);
    // the opening is itself among the steps shown
    expect(blocks({ history: 3 }, state(three))[1]).toEqual(["history", "You see a shelf 1.\n> act 1"]);
  });

  test("options add blocks in their places", () => {
    const all = { history: 1, past_actions: true, admissible: true };
    expect(blocks(all, state(three, { instructions: "Look first." }))).toEqual([
      ["task", "put a mug on the shelf."],
      ["instructions", "Look first."],
      ["room", "You see a shelf 1."],
      ["history", "> act 1"],
      ["history", "> act 2"],
      ["history", "You see 3.\n> act 3"],
      ["observation", "You see 4."],
      ["admissible", "look ; go to shelf 1"],
    ]);
  });

  test("a task that the opening does not hold leaves the opening whole", () => {
    const other = state([], { task: "boil water", opening: "A kitchen.", observation: "A kitchen." });
    expect(blocks({}, other)).toEqual([
      ["task", "boil water"],
      ["observation", "A kitchen."],
    ]);
  });
});

describe("chat prompts", () => {
  const names = (options: Partial<PromptOptions>, of: PromptState) =>
    blocks({ format: "chat", ...options }, of).map(([name]) => name);

  test("blocks come in the order of verl-agent's and RLVMR's prompts", () => {
    expect(names({ answer: "think", admissible: true }, state([]))).toEqual([
      "task",
      "observation",
      "admissible",
      "answer_format",
    ]);
    const told = state(three, { instructions: "Look first." });
    expect(names({ answer: "think", admissible: true }, told)).toEqual([
      "task",
      "instructions",
      "room",
      "history",
      "observation",
      "admissible",
      "answer_format",
    ]);
    expect(names({ answer: "tags", admissible: true, recent_answers: 3, history: 9 }, told)).toEqual([
      "task",
      "instructions",
      "history",
      "answers",
      "observation",
      "admissible",
      "plan",
      "answer_format",
    ]);
    expect(names({ wording: "scienceworld" }, state([])).slice(0, 2)).toEqual(["task", "commands"]);
  });

  test("say what they mean", () => {
    const text = blocks({ format: "chat", history: 2, past_actions: true }, state(three)).map(([, t]) => t);
    expect(text.join("\n")).toBe(
      "You act in a text world. Your task: put a mug on the shelf.\n" +
        "The world at the start: You see a shelf 1.\n" +
        "Step 1. You did: act 1\nStep 2. You saw: You see 2.\nYou did: act 2\nStep 3. You saw: You see 3.\nYou did: act 3\n" +
        "Step 4. You see: You see 4.\nAnswer with one command and nothing else.",
    );
    const planned = [{ ...turn(1), answer: "<planning>mug first</planning>", plan: "mug first" }, turn(2)];
    const tagged = new Map(blocks({ format: "chat", answer: "tags", recent_answers: 1 }, state(planned)));
    expect(tagged.get("plan")).toBe("Your plan so far: mug first. Keep to it while it holds.");
    expect(tagged.get("answers")).toBe("Your last answers were:\nact 2");
    for (const tag of ["planning", "explore", "reflection", "monitor", "action"])
      expect(tagged.get("answer_format")).toMatch(new RegExp(`<${tag}>.*</${tag}>`));
  });
});

test("a prompt that is too long loses its oldest steps, never its commands, and then is an error", () => {
  const of = state([1, 2, 3, 4, 5].map(turn));
  const options = { format: "message", history: 5, admissible: true } as const;
  const whole = new PromptBuilder(tokenizer, options).build(of);
  const short = new PromptBuilder(tokenizer, { ...options, max_tokens: whole.tokens.length - 1 }).build(of);
  expect(short.tokens.length).toBeLessThan(whole.tokens.length);
  expect(short.blocks.filter(({ name }) => name === "history").length).toBe(4);
  const none = new PromptBuilder(tokenizer, { ...options, history: 0 }).build(of);
  const least = new PromptBuilder(tokenizer, { ...options, max_tokens: none.tokens.length }).build(of);
  expect(least).toEqual(none);
  expect(least.blocks.at(-1)?.name).toBe("admissible");
  const tight = new PromptBuilder(tokenizer, { ...options, max_tokens: none.tokens.length - 1 });
  expect(() => tight.build(of)).toThrow(/too long without any past step/);
});

describe.each([
  ["word tokenizer", tokenizer, ""],
  ["template with line feeds", chatml, "\n"],
])("an episode as one text, %s", (_, used, gap) => {
  const start = { task: "put a mug on the shelf.", opening };
  const encode = (text: string) => used.encode(text);

  test("every prompt is the one before, the answer's own tokens, and what the world said", () => {
    const builder = new PromptBuilder(used, {
      format: "message",
      history: 0,
      admissible: true,
      context: "episode",
    });
    const episode = new EpisodePrompts(builder, start);
    const first = episode.next(opening, ["look"]);
    // an answer as no tokenizer would split it
    const answer = [...["l", "\u2040o", "\u2040o", "\u2040k"].map((piece) => used.tokenId(piece)), endToken];
    expect(encode("look").length).toBe(1);
    expect(episode.answered(answer).command).toBe("look");
    const second = episode.next("You see 2.", ["go"]);
    const said = encode(`${gap}<|user|>${gap}You see 2.\ngo<|end|>${gap}<|assistant|>${gap}`);
    expect(second.tokens).toEqual([...first.tokens, ...answer, ...said]);
    // an answer that was cut off has no end of its own
    const cut = encode("go");
    episode.answered(cut);
    const third = episode.next(opening, ["go"]);
    const rest = encode(`<|end|>${gap}<|user|>${gap}You see a shelf 1.\ngo<|end|>${gap}<|assistant|>${gap}`);
    expect(third.tokens).toEqual([...second.tokens, ...cut, ...rest]);
    expect(third.hash).toBe(hashText64(third.text));
    expect(third.text.startsWith(second.text)).toBe(true);
    expect(third.blocks.map(({ name }) => name).join(" ")).toBe(
      "task observation admissible history observation admissible history observation admissible",
    );
  });
});

test("a template that hides answers is refused for episodes as one text", () => {
  const hiding = new Tokenizer({
    ...files,
    chatTemplate:
      "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}",
  });
  const builder = new PromptBuilder(hiding, {
    format: "message",
    history: 0,
    admissible: false,
    context: "episode",
  });
  expect(() => builder.continuation("text", endToken)).toThrow(/chat template changes messages/);
});
