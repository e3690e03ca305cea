import { expect, test } from "vitest";
import { type Aggregation, aggregationWeights } from "../../src/core/aggregation.js";

// three sequences of 3, 1 and 0 counted tokens; the last does not count as a sequence
const masks = [
  [0, 1, 1, 1],
  [1, 0],
  [0, 0, 0],
];
const rounded = (weights: readonly Float32Array[]) =>
  weights.map((row) => Array.from(row, (value) => Number(value.toFixed(6))));

test.each<[Aggregation, number, number[][]]>([
  [
    "token_mean",
    1,
    [
      [0, 0.25, 0.25, 0.25],
      [0.25, 0],
      [0, 0, 0],
    ],
  ],
  [
    "sequence_mean",
    1,
    [
      [0, 0.166667, 0.166667, 0.166667],
      [0.5, 0],
      [0, 0, 0],
    ],
  ],
  [
    "sequence_sum",
    1,
    [
      [0, 0.5, 0.5, 0.5],
      [0.5, 0],
      [0, 0, 0],
    ],
  ],
  [
    "sequence_sum",
    100,
    [
      [0, 0.005, 0.005, 0.005],
      [0.005, 0],
      [0, 0, 0],
    ],
  ],
])("%s with normaliser %d", (aggregation, normaliser, expected) => {
  expect(rounded(aggregationWeights(aggregation, masks, normaliser))).toEqual(expected);
});

test("weights of the two means add up to 1, whatever the lengths", () => {
  const many = Array.from({ length: 37 }, (_, i) => new Uint8Array(i).map((_, t) => (i * t) % 3));
  for (const aggregation of ["token_mean", "sequence_mean"] as const) {
    const total = aggregationWeights(aggregation, many).reduce(
      (sum, row) => sum + row.reduce((part, value) => part + value, 0),
      0,
    );
    expect(total).toBeCloseTo(1, 5);
  }
});

test("a batch without any counted token has no weight, and no NaN", () => {
  for (const aggregation of ["token_mean", "sequence_mean", "sequence_sum"] as const)
    expect(rounded(aggregationWeights(aggregation, [[0, 0], []]))).toEqual([[0, 0], []]);
});

test("a normaliser of zero is refused", () => {
  expect(() => aggregationWeights("sequence_sum", masks, 0)).toThrow("normaliser");
});
