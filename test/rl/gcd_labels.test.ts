import { describe, expect, test } from "vitest";
import { Random } from "../../src/core/random.js";
import { flawedRows, type LabelOptions, labelActions, stateOf } from "../../src/rl/gcd/labels.js";
import { balancedPairs, type PairOptions } from "../../src/rl/gcd/pairs.js";
import type { PlayedRow } from "../../src/rl/rows.js";

/** A step of a game: what was seen and done, in an episode that was won or not. */
function step(
  [episode, at]: readonly [episode: number, step: number],
  observation: string,
  action: string,
  outcome: number,
  more: Partial<PlayedRow> = {},
): PlayedRow {
  return {
    kind: "policy",
    group: 0,
    episode,
    step: at,
    taskId: "task",
    taskType: "type",
    prompt: [episode, at],
    answer: [1],
    logProbs: [-1],
    text: { blocks: [], text: observation, hash: `${episode}/${at}` },
    observation,
    anchorKey: observation,
    action,
    valid: true,
    truncated: false,
    stepReward: 0,
    outcome,
    ...more,
  };
}

/** Two episodes from one state: `go` leads to the goal, `sit` does not. */
const played = [
  step([0, 0], "start", "go", 10),
  step([0, 1], "door", "open", 10, { stepReward: 1 }),
  step([1, 0], "start", "sit", 0),
  step([1, 1], "chair", "sit", 0),
];
const options: LabelOptions = {
  source: "step_advantage",
  threshold: 0.1,
  minVisits: 1,
  conflicts: "drop",
  gamma: 0.95,
};
const told = (
  rows: readonly PlayedRow[],
  change: Partial<LabelOptions> = {},
  critic?: Parameters<typeof labelActions>[2],
) =>
  labelActions(rows, { ...options, ...change }, critic).labels.map(({ row, action, verdict }) => [
    row.observation,
    action,
    verdict,
  ]);

describe("labels of actions", () => {
  test("step advantages speak where one state saw different actions with different ends", () => {
    expect(told(played)).toEqual([
      ["start", "go", "good"],
      ["start", "sit", "bad"],
    ]);
    // returns are 0.95 and 0, so advantages are +-0.475
    expect(told(played, { threshold: 0.474 })).toHaveLength(2);
    expect(told(played, { threshold: 0.476 })).toEqual([]);
    const { counts } = labelActions(played, { ...options, threshold: 0.476 });
    expect(counts).toEqual({ good: 0, bad: 0, ties: 2, conflicts: 0 });
  });

  test("an anchor with one action says nothing, whatever its returns", () => {
    const same = played.map((row) => (row.step === 0 ? { ...row, action: "go" } : row));
    expect(told(same)).toEqual([]);
  });

  test("visits that disagree are dropped and counted, or judged by their mean", () => {
    const third = [
      step([2, 0], "start", "go", 0),
      step([2, 1], "wall", "wait", 0),
      step([3, 0], "start", "go", 10),
      step([3, 1], "door", "open", 10, { stepReward: 1 }),
    ];
    const { labels, counts } = labelActions([...played, ...third], options);
    expect(labels.map(({ action }) => action)).toEqual(["sit"]);
    expect(counts.conflicts).toBe(1);
    expect(told([...played, ...third], { conflicts: "mean" })).toContainEqual(["start", "go", "good"]);
  });

  test("few visits are not enough where more are asked for; cut answers are left out", () => {
    expect(told(played, { minVisits: 2 })).toEqual([]);
    const cut = played.map((row) => (row.action === "sit" ? { ...row, truncated: true } : row));
    expect(told(cut)).toEqual([["start", "go", "good"]]);
  });

  test("rules: refused, in vain and repeated actions are bad; those of a won episode good where none did better", () => {
    const rows = [
      step([0, 0], "start", "go", 10),
      step([0, 1], "door", "look", 10),
      step([0, 2], "door", "look", 10),
      step([0, 3], "door", "open", 10),
      step([1, 0], "start", "dance", 0, { valid: false }),
      step([1, 1], "Nothing happens.", "go", 0),
      step([2, 0], "start", "go", 0),
      step([2, 1], "door", "push", 0),
      step([2, 2], "Nothing happens.", "sit", 0),
    ];
    expect(flawedRows(rows)).toEqual([false, false, true, false, true, false, false, true, false]);
    expect(told(rows, { source: "rule" })).toEqual([
      ["start", "go", "good"],
      // asked about at its repetition
      ["door", "look", "bad"],
      ["door", "open", "good"],
      ["start", "dance", "bad"],
      ["door", "push", "bad"],
    ]);
  });

  test("meta, trajectory and critic read the column they name", () => {
    const rows = played.map((row, index) => ({
      ...row,
      parts: { tag: index - 1, outcome: row.outcome > 0 ? 1 : -1 },
    }));
    expect(told(rows, { source: "meta" })).toEqual([
      ["start", "go", "bad"],
      ["start", "sit", "good"],
      ["chair", "sit", "good"],
    ]);
    expect(told(rows, { source: "trajectory" })).toEqual([
      ["start", "go", "good"],
      ["door", "open", "good"],
      ["start", "sit", "bad"],
      ["chair", "sit", "bad"],
    ]);
    // the first of two steps counts half
    expect(told(rows, { source: "trajectory", threshold: 0.6 })).toHaveLength(2);
    expect(told(rows, { source: "critic" }, ["bad", undefined, "good", "bad"])).toEqual([
      ["start", "go", "bad"],
      ["start", "sit", "good"],
      ["chair", "sit", "bad"],
    ]);
  });
});

test("what the world refused is flawed, however well formed the answer was", () => {
  const rows = [
    step([0, 0], "start", "go", 10, { admissible: true }),
    step([0, 1], "door", "fly", 10, { admissible: false }),
    step([1, 0], "start", "sing", 10, { admissible: true, valid: false }),
  ];
  expect(flawedRows(rows)).toEqual([false, true, true]);
});

describe("evidence on one pair", () => {
  /** Visits of one state, of which each has this evidence. */
  const visits = (...tags: readonly number[]) =>
    tags.map((tag, episode) => step([episode, 0], "start", "go", 0, { parts: { tag } }));
  const meta = (rows: readonly PlayedRow[], change: Partial<LabelOptions> = {}) =>
    labelActions(rows, { ...options, source: "meta", ...change });

  test("the visit with most of it stands for the pair, the first of equal ones; strength is the mean", () => {
    const [label] = meta(visits(0.3, -0.9, 0.9, 0.5), { conflicts: "mean" }).labels;
    expect(label).toMatchObject({ verdict: "good", visits: 4 });
    expect(label.row.episode).toBe(1);
    expect(label.strength).toBeCloseTo(0.2, 12);
    expect(meta(visits(0.3, 0.9, 0.5)).labels[0].row.episode).toBe(1);
  });

  test("what lies on the threshold is a tie, and disagrees with nothing", () => {
    expect(meta(visits(0.1)).counts).toEqual({ good: 0, bad: 0, ties: 1, conflicts: 0 });
    expect(meta(visits(0.1, -0.5)).counts).toEqual({ good: 0, bad: 1, ties: 0, conflicts: 0 });
    expect(meta(visits(0.5, -0.1)).counts).toEqual({ good: 1, bad: 0, ties: 0, conflicts: 0 });
    expect(meta(visits(0.5, 0.05)).counts).toEqual({ good: 1, bad: 0, ties: 0, conflicts: 0 });
    expect(meta(visits(0.5, -0.11)).counts).toEqual({ good: 0, bad: 0, ties: 0, conflicts: 1 });
  });

  test("labels are counted by class", () => {
    const rows = [0.5, 0.6, -0.7].map((tag, at) => step([0, at], `place ${at}`, "go", 0, { parts: { tag } }));
    expect(meta(rows).counts).toEqual({ good: 2, bad: 1, ties: 0, conflicts: 0 });
  });

  test("rows without the column say nothing; no outcome part is a tie", () => {
    const none = { good: 0, bad: 0, ties: 0, conflicts: 0 };
    expect(meta(played).counts).toEqual(none);
    expect(labelActions(played, { ...options, source: "critic" }).counts).toEqual(none);
    expect(labelActions(played, { ...options, source: "trajectory" }).counts).toEqual({ ...none, ties: 4 });
  });

  test("rows without an anchor are in no common state", () => {
    const loose = played.map((row) => ({ ...row, anchorKey: undefined }));
    expect(labelActions(loose, options).counts).toEqual({ good: 0, bad: 0, ties: 0, conflicts: 0 });
    const [row] = loose;
    expect(stateOf(row)).toBe("task\n0/0");
    expect(stateOf(played[0])).toBe("task\nstart");
  });

  test("steps are looked at in their order, by the world's own state where it tells one", () => {
    const rows = [
      step([0, 1], "door", "look", 0),
      step([0, 0], "door", "look", 0),
      step([1, 1], "door", "look", 0, { stateKey: "shut" }),
      step([1, 0], "door", "look", 0, { stateKey: "open" }),
      step([2, 1], "other words", "look", 0, { stateKey: "open" }),
      step([2, 0], "door", "look", 0, { stateKey: "open" }),
    ];
    expect(flawedRows(rows)).toEqual([true, false, false, false, true, false]);
  });
});

const pairOptions: PairOptions = { perState: 1, perTask: 9, perEpisode: 9, most: 9, acrossStates: true };

/** Labels of actions `good1`, `bad2`, ... in states that the list names. */
function labelled(...texts: readonly string[]) {
  return texts.map((text, index) => {
    const [state, action] = text.split(" ");
    const row = step([index, 0], state, action, 0);
    const verdict = action.startsWith("good") ? ("good" as const) : ("bad" as const);
    return { row, action, state, verdict, strength: index, visits: 1 };
  });
}

describe("balanced pairs", () => {
  test("of one state first, both under one prompt; the rest across states, each under its own", () => {
    const labels = labelled("a good1", "a bad1", "b good2", "c bad2", "c bad3");
    const chosen = balancedPairs(labels, pairOptions, Random.of(1));
    expect(chosen.map(({ state, verdict }) => `${state} ${verdict}`).slice(0, 2)).toEqual([
      "a good",
      "a bad",
    ]);
    expect(chosen[0].row).toBe(chosen[1].row);
    expect(chosen).toHaveLength(4);
    expect(chosen[2]).toMatchObject({ state: "b", verdict: "good", row: labels[2].row });
    expect(chosen[3].state).toBe("c");
    expect(chosen[3].row.action).toBe(chosen[3].action);
    expect(balancedPairs(labels, { ...pairOptions, acrossStates: false }, Random.of(1))).toHaveLength(2);
  });

  test("which prompt describes the state changes from pair to pair", () => {
    const labels = labelled("a good1", "a bad1");
    const rows = new Set(
      Array.from(
        { length: 20 },
        (_, seed) => balancedPairs(labels, pairOptions, Random.of(seed))[0].row.episode,
      ),
    );
    expect(rows).toEqual(new Set([0, 1]));
  });

  test("pairs that are alike come before those with more evidence; caps hold", () => {
    const labels = labelled("a good1", "a bad1", "a bad2", "b good3", "b bad3");
    const similarity = (_: unknown, bad: { readonly action: string }) => (bad.action === "bad1" ? 0.9 : 0.1);
    const [first] = balancedPairs(labels, { ...pairOptions, similarity }, Random.of(1)).filter(
      ({ verdict }) => verdict === "bad",
    );
    expect(first.action).toBe("bad1");
    const most = (change: Partial<PairOptions>) =>
      balancedPairs(labels, { ...pairOptions, ...change }, Random.of(1)).length / 2;
    expect(most({ most: 1 })).toBe(1);
    expect(most({ perTask: 1 })).toBe(1);
    expect(most({})).toBe(2);
  });

  test("the strongest pair of a state comes first, and no action is asked about twice", () => {
    const strengths: Readonly<Record<string, number>> = { good1: 5, good2: 1, bad1: 2, bad2: 4 };
    for (const order of [
      ["a good1", "a good2", "a bad1", "a bad2"],
      ["a bad2", "a bad1", "a good2", "a good1"],
    ]) {
      const labels = labelled(...order).map((label) => ({ ...label, strength: strengths[label.action] }));
      const chosen = (change: Partial<PairOptions>) =>
        balancedPairs(labels, { ...pairOptions, acrossStates: false, ...change }, Random.of(1)).map(
          ({ action }) => action,
        );
      expect(chosen({})).toEqual(["good1", "bad2"]);
      // two pairs of four actions, not more
      expect(chosen({ perState: 9 })).toEqual(["good1", "bad2", "good2", "bad1"]);
      // alike before strong
      const alike: Readonly<Record<string, number>> = { bad1: 0.5, bad2: 0.4 };
      const similarity = (good: { action: string }, bad: { action: string }) =>
        good.action === "good2" ? alike[bad.action] : 0.3;
      expect(chosen({ similarity })).toEqual(["good2", "bad1"]);
    }
  });

  test("which of equal pairs is asked about changes with the random numbers", () => {
    const labels = labelled("a good1", "a bad1", "a bad2").map((label) => ({ ...label, strength: 1 }));
    const firsts = Array.from(
      { length: 20 },
      (_, seed) => balancedPairs(labels, pairOptions, Random.of(seed))[1].action,
    );
    expect(new Set(firsts)).toEqual(new Set(["bad1", "bad2"]));
  });

  test("caps hold across states too", () => {
    const labels = labelled("a good1", "b bad1", "c good2", "d bad2");
    const count = (change: Partial<PairOptions>) =>
      balancedPairs(labels, { ...pairOptions, ...change }, Random.of(1)).length;
    expect(count({})).toBe(4);
    expect(count({ perTask: 1 })).toBe(2);
    expect(count({ most: 1 })).toBe(2);
  });

  test("an action counts as admissible by what the world lists, else by whether it was valid", () => {
    const labels = labelled("a good1", "a bad1");
    const told = (change: Partial<PlayedRow>) =>
      balancedPairs(
        labels.map((label) => ({ ...label, row: { ...label.row, ...change } })),
        pairOptions,
        Random.of(1),
      ).map(({ admissible }) => admissible);
    expect(told({ valid: true })).toEqual([true, true]);
    expect(told({ valid: false })).toEqual([false, false]);
    expect(told({ valid: true, admissible: false })).toEqual([false, false]);
    expect(told({ valid: false, admissible: true })).toEqual([true, true]);
  });

  test("one class alone makes no pair", () => {
    expect(balancedPairs(labelled("a good1", "b good2"), pairOptions, Random.of(1))).toEqual([]);
  });
});
