import { expect, test } from "vitest";
import { pearson, ranks, spearman } from "../../src/coupling/analysis/correlation.js";

test("Pearson's r", () => {
  // Anscombe's first set: 0.81642
  const x = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5];
  const y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68];
  expect(pearson(x, y)).toBeCloseTo(0.81642, 5);
  expect(
    pearson(
      x,
      x.map((value) => 3 - value),
    ),
  ).toBe(-1);
});

test("Spearman's rank correlation", () => {
  // the usual worked example of intelligence and television: -29/165
  const iq = [106, 86, 100, 101, 99, 103, 97, 113, 112, 110];
  const hours = [7, 0, 27, 50, 28, 29, 20, 12, 6, 17];
  expect(spearman(iq, hours)).toBeCloseTo(-29 / 165, 12);
  expect(spearman([1, 10, 100], [2, 3, 5])).toBeCloseTo(1, 12);
});

test("equal values share the mean of their ranks", () => {
  expect([...ranks([5, 1, 5, 5, 0])]).toEqual([4, 2, 4, 4, 1]);
  // by hand: ranks 1.5 1.5 3 4 and 1 2.5 2.5 4, products 4.5 over 4.5
  expect(spearman([1, 1, 2, 3], [1, 2, 2, 9])).toBeCloseTo(3.75 / 4.5, 12);
});

test("no correlation without spread", () => {
  expect([pearson([1], [2]), pearson([1, 1], [1, 2]), spearman([0.1, 0.2], [3, 3])]).toEqual([
    null,
    null,
    null,
  ]);
  expect(() => pearson([1, 2], [1])).toThrow(/the second list has the wrong size: got 1 values, expected 2/);
  expect(() => spearman([1, Number.NaN], [1, 2])).toThrow(/not finite/);
});
