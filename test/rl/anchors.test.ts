/** Keys of anchor states, and similarity against Python's difflib. */
import { expect, test } from "vitest";
import {
  checkSameStart,
  hiddenStateKeys,
  isInformative,
  similarityKeys,
} from "../../src/rl/advantages/anchors.js";
import { matchingRatio } from "../../src/rl/advantages/similarity.js";
import { anchorKey } from "../../src/rl/play/anchor.js";

const room =
  "You are in the middle of a room. Looking quickly around you, you see a bed 1, a desk 2, a desk 1, a drawer 6, a drawer 5, a drawer 4, a drawer 3, a drawer 2, a drawer 1, a garbagecan 1, a laundryhamper 1, a safe 1, a shelf 6, and a shelf 5.";
const other =
  "You are in the middle of a room. Looking quickly around you, you see a bed 1, a desk 1, a drawer 2, a drawer 1, a garbagecan 1, a shelf 6, a shelf 5, a shelf 4, a shelf 3, a shelf 2, a shelf 1, a sidetable 2, and a sidetable 1 near it.";
const desk = "On the desk 1, you see a alarmclock 1, a bowl 2, and a mug 1.";
const desk2 = "On the desk 2, you see a bowl 2, a mug 1, and a pen 3.";

// difflib.SequenceMatcher(None, a, b).ratio() of CPython 3; the first two have units that are too common
test.each([
  [room, other, 0.5347368421052632],
  [other, room, 0.5768421052631579],
  [desk, desk2, 0.6956521739130435],
  [room, desk, 0.2857142857142857],
  ["abcd", "bcde", 0.75],
  ["qabxcd", "abycdf", 0.6666666666666666],
  ["private Thread currentThread;", "private volatile Thread currentThread;", 0.8656716417910447],
  ["", "", 1],
  ["a", "", 0],
])("difflib's ratio of %j and %j", (a, b, ratio) => {
  expect(matchingRatio(a, b)).toBe(ratio);
});

const told = { admissibleCommands: [], won: false, taskId: "t", inventory: "", stateKey: "7f" };

test("observations that tell nothing have no key", () => {
  for (const text of ["Nothing happens.", " nothing happens", "", "  "]) {
    expect(isInformative(text)).toBe(false);
    expect(anchorKey("observation", text, told)).toBeUndefined();
    expect(anchorKey("observation_inventory", text, told)).toBeUndefined();
    expect(anchorKey("state_key", text, told)).toBe("7f");
  }
  expect(isInformative("You arrive.", [/^You arrive\.$/])).toBe(false);
  expect(anchorKey("observation", "You arrive.", told)).toBe("You arrive.");
});

test("what is carried tells apart what reads alike", () => {
  const at = (inventory?: string) => anchorKey("observation_inventory", desk, { ...told, inventory });
  expect(at("a mug 1")).not.toBe(at(""));
  expect(at("a mug 1")).toBe(at("a mug 1"));
  expect(() => at()).toThrow(/expected a world that tells what is carried/);
  const keyless = { ...told, stateKey: undefined };
  expect(() => anchorKey("state_key", desk, keyless)).toThrow(/expected a world that tells its states apart/);
  expect(anchorKey("none", desk, told)).toBeUndefined();
});

test("similar observations join the first cluster that fits, within their group", () => {
  const of = (...observations: string[]) =>
    similarityKeys(
      observations.map((observation) => ({ group: 0, observation })),
      0.7,
    );
  // aaaa-aabb 0.5, aaaa-aaab 0.75, aaab-aabb 0.75: the order decides where aaab goes
  expect(of("aaaa", "aaab", "aabb")).toEqual(["cluster 0", "cluster 0", "cluster 1"]);
  expect(of("aaab", "aaaa", "aabb")).toEqual(["cluster 0", "cluster 0", "cluster 0"]);
  expect(of("aaaa", "Nothing happens.", "aaaa")).toEqual(["cluster 0", undefined, "cluster 0"]);
  const groups = similarityKeys(
    [
      { group: 0, observation: "aaaa" },
      { group: 1, observation: "bbbb" },
      { group: 1, observation: "aaaa" },
    ],
    0.7,
  );
  expect(groups).toEqual(["cluster 0", "cluster 0", "cluster 1"]);
  const edge = ["aaaa", "aaab"].map((observation) => ({ group: 0, observation }));
  expect(similarityKeys(edge, 0.75)).toEqual(["cluster 0", "cluster 0"]);
  expect(similarityKeys(edge, 1)).toEqual(["cluster 0", "cluster 1"]);
  expect(() => similarityKeys([], 1.5)).toThrow(/threshold is out of range/);
});

test("hidden states join by their cosine", () => {
  const items = [
    [1, 0],
    [2, 0.1],
    [0, 1],
    [-1, 0],
  ].map((hidden) => ({ group: "g", hidden }));
  expect(hiddenStateKeys(items, 0.95)).toEqual(["cluster 0", "cluster 0", "cluster 1", "cluster 2"]);
  expect(() => hiddenStateKeys([{ group: 0, hidden: [0, 0] }], 0.9)).toThrow(/hidden state 0 is wrong/);
  expect(() => hiddenStateKeys([items[0], { group: 0, hidden: [1] }], 0.9)).toThrow(
    /hidden state 1 is wrong/,
  );
  expect(hiddenStateKeys([], 0.9)).toEqual([]);
});

test("groups that mix tasks or starts are refused", () => {
  const row = { group: 3, episode: 0, step: 0, taskId: "t", observation: "o" };
  expect(() =>
    checkSameStart([row, { ...row, episode: 1 }, { ...row, step: 1, observation: "p" }]),
  ).not.toThrow();
  expect(() => checkSameStart([row, { ...row, episode: 1, taskId: "u" }])).toThrow(
    /group 3 mixes starts: got task "u"/,
  );
  expect(() => checkSameStart([row, { ...row, episode: 1, observation: "p" }])).toThrow(
    /first observation "p"/,
  );
});
