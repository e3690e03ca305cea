import { describe, expect, test } from "vitest";
import { trainConfigSchema } from "../../src/config/schema.js";
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
