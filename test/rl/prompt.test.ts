/** Prompts block by block, and prompts of an episode as one text. */
import { describe, expect, test } from "vitest";
import { hashText64 } from "../../src/core/hash.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { EpisodePrompts } from "../../src/rl/play/episode_prompts.js";
import { encodeContent, PromptBuilder } from "../../src/rl/play/prompt.js";
import { blocksOf, nextBlocks } from "../../src/rl/play/prompt_blocks.js";
import {
  type PromptOptions,
  type PromptState,
  roomOf,
  type Turn,
  taskOf,
} from "../../src/rl/play/prompt_state.js";

/** Every printable piece, so that any prompt can be encoded. */
const files = buildWordTokenizer(["a look"], { characterFallback: true, lowercase: false });
const tokenizer = new Tokenizer(files);
/** A chat template as Qwen's is laid out: line feeds between messages. */
const chatTemplate =
  "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}";
const chatml = new Tokenizer({ ...files, chatTemplate });
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
    // what can be done is told by a list or by forms
    expect(names({}, state([])).slice(0, 2)).toEqual(["task", "commands"]);
    expect(names({ wording: "scienceworld", admissible: true }, state([]))).not.toContain("commands");
    const unlisted = state(three, { instructions: "Look first.", admissibleCommands: [] });
    expect(names({ wording: "scienceworld", admissible: true }, unlisted)).toEqual([
      "task",
      "commands",
      "instructions",
      "room",
      "history",
      "observation",
      "answer_format",
    ]);
  });

  test("say what they mean", () => {
    const told = { format: "chat", history: 2, past_actions: true, admissible: true } as const;
    const text = blocks(told, state(three, { admissibleCommands: ["look", "help", "go to shelf 1"] }));
    expect(text.map(([, t]) => t).join("\n")).toBe(
      "You act in a text world. Your task: put a mug on the shelf.\n" +
        "The world at the start: You see a shelf 1.\n" +
        "Step 1. You did: act 1\nStep 2. You saw: You see 2.\nYou did: act 2\nStep 3. You saw: You see 3.\nYou did: act 3\n" +
        "Step 4. You see: You see 4.\nCommands possible now:\nlook\ngo to shelf 1\nAnswer with one command and nothing else.",
    );
    const planned = [{ ...turn(1), answer: "<planning>mug first</planning>", plan: "mug first" }, turn(2)];
    const tagged = new Map(blocks({ format: "chat", answer: "tags", recent_answers: 1 }, state(planned)));
    expect(tagged.get("plan")).toBe("Your plan so far: mug first. Keep to it while it holds.");
    expect(tagged.get("answers")).toBe("Your last answers were:\nact 2");
    for (const tag of ["planning", "explore", "reflection", "monitor", "action"])
      expect(tagged.get("answer_format")).toMatch(new RegExp(`<${tag}>.*</${tag}>`));
  });
});

describe("a prompt that is too long", () => {
  const of = state([1, 2, 3, 4, 5].map(turn));
  const options = { format: "message", history: 5, admissible: true } as const;

  test("loses its oldest steps, never its commands, and then is an error", () => {
    const whole = new PromptBuilder(tokenizer, options).build(of);
    const short = new PromptBuilder(tokenizer, { ...options, max_tokens: whole.tokens.length - 1 }).build(of);
    expect(short.tokens.length).toBeLessThan(whole.tokens.length);
    expect(short.blocks.filter(({ name }) => name === "history").length).toBe(4);
    expect([whole.isShortened, short.isShortened]).toEqual([undefined, true]);
    const none = new PromptBuilder(tokenizer, { ...options, history: 0 }).build(of);
    const least = new PromptBuilder(tokenizer, { ...options, max_tokens: none.tokens.length }).build(of);
    expect(least).toEqual({ ...none, isShortened: true });
    expect(least.blocks.at(-1)?.name).toBe("admissible");
    const tight = new PromptBuilder(tokenizer, { ...options, max_tokens: none.tokens.length - 1 });
    const most = none.tokens.length - 1;
    expect(() => tight.build(of)).toThrow(
      `[prompt] too long without any past step: got ${most + 1} tokens, expected at most ${most}. Raise prompt.max_tokens.`,
    );
    expect(tight.buildWithin(of, 10_000)).toBeUndefined();
    // a model that reads no more bounds it, too
    const unbounded = new PromptBuilder(tokenizer, options);
    expect(unbounded.build(of, none.tokens.length)).toEqual(least);
    expect(() => unbounded.build(of, most)).toThrow(/Lower grpo\.max_completion_length/);
  });

  test("shows the most that fits: observations go first, then answers, then actions, the oldest of each first", () => {
    const answered = of.turns.map((one, index) => ({
      ...one,
      answer: `<think>why ${index + 1}</think><action>${one.action}</action>`,
    }));
    const told = state(answered, { instructions: "Look first." });
    const chat = {
      format: "chat",
      answer: "think",
      history: 3,
      recent_answers: 2,
      past_actions: true,
      admissible: true,
    } as const;
    const build = (given: Partial<PromptOptions>) =>
      new PromptBuilder(tokenizer, { ...chat, ...given }).build(told);
    // every way to show less, by the settings that ask for just that
    const fewer = [
      chat,
      { history: 2 },
      { history: 1 },
      { history: 0 },
      { history: 0, recent_answers: 1 },
      { history: 0, recent_answers: 0 },
    ].map(build);
    for (const [index, { tokens, blocks }] of fewer.entries()) {
      const before = index === 0 ? Number.POSITIVE_INFINITY : fewer[index - 1].tokens.length;
      expect(tokens.length).toBeLessThan(before);
      for (const limit of index === 0 ? [tokens.length] : [tokens.length, before - 1])
        expect(build({ max_tokens: limit }).tokens).toEqual(tokens);
      expect(blocks.find(({ name }) => name === "admissible")?.text).toContain("go to shelf 1");
    }
    const actions = (limit: number) =>
      build({ max_tokens: limit })
        .blocks.filter(({ name }) => name === "history")
        .map(({ text }) => text.match(/You did/g)?.length)[0];
    const last = fewer[5].tokens.length;
    expect(actions(last)).toBe(5);
    expect(actions(last - 1)).toBe(4);
    const bare = build({ history: 0, recent_answers: 0, past_actions: false });
    expect(build({ max_tokens: bare.tokens.length }).tokens).toEqual(bare.tokens);
    const oneAction = build({ max_tokens: bare.tokens.length + 20 });
    expect(oneAction.text).toContain("Step 5. You did: act 5");
    expect(oneAction.text).not.toContain("Step 3.");
  });
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

describe("texts of the world", () => {
  test("the task is what is given, else what stands behind the marker, else all of it", () => {
    expect(taskOf({ opening, task: "boil water" })).toBe("boil water");
    expect(taskOf({ opening })).toBe("put a mug on the shelf.");
    expect(taskOf({ opening: " A kitchen. " })).toBe("A kitchen.");
    expect(taskOf({ opening: "Your task is to: wait" })).toBe("wait");
  });

  test("the room is the rest, without banner", () => {
    expect(roomOf({ opening })).toBe("You see a shelf 1.");
    expect(roomOf({ opening: "-= Hello =-You see.", task: "" })).toBe("You see.");
    // what looks like a banner later on is none; an empty task takes nothing away
    expect(roomOf({ opening: "A -= sign =-   here", task: "" })).toBe("A -= sign =-   here");
    expect(roomOf({ opening: "wait. You see.", task: "wait." })).toBe("You see.");
    // a task that it does not name takes nothing away
    expect(roomOf({ opening: "A kitchen.", task: "boil" })).toBe("A kitchen.");
    // the last mention is the task
    expect(roomOf({ opening: "look. You see. look.", task: "look." })).toBe("look. You see.");
  });
});

describe("chat prompts, word for word", () => {
  const chat = (options: Partial<PromptOptions>, of: PromptState) =>
    new Map(blocks({ format: "chat", ...options }, of));

  test("commands are listed line by line", () => {
    const listed = "Commands possible now:\nlook\ngo to shelf 1";
    expect(chat({ admissible: true }, state([])).get("admissible")).toBe(listed);
    const next = { observation: "You see 2.", admissibleCommands: ["look", "go"] };
    expect(nextBlocks(next, { format: "chat", history: 0, admissible: true })).toEqual([
      { name: "observation", text: "You see 2." },
      { name: "admissible", text: "Commands possible now:\nlook\ngo" },
    ]);
    expect(nextBlocks(next, { format: "plain", history: 0, admissible: false })).toHaveLength(1);
    // a list of nothing is left out of chat prompts alone
    const unlisted = { observation: "You see 2.", admissibleCommands: [] };
    expect(nextBlocks(unlisted, { format: "chat", history: 0, admissible: true })).toHaveLength(1);
    expect(nextBlocks(unlisted, { format: "message", history: 0, admissible: true })[1]).toEqual({
      name: "admissible",
      text: "",
    });
  });

  test("help is listed where it is a command like others", () => {
    const of = state([], { admissibleCommands: ["look", "help"] });
    const listed = (wording: PromptOptions["wording"]) =>
      chat({ admissible: true, wording }, of).get("admissible");
    expect(listed("scienceworld")).toBe("Commands possible now:\nlook\nhelp");
    expect(listed("household")).toBe("Commands possible now:\nlook");
  });

  test("actions alone are numbered by their steps where the first ones are left out", () => {
    const options = { format: "chat", history: 1, past_actions: true, admissible: false } as const;
    const shown = blocksOf(state([1, 2, 3, 4].map(turn)), options, { history: 1, answers: 0, actions: 2 });
    expect(shown.find(({ name }) => name === "history")?.text).toBe(
      "Step 2. You did: act 2\nStep 3. You did: act 3\nStep 4. You saw: You see 4.\nYou did: act 4",
    );
  });

  test("forms of answers", () => {
    const asked = (answer: PromptOptions["answer"]) => chat({ answer }, state([])).get("answer_format");
    expect(asked("think")).toBe(
      "First think about what to do, between <think> and </think>. Then give one command of those possible, between " +
        "<action> and </action>.",
    );
    expect(asked("tag")).toBe(
      "Answer with the kind of the step, planning, explore, reflection, monitor, and then one command.",
    );
    expect(asked("tags")).toBe(
      "First say in one short sentence what this step is for, in exactly one of these tags:\n" +
        "<planning> the steps that lead to the goal, at the start or when the plan has to change </planning>\n" +
        "<explore> what is still unknown and where you look for it </explore>\n" +
        "<reflection> what went wrong in the step before and what you do about it </reflection>\n" +
        "<monitor> how far you are in your plan </monitor>\n" +
        "Then give exactly one command, with the names as you read them, between <action> and </action>.",
    );
  });

  test("plans are shown where prompts are written anew, and only for answers that can have one", () => {
    const none = "Your plan so far: none yet. Keep to it while it holds.";
    expect(chat({ answer: "tags" }, state([turn(1)])).get("plan")).toBe(none);
    expect(chat({ answer: "tags", context: "episode" }, state([turn(1)])).has("plan")).toBe(false);
    expect(chat({ answer: "think" }, state([turn(1)])).has("plan")).toBe(false);
    const answered = { ...turn(2), answer: "<monitor>a</monitor>" };
    expect(chat({ recent_answers: 2 }, state([turn(1), answered])).get("answers")).toBe(
      "Your last answers were:\nact 1\n<monitor>a</monitor>",
    );
  });

  test("ScienceWorld's forms of commands come second, all of them", () => {
    const of = blocks({ format: "chat", wording: "scienceworld" }, state([]));
    expect(of[0][1]).toBe(
      "You act in a text world where experiments of school science are made. Your task: put a mug on the shelf.",
    );
    expect(of[1][0]).toBe("commands");
    for (const form of ["open THING", "go to PLACE", "focus on THING", "wait1 (one tick)", "inventory"])
      expect(of[1][1]).toContain(form);
  });
});

describe("what is encoded", () => {
  test("plain content has no template, a message has, and ends where the answer begins", () => {
    expect(encodeContent(chatml, "plain", "look").text).toBe("look");
    expect(encodeContent(chatml, "message", "look").text).toBe("<|user|>\nlook<|end|>\n<|assistant|>\n");
  });

  test("what comes between answers: a line without a template, else the end of one message and the next", () => {
    const builder = (format: PromptOptions["format"]) =>
      new PromptBuilder(chatml, { format, history: 0, admissible: false, context: "episode" });
    const end = chatml.eosTokenId as number;
    const [word] = chatml.encode("look");
    expect(builder("plain").continuation("go", end).text).toBe("\ngo");
    const rest = "\n<|user|>\ngo<|end|>\n<|assistant|>\n";
    expect(builder("message").continuation("go", end).text).toBe(rest);
    expect(builder("message").continuation("go", word).text).toBe(`<|end|>${rest}`);
    expect(builder("message").continuation("go", undefined).text).toBe(`<|end|>${rest}`);
    // another token that ends answers, with which the template does not end them
    const ends = new Tokenizer({ ...files, chatTemplate: chatTemplate.replaceAll("<|end|>", "<|unk|>") });
    const other = new PromptBuilder(ends, { format: "message", history: 0, admissible: false });
    expect(other.continuation("go", end).text).toBe(`<|unk|>${rest.replace("<|end|>", "<|unk|>")}`);
  });

  test("a prompt as long as the limit keeps its steps; a template that repeats answers is refused", () => {
    const of = state(three);
    const options = { format: "message", history: 3, admissible: false } as const;
    const whole = new PromptBuilder(tokenizer, options).build(of);
    const fits = new PromptBuilder(tokenizer, { ...options, max_tokens: whole.tokens.length }).build(of);
    expect(fits).toEqual(whole);
    const twice = new Tokenizer({
      ...files,
      chatTemplate: "{% for m in messages %}{{ m['content'] + m['content'] }}{% endfor %}",
    });
    const builder = new PromptBuilder(twice, { ...options, context: "episode" });
    expect(() => builder.continuation("text", endToken)).toThrow(/Set prompt\.context to step\.$/);
    // what comes after a message that is shown must not hold the answer again
    const again = new Tokenizer({
      ...files,
      chatTemplate: "{% for m in messages %}{{ m['content'] }}{% endfor %}{{ messages[1]['content'] }}",
    });
    const late = new PromptBuilder(again, { ...options, context: "episode" });
    expect(() => late.continuation("text", endToken)).toThrow(/chat template changes messages/);
  });
});

describe("answers within an episode", () => {
  const start = { task: "put a mug on the shelf.", opening };
  const played = (options: Partial<PromptOptions>) =>
    new EpisodePrompts(
      new PromptBuilder(tokenizer, { format: "chat", history: 0, admissible: false, ...options }),
      start,
    );
  const text = (blocks: readonly { name: string; text: string }[], name: string) =>
    blocks.find((block) => block.name === name)?.text;

  test("only an announced plan is kept; the text of an answer has no special tokens", () => {
    const episode = played({ answer: "tags", recent_answers: 1 });
    episode.next(opening, []);
    const say = (answer: string) => [...tokenizer.encode(answer), endToken];
    const parsed = episode.answered(say("<planning>mug first</planning><action>look</action>"));
    expect(parsed).toMatchObject({ tag: "planning", command: "look" });
    const planned = episode.next("You see 2.", []).blocks;
    expect(text(planned, "plan")).toBe("Your plan so far: mug first. Keep to it while it holds.");
    expect(text(planned, "answers")).toBe(
      "Your last answers were:\n<planning>mug first</planning><action>look</action>",
    );
    episode.answered(say("<monitor>one to go</monitor><action>look</action>"));
    expect(text(episode.next("You see 3.", []).blocks, "plan")).toContain("mug first");
    // padding is no word either
    expect(episode.answered([tokenizer.padTokenId as number, ...tokenizer.encode(" look ")]).command).toBe(
      "look",
    );
  });

  test("without another setting the whole answer is the command; what ends answers and spaces around are no part of it", () => {
    const [look, end] = tokenizer.encode("look a");
    const ending = new Tokenizer(files, "words", { endTokenIds: [end] });
    const options = { format: "message", history: 0, admissible: false, context: "episode" } as const;
    const episode = new EpisodePrompts(new PromptBuilder(ending, options), start);
    episode.next(opening, []);
    expect(episode.answered([look, end]).command).toBe("look");
    const long = "go to the first shelf, then look for mugs";
    expect(episode.answered(tokenizer.encode(` ${long} `)).command).toBe(long);
    expect(text(episode.next("You see 2.", []).blocks, "history")).toBe(`> ${long}`);
  });

  test("by steps each prompt is written anew; what was said stands between prompts of one text", () => {
    const anew = played({ format: "message" });
    anew.next(opening, []);
    anew.answered(tokenizer.encode("look"));
    expect(anew.next("You see 2.", []).blocks.map(({ name }) => name)).toEqual([
      "task",
      "room",
      "observation",
    ]);
    const one = played({ format: "message", context: "episode" });
    one.next(opening, []);
    one.answered(tokenizer.encode("look"));
    expect(text(one.next("You see 2.", []).blocks, "history")).toBe("> look");
    // asked again before an answer, it is still the start
    const again = played({ format: "message", context: "episode" });
    again.next(opening, []);
    expect(again.next(opening, []).blocks.map(({ name }) => name)).toEqual(["task", "observation"]);
  });
});
