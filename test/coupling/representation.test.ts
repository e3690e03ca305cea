/** Probe, centroids, picture and information, by hand. */
import { describe, expect, test } from "vitest";
import { Random } from "../../src/core/random.js";
import { goodAnswers } from "../../src/coupling/analysis/group_scores.js";
import type { LastLayerSample } from "../../src/coupling/analysis/last_layer.js";
import { centroids, linearProbe, principalPlane } from "../../src/coupling/analysis/representation.js";
import { stateActionInformation } from "../../src/coupling/analysis/state_action.js";

describe("linear probe", () => {
  const random = Random.of(1);
  const many = Array.from({ length: 60 }, (_, i) => ({ state: `s${i >> 1}`, isGood: i % 2 === 0 }));
  const labels = { isGood: many.map(({ isGood }) => isGood), states: many.map(({ state }) => state) };

  test("classes on two sides of a plane are told apart in states it has not seen; shuffled ones are not", () => {
    const hidden = many.map(({ isGood }) => [random.normal(), isGood ? 4 : -4, random.normal()]);
    const found = linearProbe({ hidden, ...labels }, { seed: 3 });
    expect(found?.judged).toBe(60);
    expect(found?.balancedAccuracy).toBe(1);
    expect(found?.chance).toBeGreaterThan(0.4);
    expect(found?.chance).toBeLessThan(0.6);
    expect(found?.chanceHigh).toBeLessThan(0.75);
    expect(linearProbe({ hidden, ...labels }, { seed: 3 })).toEqual(found);
  });

  test("where the good and the bad action of a state have one hidden state, it is right half the time, exactly", () => {
    const ofState = new Map(labels.states.map((state) => [state, [random.normal(), random.normal()]]));
    const hidden = labels.states.map((state) => ofState.get(state) as number[]);
    expect(linearProbe({ hidden, ...labels }, { seed: 1 })?.balancedAccuracy).toBe(0.5);
  });

  test("what tells states of the training apart is of no use in others", () => {
    // each state has a direction of its own and one class: on rows that it was fitted on the probe would be right
    const hidden = many.map((_, i) => many.map((_other, j) => Number(i >> 1 === j >> 1)));
    const isGood = many.map((_, i) => (i >> 1) % 2 === 0);
    const found = linearProbe({ hidden, isGood, states: labels.states }, { seed: 1 });
    expect(found?.balancedAccuracy).toBeLessThan(0.65);
  });

  test("the margin of a row left out, by hand", () => {
    // bad at -3 and -1, good at 1 and 3: without one of them the middle of the others still lies on its right side
    const [hidden, isGood, states] = [
      [[-3], [-1], [1], [3]],
      [false, false, true, true],
      ["a", "b", "c", "d"],
    ];
    expect(linearProbe({ hidden, isGood, states }, { seed: 0, folds: 4 })?.balancedAccuracy).toBe(1);
    // the outer two changed over: f falls in x, the inner two are on the wrong side. Mean of 1/2 and 1/2
    const mixed = linearProbe(
      { hidden: [[-30], [-1], [1], [30]], isGood: [true, false, true, false], states },
      { seed: 0, folds: 4 },
    );
    expect(mixed?.balancedAccuracy).toBe(0.5);
  });

  test("unequal classes weigh alike: a probe that calls all good is right half the time", () => {
    // two bad among six: rows that are all the same say nothing, so every margin is a tie
    const hidden = Array.from({ length: 6 }, () => [1, 2]);
    const isGood = [true, true, true, true, false, false];
    const states = ["a", "b", "c", "a", "b", "a"];
    const found = linearProbe({ hidden, isGood, states }, { seed: 0, folds: 3 });
    expect(found?.balancedAccuracy).toBe(0.5);
  });

  test("a fold whose training has one class alone judges nothing", () => {
    // the only bad row is in state d: when d is left out there is nothing to learn from
    const hidden = [[1], [2], [3], [-4]];
    const isGood = [true, true, true, false];
    const found = linearProbe({ hidden, isGood, states: ["a", "b", "c", "d"] }, { seed: 0, folds: 4 });
    expect(found).toBeNull();
  });

  test("nothing is made up where one class is missing, and rows of different width are refused", () => {
    const one = { hidden: [[1], [2]], isGood: [true, true], states: ["a", "b"] };
    expect(linearProbe(one, { seed: 0 })).toBeNull();
    expect(centroids(one)).toBeNull();
    expect(() => linearProbe({ ...one, hidden: [[1], [2, 3]] }, { seed: 0 })).toThrow(
      /differ in width: got 1, 2/,
    );
    expect(() => centroids({ ...one, states: ["a"] })).toThrow(/states has the wrong size/);
  });
});

test("centroids at right angles, root of 8 apart, each state 1 from its own", () => {
  const found = centroids({
    hidden: [
      [3, 0],
      [1, 0],
      [0, 1],
      [0, 3],
    ],
    isGood: [true, true, false, false],
    states: ["a", "b", "c", "d"],
  });
  expect(found?.cosine).toBeCloseTo(0, 12);
  expect(found?.separation).toBeCloseTo(Math.sqrt(8), 12);
});

test("centroids that do not lie at right angles, and one at the origin", () => {
  const of = (hidden: number[][]) =>
    centroids({ hidden, isGood: [true, true, false, false], states: ["a", "b", "c", "d"] });
  // means (2, 0) and (3, 3); good ones lie 1 from theirs, bad ones on theirs: mean square 1 / 2
  const found = of([
    [1, 0],
    [3, 0],
    [3, 3],
    [3, 3],
  ]);
  expect(found?.cosine).toBeCloseTo(Math.SQRT1_2, 12);
  expect(found?.separation).toBeCloseTo(Math.sqrt(10) / Math.SQRT1_2, 12);
  const flat = [[0], [0], [2], [2]];
  expect(of(flat)).toEqual({ cosine: 0, separation: null });
});

test("the picture's axes point to the coordinate of largest size", () => {
  // along the first axis -3, 1, 2 about their mean; the second has no variance
  const { points, shares } = principalPlane([[-3], [1], [2]]);
  expect(points.map(([along]) => along)).toEqual([3, -1, -2].map((value) => expect.closeTo(value, 9)));
  expect(points.map(([, across]) => Math.abs(across))).toEqual(
    [0, 0, 0].map((value) => expect.closeTo(value, 6)),
  );
  expect(shares).toEqual([expect.closeTo(1, 12), expect.closeTo(0, 12)]);
  expect(principalPlane([[5, 5]])).toEqual({ points: [[0, 0]], shares: [0, 0] });
});

test("principal plane of a line and of a rectangle", () => {
  const line = principalPlane([-1, 0, 1].map((t) => [7 + t, 2 * t]));
  expect(line.shares[0]).toBeCloseTo(1, 12);
  line.points.forEach(([along, across], i) => {
    expect(Math.abs(along)).toBeCloseTo(Math.abs(i - 1) * Math.sqrt(5), 9);
    expect(across).toBeCloseTo(0, 6);
  });
  const rectangle = principalPlane([
    [3, 1],
    [3, -1],
    [-3, 1],
    [-3, -1],
  ]);
  expect(rectangle.shares[0]).toBeCloseTo(0.9, 12);
  expect(rectangle.shares[1]).toBeCloseTo(0.1, 12);
  expect(principalPlane([])).toEqual({ points: [], shares: [0, 0] });
});

describe("what an action tells of the state", () => {
  const visits = (text: string) => text.split(" ").map(([state, action]) => ({ state, action }));

  test("everything, and nothing", () => {
    const all = stateActionInformation(visits("ax ax by by"), 0);
    expect(all).toMatchObject({ visits: 4, states: 2, actions: 2, retrieval: 1 });
    expect(all?.plugIn).toBeCloseTo(Math.log(2), 12);
    expect(all?.actionEntropy).toBeCloseTo(Math.log(2), 12);
    const none = stateActionInformation(visits("ax ay bx by"), 0);
    expect(none?.plugIn).toBeCloseTo(0, 12);
    expect(none?.retrieval).toBe(0);
    expect(stateActionInformation([], 0)).toBeNull();
  });

  test("a tie counts by chance", () => {
    // without itself, an x of a has one a and one b beside it; an x of b has two a
    expect(stateActionInformation(visits("ax ax bx"), 0)?.retrieval).toBeCloseTo((0.5 + 0.5 + 0) / 3, 12);
  });

  test("few visits a state look informative until chance is taken off", () => {
    const random = Random.of(4);
    const drawn = Array.from({ length: 200 }, (_, i) => ({
      state: `${i % 50}`,
      action: `${random.integer(4)}`,
    }));
    const found = stateActionInformation(drawn, 1);
    expect(found?.plugIn).toBeGreaterThan(0.3);
    expect(Math.abs(found?.corrected as number)).toBeLessThan(0.1 * (found?.plugIn as number));
    expect(found?.retrieval).toBeLessThan(0.1);
  });
});

describe("good answers held down", () => {
  const even = { ids: [0, 1], probabilities: [0.5, 0.5] };
  const layer = (tokens: number[], hidden: number[]): LastLayerSample => ({
    tokens,
    hidden,
    distributions: tokens.map(() => even),
  });
  // e - p is (0.5, -0.5) or the opposite, so products are 0.5 h h' or -0.5 h h'
  const [good, like, unlike] = [layer([0], [1]), layer([0, 1], [2, 1]), layer([1], [1])];
  const sample = (state: string, advantage: number, rows = 1) => ({ state, advantage, rows });

  test("by hand: a punished token like the rewarded one pulls, the opposite one does not", () => {
    const found = goodAnswers({
      samples: [sample("a", 1), sample("a", -1), sample("b", 1), sample("b", -1), sample("c", 1)],
      lastLayer: [good, like, good, unlike, good],
      raw: [-0.2, 0, 0.7, 0, 5],
      optimiser: [-0.02, 0, 0.05, 0, 5],
      textOf: (token) => `t${token}`,
    });
    expect(found.tokens).toEqual([{ sample: 1, text: "t0", score: 1, threshold: 0.5 }]);
    const [first, second] = found.groups;
    expect(first).toMatchObject({
      sample: 0,
      positives: 1,
      negatives: 1,
      raw: -0.2,
      punishedTokens: 2,
      pullingTokens: 1,
    });
    // share 1/2: what the negative does, 1 - 0.5, less what the positive does, 0.5
    expect(first.gwhes).toBeCloseTo(0, 12);
    expect(second).toMatchObject({ sample: 2, optimiser: 0.05, pullingTokens: 0 });
    expect(second.gwhes).toBeCloseTo(-1, 12);
    expect(found.rankRaw).toBeCloseTo(1, 12);
    expect(found.rankOptimiser).toBeCloseTo(1, 12);
  });

  test("states come worst first, tokens farthest above their threshold first", () => {
    const found = goodAnswers({
      samples: [
        sample("b", 1),
        sample("b", -1),
        sample("a", 1),
        sample("a", -1),
        sample("d", 0),
        sample("d", -1),
      ],
      lastLayer: [good, unlike, good, layer([0, 0], [2, 3]), good, like],
      raw: [0.7, 0, -0.2, 0, 0, 0],
      optimiser: [0, 0, 0, 0, 0, 0],
      textOf: (token) => `t${token}`,
    });
    // nobody is rewarded in d
    expect(found.groups.map(({ sample: of }) => of)).toEqual([2, 0]);
    expect(found.tokens.map(({ score }) => score)).toEqual([1.5, 1]);
    expect(found.groups[0].pullingTokens).toBe(2);
  });

  test("the mean of a state's rewarded answers", () => {
    const { groups } = goodAnswers({
      samples: [sample("a", 1), sample("a", 2), sample("a", -1)],
      lastLayer: [good, good, unlike],
      raw: [1, 3, 9],
      optimiser: [2, 6, 9],
      textOf: String,
    });
    expect(groups[0]).toMatchObject({ raw: 2, optimiser: 4, positives: 2 });
  });

  test("a sample counts once for each of its rows", () => {
    const { groups, tokens } = goodAnswers({
      samples: [sample("a", 1, 2), sample("a", -1)],
      lastLayer: [good, like],
      raw: [0, 0],
      optimiser: [0, 0],
      textOf: String,
    });
    expect(groups[0].positives).toBe(2);
    expect(tokens[0]).toMatchObject({ score: 2, threshold: 1 });
  });
});
