import { describe, expect, test } from "vitest";
import { trainConfigSchema } from "../../src/config/schema.js";
import { Random } from "../../src/core/random.js";
import { KnownMistakes } from "../../src/rl/correction/cold_start.js";
import { Correction } from "../../src/rl/correction/correction.js";
import { countHabits, findHabits, frequencyOf, withoutNumbers } from "../../src/rl/correction/habits.js";
import { addInstructions, blockText, instructionText } from "../../src/rl/correction/instructions.js";
import type { PlayedRow } from "../../src/rl/rows.js";

const row = (observation: string, action: string, taskType = "clean"): PlayedRow => ({
  kind: "policy",
  group: 0,
  episode: 0,
  step: 0,
  taskId: "task",
  taskType,
  prompt: [1],
  answer: [1],
  logProbs: [0],
  text: { blocks: [], text: observation, hash: "" },
  observation,
  action,
  valid: true,
  truncated: false,
  stepReward: 0,
  outcome: 0,
});

/** `open drawer` seven times of ten, in drawers of different numbers. */
const visits = [
  ...Array.from({ length: 7 }, (_, n) =>
    row(`You arrive at drawer ${n}. The drawer ${n} is open.`, `open drawer ${n}`),
  ),
  ...Array.from({ length: 3 }, (_, n) =>
    row(`You arrive at drawer ${n}. The drawer ${n} is open.`, `take cup ${n}`),
  ),
];
const labelOf = ({ action }: PlayedRow) => (action.startsWith("open") ? ("bad" as const) : undefined);

describe("habits", () => {
  test("one habit in many houses is one habit", () => {
    expect(withoutNumbers("On the desk 12, you see a mug 3.")).toBe("On the desk, you see a mug.");
    expect(withoutNumbers("2nd floor 3")).toBe("2nd floor");
    const [state] = countHabits([], visits, labelOf);
    expect(state).toMatchObject({ situation: "You arrive at drawer. The drawer is open.", visits: 10 });
    expect(findHabits([state], { threshold: 0.5, minVisits: 4 })).toEqual([
      {
        taskType: "clean",
        situation: "You arrive at drawer. The drawer is open.",
        action: "open drawer",
        frequency: 0.7,
        visits: 10,
      },
    ]);
    expect(findHabits([state], { threshold: 0.71, minVisits: 4 })).toEqual([]);
    expect(findHabits([state], { threshold: 0.5, minVisits: 11 })).toEqual([]);
  });

  test("counts of several rollouts add up; labels that say good outweigh", () => {
    const twice = countHabits(countHabits([], visits, labelOf), visits, () => "good");
    expect(twice[0].visits).toBe(20);
    expect(findHabits(twice, { threshold: 0.5, minVisits: 4 })).toEqual([]);
    expect(
      frequencyOf(twice, { taskType: "clean", situation: twice[0].situation, action: "take cup" }, 4),
    ).toBeCloseTo(0.3);
    expect(
      frequencyOf(twice, { taskType: "heat", situation: twice[0].situation, action: "take cup" }, 4),
    ).toBeUndefined();
  });
});

describe("instructions", () => {
  const [habit] = findHabits(countHabits([], visits, labelOf), { threshold: 0.5, minVisits: 4 });

  test("a line says what to avoid and after what, with the policy's words where it has some", () => {
    expect(instructionText(habit, "plain")).toBe("avoid : open drawer after : The drawer is open");
    expect(instructionText(habit, "chat", "It is open already. So what?")).toBe(
      'Avoid "open drawer" after "The drawer is open". It is open already.',
    );
  });

  test("there is room for a few, and for a number of tokens", () => {
    const made = (text: string, taskType = "clean") => ({ ...habit, taskType, text, since: 1 });
    const limits = { perTaskType: 2, maxTokens: 4, tokensOf: (text: string) => text.split(/\s+/).length };
    const all = addInstructions(
      [],
      [made("a b"), made("a b"), made("c d"), made("e"), made("e", "heat")],
      limits,
    );
    expect(all.map(({ text, taskType }) => `${taskType}: ${text}`)).toEqual([
      "clean: a b",
      "clean: c d",
      "heat: e",
    ]);
    expect(addInstructions([], [made("a b c d e")], limits)).toEqual([]);
    expect(blockText(all.slice(0, 2))).toBe("a b\nc d");
    const many = ["a", "b", "c"].map((text) => made(text));
    expect(addInstructions([], many, { ...limits, maxTokens: 99 }).map(({ text }) => text)).toEqual([
      "a",
      "b",
    ]);
  });
});

describe("correction over a run", () => {
  const config = trainConfigSchema.parse({ correction: { enabled: true, every: 2, dropout: 0.5 } });
  const open = (isBad: boolean) =>
    new Correction({
      config,
      criticise: async (examples) => examples.map(() => ({ isBad })),
      tokensOf: (text) => text.split(/\s+/).length,
    });

  test("an instruction is made where the policy itself calls the habit bad, and retires when the habit is gone", async () => {
    const correction = open(true);
    correction.observe(visits, labelOf);
    expect(await correction.refresh(0, 1)).toMatchObject({ "correction/active": 0 });
    expect(await correction.refresh(1, 2)).toMatchObject({ "correction/active": 1, "correction/added": 1 });
    expect(correction.block("clean")).toBe("avoid : open drawer after : The drawer is open");
    expect(correction.block("heat")).toBeUndefined();
    // seen too rarely to say: it stays
    await correction.refresh(3, 4);
    expect(correction.active).toHaveLength(1);
    correction.observe(visits.slice(7).concat(visits.slice(7)), labelOf);
    expect(await correction.refresh(5, 6)).toMatchObject({ "correction/active": 0, "correction/retired": 1 });
  });

  test("no instruction against what the policy calls good", async () => {
    const correction = open(false);
    correction.observe(visits, labelOf);
    expect(await correction.refresh(1, 2)).toMatchObject({
      "correction/active": 0,
      "correction/criticised": 1,
    });
  });

  test("a share of the groups plays without; members of a group read the same", async () => {
    const correction = open(true);
    correction.observe(visits, labelOf);
    await correction.refresh(1, 2);
    const blocks = Array.from({ length: 200 }, (_, group) => correction.blockFor("clean", 3, group));
    const share = blocks.filter((block) => block === undefined).length / 200;
    expect(share).toBeGreaterThan(0.4);
    expect(share).toBeLessThan(0.6);
    expect(correction.blockFor("clean", 3, 7)).toBe(blocks[7]);
  });

  test("goes on from a checkpoint as if it had not stopped", async () => {
    const [whole, half, resumed] = [open(true), open(true), open(true)];
    for (const one of [whole, half]) one.observe(visits.slice(0, 6), labelOf);
    resumed.restore(JSON.parse(JSON.stringify(half.save())));
    for (const one of [whole, resumed]) {
      one.observe(visits.slice(6), labelOf);
      await one.refresh(1, 2);
    }
    expect(resumed.active).toEqual(whole.active);
    expect(resumed.active).toHaveLength(1);
  });
});

describe("habits, at their limits", () => {
  test("numbers in words stay, white space is one space", () => {
    expect(withoutNumbers(" a  mug 3 \n and 12b, 4. ")).toBe("a mug and 12b,.");
  });

  test("the threshold itself is a habit, and so are just enough visits; the most frequent come first, then by text", () => {
    const rows = [
      ...Array.from({ length: 4 }, () => row("here", "wait")),
      ...Array.from({ length: 2 }, () => row("here", "look")),
      ...Array.from({ length: 2 }, () => row("here", "sit")),
      ...Array.from({ length: 2 }, () => row("here", "dance")),
      ...Array.from({ length: 6 }, () => row("there", "wait")),
      row("once", "wait"),
    ];
    const found = findHabits(
      countHabits([], rows, () => "bad"),
      { threshold: 0.2, minVisits: 6 },
    );
    expect(found.map(({ situation, action, frequency }) => [situation, action, frequency])).toEqual([
      ["there", "wait", 1],
      ["here", "wait", 0.4],
      ["here", "dance", 0.2],
      ["here", "look", 0.2],
      ["here", "sit", 0.2],
    ]);
    const mixed = countHabits([], [row("here", "wait"), row("here", "wait")], (one) =>
      one === rows[0] ? "bad" : undefined,
    );
    expect(findHabits(mixed, { threshold: 0, minVisits: 0 })).toEqual([]);
    expect(frequencyOf(mixed, { taskType: "clean", situation: "here", action: "wait" }, 2)).toBe(1);
    expect(frequencyOf(mixed, { taskType: "clean", situation: "here", action: "jump" }, 2)).toBe(0);
    expect(frequencyOf(mixed, { taskType: "clean", situation: "here", action: "wait" }, 3)).toBeUndefined();
    expect(frequencyOf(mixed, { taskType: "clean", situation: "there", action: "wait" }, 0)).toBeUndefined();
  });

  test("as many good labels as bad ones make no habit; states are told apart by task type", () => {
    let isBad = false;
    const counts = countHabits([], [row("here", "wait"), row("here", "wait")], () => {
      isBad = !isBad;
      return isBad ? "bad" : "good";
    });
    expect(counts[0].actions).toEqual([{ action: "wait", count: 2, bad: 1, good: 1 }]);
    expect(findHabits(counts, { threshold: 0, minVisits: 0 })).toEqual([]);
    const types = countHabits([], [row("here", "wait"), row("here", "wait", "heat")], () => "bad");
    expect(types.map(({ taskType, visits: seen }) => [taskType, seen])).toEqual([
      ["clean", 1],
      ["heat", 1],
    ]);
  });
});

describe("instructions, word for word", () => {
  const text = (situation: string, format: "plain" | "chat" = "plain", critique?: string) =>
    instructionText({ situation, action: "wait" }, format, critique);

  test("the last sentence of a situation, its first twelve words, without its full stop", () => {
    const long = Array.from({ length: 14 }, (_, n) => `w${n}`).join(" ");
    expect(text(`First. ${long}.`)).toBe(`avoid : wait after : ${long.split(" ").slice(0, 12).join(" ")}`);
    expect(text("One! Two? ")).toBe("avoid : wait after : Two");
    expect(text("Odd...")).toBe("avoid : wait after : Odd");
    expect(text("")).toBe("avoid : wait after : ");
    expect(text("a.b c")).toBe("avoid : wait after : a.b c");
    expect(text("One. Two. Three.  Four five.")).toBe("avoid : wait after : Four five");
  });

  test("without words of the policy, or with empty ones, the line ends there", () => {
    expect(text("Shut.", "chat")).toBe('Avoid "wait" after "Shut".');
    expect(text("Shut.", "chat", "")).toBe('Avoid "wait" after "Shut".');
    expect(text("Shut.", "chat", " It is shut")).toBe('Avoid "wait" after "Shut". It is shut');
  });
});

describe("instructions in demonstrations", () => {
  const tokensOf = (text: string) => text.split(/\s+/).length;
  const known = (perTaskType = 2, maxTokens = 99) => {
    const mistakes = new KnownMistakes("plain", { perTaskType, maxTokens, tokensOf });
    for (const action of ["wait", "look 1", "look 2", "jump"])
      mistakes.add({ taskType: "clean", situation: "At drawer 3.", action });
    return mistakes;
  };
  const blocks = (mistakes: KnownMistakes, done: Parameters<KnownMistakes["block"]>[1] = []) =>
    Array.from({ length: 40 }, (_, seed) => mistakes.block("clean", done, Random.of(seed)));

  test("are against mistakes of other episodes of the type, one to the limit, equal ones once", () => {
    const shown = blocks(known());
    const lines = shown.flatMap((block) => block?.split("\n") ?? []);
    expect(new Set(lines)).toEqual(
      new Set(["wait", "look", "jump"].map((action) => `avoid : ${action} after : At drawer`)),
    );
    expect(new Set(shown.map((block) => block?.split("\n").length))).toEqual(new Set([1, 2]));
    expect(known().block("heat", [], Random.of(1))).toBeUndefined();
  });

  test("leave out what the expert does in the episode itself, whatever the numbers", () => {
    const at = { taskType: "clean", situation: "At drawer 7." };
    const done = ["look 5", "jump"].map((action) => ({ ...at, action }));
    expect(new Set(blocks(known(), done))).toEqual(new Set(["avoid : wait after : At drawer"]));
    const all = [...done, { ...at, action: "wait" }];
    expect(new Set(blocks(known(), all))).toEqual(new Set([undefined]));
  });

  test("are none where not even one has room", () => {
    expect(new Set(blocks(known(2, 3)))).toEqual(new Set([undefined]));
  });
});

describe("correction, in its numbers", () => {
  const config = trainConfigSchema.parse({
    correction: { enabled: true, every: 1, threshold: 0.5, min_visits: 4, dropout: 0 },
  });
  const asked: string[][] = [];
  const correction = new Correction({
    config,
    criticise: async (examples) => {
      asked.push(examples.map(({ text, action }) => `${text?.text} ${action}`));
      return examples.map(() => ({ isBad: true }));
    },
    tokensOf: (text) => text.split(/\s+/).length,
  });

  test("the policy is asked about the first bad row of a habit; age counts from the update that made it", async () => {
    correction.observe(visits, labelOf);
    expect(await correction.refresh(0, 10)).toEqual({
      "correction/active": 1,
      "correction/added": 1,
      "correction/retired": 0,
      "correction/criticised": 1,
      "correction/mean_age": 0,
    });
    expect(asked).toEqual([["You arrive at drawer 0. The drawer 0 is open. open drawer 0"]]);
    expect(correction.blockFor("clean", 3, 0)).toBe(correction.block("clean"));
    // chosen in exactly half of the threshold's share of the visits: it stays; below, it goes
    const seen = (bad: number) => [
      ...visits.slice(0, bad),
      ...Array.from({ length: 8 - bad }, () => visits[9]),
    ];
    correction.observe(seen(2), () => undefined);
    expect(await correction.refresh(1, 13)).toEqual({
      "correction/active": 1,
      "correction/added": 0,
      "correction/retired": 0,
      "correction/criticised": 0,
      "correction/mean_age": 3,
    });
    correction.observe(seen(1), () => undefined);
    expect(await correction.refresh(2, 14)).toMatchObject({
      "correction/active": 0,
      "correction/retired": 1,
    });
  });
});

test("several habits are asked about by a bad row each, every third update", async () => {
  const config = trainConfigSchema.parse({
    correction: { enabled: true, every: 3, threshold: 0.4, min_visits: 2 },
  });
  const asked: string[] = [];
  const correction = new Correction({
    config,
    criticise: async (examples) => {
      asked.push(...examples.map(({ text, action }) => `${text.text}: ${action}`));
      return examples.map(() => ({ isBad: true }));
    },
    tokensOf: () => 1,
  });
  const walk = [row("desk 1", "wait"), row("desk 2", "wait"), row("shelf 1", "sit"), row("shelf 2", "sit")];
  const judged = [...walk, row("desk 3", "wait"), row("shelf 3", "sit")];
  // the first row of either habit has no label
  correction.observe(judged, (one) => (one === walk[0] || one === walk[2] ? undefined : "bad"));
  for (const index of [0, 1]) await correction.refresh(index, index + 1);
  expect(asked).toEqual([]);
  await correction.refresh(2, 3);
  expect(asked.sort()).toEqual(["desk 2: wait", "shelf 2: sit"]);
});
