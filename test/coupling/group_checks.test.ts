/** What the episodes of a group have in common, and an order for heat maps. */
import { expect, test } from "vitest";
import { Random } from "../../src/core/random.js";
import { repeatConsistency } from "../../src/coupling/analysis/repeat_consistency.js";
import { clusteredOrder } from "../../src/coupling/analysis/seriation.js";
import { cancellationResidual } from "../../src/coupling/analysis/shared_tokens.js";

test("terms on shared tokens cancel at ratio 1 and equal weights", () => {
  const answer = (tokens: number[], factor: number) => ({
    group: 1,
    tokens,
    coefficients: tokens.map(() => factor),
  });
  const answers = [answer([1, 2, 3], 2), answer([1, 2, 4, 5], -1), answer([1, 2, 3], -1)];
  expect(cancellationResidual(answers)).toEqual({ groups: 1, tokens: 2, residual: 0 });
  // a clip that takes out one negative term
  const clipped = answers.map((sample, i) => (i === 2 ? { ...sample, coefficients: [0, -1, -1] } : sample));
  // position 1: |2 - 1| of 3; position 2: 0 of 4
  expect(cancellationResidual(clipped)).toEqual({ groups: 1, tokens: 2, residual: 1 / 7 });
  // of two groups with nothing in common, nothing is said
  expect(cancellationResidual([answer([1], 1), { ...answer([1], 1), group: 2 }])).toEqual({
    groups: 0,
    tokens: 0,
    residual: null,
  });
  expect(() => cancellationResidual([{ group: 1, tokens: [], coefficients: [] }])).toThrow(/answer is empty/);
});

test("two answers of unlike length share what both begin with, and each position counts by itself", () => {
  const pair = [
    { group: 1, tokens: [7, 8], coefficients: [2, 3] },
    { group: 1, tokens: [7, 8, 9], coefficients: [-1, 1, 5] },
  ];
  // position 0: |2 - 1| of 3; position 1: |3 + 1| of 4
  expect(cancellationResidual(pair)).toEqual({ groups: 1, tokens: 2, residual: 5 / 7 });
});

test("repeat consistency counts pairs of episodes that met", () => {
  const step = (group: number, episode: number, state: string, action: string) => ({
    group,
    episode,
    state,
    action,
  });
  const steps = [
    step(0, 0, "hall", "go"),
    step(0, 1, "hall", "go"),
    step(0, 2, "hall", "wait"),
    // a second visit does not count
    step(0, 2, "hall", "go"),
    step(0, 0, "room", "take"),
    step(0, 1, "room", "take"),
    // another group is another start
    step(1, 3, "room", "drop"),
  ];
  expect(repeatConsistency(steps)).toEqual({ states: 2, pairs: 4, consistency: 0.5 });
  expect(repeatConsistency(steps.slice(6))).toEqual({ states: 0, pairs: 0, consistency: null });
});

test("an order that brings blocks together again", () => {
  const random = new Random(5);
  const blocks = random.shuffle([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]);
  const count = blocks.length;
  const similarity = Float64Array.from({ length: count * count }, (_, k) =>
    blocks[Math.floor(k / count)] === blocks[k % count] ? 0.9 : -0.1,
  );
  const order = clusteredOrder(similarity, count);
  expect([...order].sort((a, b) => a - b)).toEqual([...Array(count).keys()]);
  const changes = order.filter((i, at) => at > 0 && blocks[i] !== blocks[order[at - 1]]);
  expect(changes).toHaveLength(2);
});

test("points on a line come back in their order", () => {
  const places = [3, 0, 5.5, 1, 8, 2.2];
  const count = places.length;
  const similarity = Float64Array.from(
    { length: count * count },
    (_, k) => -Math.abs(places[Math.floor(k / count)] - places[k % count]),
  );
  const ordered = clusteredOrder(similarity, count).map((i) => places[i]);
  const rising = ordered[0] < ordered[count - 1] ? ordered : ordered.reverse();
  expect(rising).toEqual([0, 1, 2.2, 3, 5.5, 8]);
});

test("clusters are joined by the mean over pairs", () => {
  // 2 is nearest to 1, but on average {0, 1} is nearer to 3
  const rows = [
    [1, 0.9, 0.0, 0.5],
    [0.9, 1, 0.8, 0.5],
    [0.0, 0.8, 1, 0.1],
    [0.5, 0.5, 0.1, 1],
  ];
  const order = clusteredOrder(rows.flat(), 4);
  expect(Math.abs(order.indexOf(2) - 1.5)).toBe(1.5);
  expect(clusteredOrder([], 0)).toEqual([]);
});
