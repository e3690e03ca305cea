import { describe, expect, test } from "vitest";
import { Random } from "../../src/core/random.js";
import { flawedRows, type LabelOptions, labelActions } from "../../src/rl/gcd/labels.js";
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

  test("one class alone makes no pair", () => {
    expect(balancedPairs(labelled("a good1", "b good2"), pairOptions, Random.of(1))).toEqual([]);
  });
});
