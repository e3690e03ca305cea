/** Statistics against values computed elsewhere. */
import { expect, test } from "vitest";
import {
  differenceInterval,
  mean,
  quantile,
  standardDeviation,
  wilsonInterval,
} from "../../src/core/statistics.js";

test("mean and unbiased standard deviation", () => {
  expect([mean([]), mean([1, 2, 6])]).toEqual([0, 3]);
  expect(standardDeviation([1, 2, 6])).toBeCloseTo(Math.sqrt(7), 14);
  // three times 0.1 sums to more than 0.3: the spread must be 0 all the same
  expect([standardDeviation([0.1, 0.1, 0.1]), standardDeviation([4]), standardDeviation([])]).toEqual([
    0, 0, 0,
  ]);
});

test("quantiles interpolate between order statistics", () => {
  const values = [7, 1, 5, 3];
  expect([0, 0.5, 1, 0.25, 0.9].map((share) => quantile(values, share))).toEqual([1, 4, 7, 2.5, 6.4]);
  expect(quantile([2], 0.3)).toBe(2);
  expect(() => quantile([], 0.5)).toThrow(/quantile is not defined/);
  expect(() => quantile([1], 1.1)).toThrow(/share 1.1/);
});

test("Wilson's interval", () => {
  // worked by hand for n = 10, p = 0.8: centre (p + z2/20) / (1 + z2/10), z2 = 3.8415
  const interval = wilsonInterval(8, 10);
  expect(interval.low).toBeCloseTo(0.49016, 4);
  expect(interval.high).toBeCloseTo(0.94332, 4);
  expect(wilsonInterval(0, 20)).toMatchObject({ share: 0, low: 0, high: expect.closeTo(0.16113, 4) });
  expect(wilsonInterval(20, 20)).toMatchObject({ share: 1, low: expect.closeTo(0.83887, 4), high: 1 });
  expect(wilsonInterval(0, 0)).toEqual({ share: 0, low: 0, high: 1 });
  expect(() => wilsonInterval(3, 2)).toThrow(/3 successes of 2/);
});

// Newcombe 1998, table II, method 10
test.each([
  [56, 70, 48, 80, 0.2, 0.0524, 0.3339],
  [9, 10, 3, 10, 0.6, 0.1705, 0.809],
  [10, 10, 0, 10, 1, 0.6075, 1],
])("difference of %i of %i and %i of %i", (wins, episodes, fewer, others, difference, low, high) => {
  const found = differenceInterval({ wins, episodes }, { wins: fewer, episodes: others });
  expect(found.difference).toBeCloseTo(difference, 12);
  expect(found.low).toBeCloseTo(low, 3);
  expect(found.high).toBeCloseTo(high, 3);
});
