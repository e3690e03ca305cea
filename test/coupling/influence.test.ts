/** Influence, its parts, and what is said about them, on Grams of explicit gradients. */
import { expect, test } from "vitest";
import { Random } from "../../src/core/random.js";
import { classCosines } from "../../src/coupling/analysis/class_cosines.js";
import { cosine, influence, pushes, worstPairs } from "../../src/coupling/analysis/influence.js";
import { inversionCauses, splitCross } from "../../src/coupling/analysis/inversion_causes.js";
import { agreement, leaveOneOutPrediction } from "../../src/coupling/analysis/leave_one_out.js";

/** Row-major Gram of rows. */
function gramOf(rows: readonly (readonly number[])[]): Float64Array {
  return Float64Array.from(
    rows.flatMap((a) => rows.map((b) => a.reduce((sum, value, k) => sum + value * b[k], 0))),
  );
}

// a rewarded sample, a punished one that looks like it, a punished one that does not, one that is neither
const gradients = [
  [3, 0],
  [2, 1],
  [0, -2],
  [1, 1],
];
const gram = gramOf(gradients);
const advantages = [1, -0.5, -1, 0];

test("self part, cross part and total by hand", () => {
  const { self, cross, total, inversions, inversionRate, harmfulRatio } = influence(gram, advantages, {
    weights: [1, 1, 1, 1],
  });
  // U = 1 (3, 0) - 0.5 (2, 1) - 1 (0, -2) = (2, 1.5)
  expect([...total]).toEqual([6, 5.5, -3, 3.5]);
  expect([...self]).toEqual([9, -2.5, -4, 0]);
  expect([...cross]).toEqual([-3, 8, 1, 3.5]);
  expect(inversions).toEqual([1]);
  expect(inversionRate).toBe(0.5);
  expect(harmfulRatio).toBeCloseTo(9 / 6.5, 14);
});

test("default weight is 1/N, and the learning rate scales all", () => {
  const plain = influence(gram, advantages, { weights: [1, 1, 1, 1] });
  const scaled = influence(gram, advantages, { learningRate: 0.1 });
  scaled.total.forEach((value, j) => {
    expect(value).toBeCloseTo((0.1 * plain.total[j]) / 4, 14);
  });
});

test("a clipped sample moves nothing, is still moved, and is not called an inversion", () => {
  const { self, total, inversions, inversionRate } = influence(gram, advantages, { weights: [1, 0, 1, 1] });
  // U = (3, 0) - (0, -2)
  expect([...total]).toEqual([9, 8, -4, 5]);
  expect(self[1]).toBe(0);
  expect(inversions).toEqual([]);
  expect(inversionRate).toBe(0);
});

test("nobody punished: rates are not defined", () => {
  expect(influence(gram, [1, 1, 0, 0])).toMatchObject({ inversionRate: null, harmfulRatio: null });
});

test("products with the batch gradient say the same as the Gram", () => {
  const whole = influence(gram, advantages);
  const products = gradients.map((_, j) => whole.total[j]);
  const norms = gradients.map((_, j) => gram[j * 4 + j]);
  expect(pushes(products, norms, advantages)).toEqual(whole);
});

test("pairs that raise a punished sample, worst first", () => {
  const pairs = worstPairs(gram, advantages, 9, { weights: [1, 1, 1, 1] });
  expect(pairs.map(({ from, to, change }) => [from, to, change])).toEqual([
    [0, 1, 6],
    [2, 1, 2],
    [1, 2, 1],
  ]);
  expect(pairs[0]).toMatchObject({ gram: 6, cosine: expect.closeTo(2 / Math.sqrt(5), 14) });
  expect(worstPairs(gram, advantages, 1)).toHaveLength(1);
});

test("the cosine of a gradient of 0 is 0", () => {
  expect(cosine([0, 0, 0, 4], 2, 0, 1)).toBe(0);
});

test("cosines by class, within a state and across", () => {
  const rows = [
    [1, 0],
    [0, 2],
    [1, 1],
    [-3, 0],
    [0, 0],
    [5, 5],
  ];
  const found = classCosines(gramOf(rows), [1, 2, -1, -2, 3, 0], ["a", "b", "a", "b", "a", "a"]);
  const diagonal = Math.SQRT1_2;
  // the sample without gradient and the one without advantage are in no pair
  expect(found.withinState.goodGood).toEqual({ pairs: 0, mean: null });
  expect(found.withinState.goodBad).toEqual({ pairs: 2, mean: expect.closeTo((diagonal + 0) / 2, 14) });
  expect(found.acrossStates.goodGood).toEqual({ pairs: 1, mean: 0 });
  expect(found.acrossStates.badBad).toEqual({ pairs: 1, mean: expect.closeTo(-diagonal, 14) });
  expect(found.acrossStates.goodBad).toEqual({ pairs: 2, mean: expect.closeTo((-1 + diagonal) / 2, 14) });
});

test("a rise by the own state's samples is not called coupling", () => {
  const weights = [1, 1, 1, 1];
  // sample 1 is lifted by sample 0
  const apart = inversionCauses(gram, advantages, ["s", "t", "s", "s"], { weights });
  expect(apart).toEqual({ coupling: [1], ownState: [] });
  const together = inversionCauses(gram, advantages, ["t", "t", "s", "s"], { weights });
  expect(together).toEqual({ coupling: [], ownState: [1] });
  const { within, across } = splitCross(gram, advantages, ["t", "t", "s", "s"], { weights });
  expect([within[1], across[1]]).toEqual([6, 2]);
});

test("leaving a sample out of a linear model changes the others as predicted", () => {
  const random = new Random(3);
  const count = 12;
  const rows = Array.from({ length: count }, () => Array.from({ length: 5 }, () => random.normal()));
  const advantage = rows.map(() => random.normal());
  const weights = rows.map(() => random.uniform());
  const change = (left: number) => {
    const kept = advantage.map((value, i) => (i === left ? 0 : value));
    return influence(gramOf(rows), kept, { weights, learningRate: 0.3 }).total;
  };
  const whole = change(-1);
  const predicted = leaveOneOutPrediction(gramOf(rows), advantage, 4, { weights, learningRate: 0.3 });
  const realised = change(4).map((value, j) => value - whole[j]);
  realised.forEach((value, j) => {
    expect(predicted[j]).toBeCloseTo(value, 12);
  });
  expect(agreement(predicted, realised)).toMatchObject({
    count,
    correlation: expect.closeTo(1, 12),
    rankCorrelation: expect.closeTo(1, 12),
    signAgreement: 1,
    slope: expect.closeTo(1, 12),
  });
});

test("agreement sees a wrong sign and a wrong size", () => {
  expect(agreement([1, 2, 3], [-2, -4, -6])).toMatchObject({
    correlation: expect.closeTo(-1, 12),
    signAgreement: 0,
    slope: -2,
  });
  expect(agreement([0, 0], [1, 2])).toMatchObject({ correlation: null, signAgreement: 0, slope: null });
});

test.each([
  [() => influence([1, 2, 3], [1, 2]), /gram has the wrong size: got 3 values, expected 4/],
  [() => influence([1, Number.NaN, 0, 1], [1, 2]), /not finite: got NaN for samples 0 and 1/],
  [() => influence([1, 0, 0, 1], [1, Infinity]), /advantages is not finite: got Infinity at 1/],
  [
    () => influence([1, 0, 0, 1], [1, 1], { weights: [1, -1] }),
    /loss weight is negative: got -1 for sample 1/,
  ],
  [() => influence([1], [1], { learningRate: Number.NaN }), /learningRate is not finite/],
  [() => leaveOneOutPrediction([1], [1], 1), /no such sample to leave out: got 1, expected 0 to 0/],
])("bad input is told, case %#", (call, message) => {
  expect(call).toThrow(message);
});

test("pairs that raise equally come in order of index, whatever order they are found in; the worst come first", () => {
  // sample 2 lifts sample 1 more than sample 0 does; samples 0 and 3 lift it alike
  const pushes = [
    [1, 1, 0, 0],
    [1, 4, 2, 1],
    [0, 2, 9, 0],
    [0, 1, 0, 1],
  ];
  const pairs = worstPairs(pushes.flat(), [1, -1, 1, 1], 9, { weights: [1, 1, 1, 1] });
  expect(pairs.map(({ from, change }) => [from, change])).toEqual([
    [2, 2],
    [0, 1],
    [3, 1],
  ]);
  expect(worstPairs(pushes.flat(), [1, -1, 1, 1], 2, { weights: [1, 1, 1, 1] })).toEqual(pairs.slice(0, 2));
});

test("agreement of signs counts what moved, and a sample left out is one of the batch", () => {
  expect(agreement([1, 1, 1], [0, 2, -2])).toMatchObject({ signAgreement: 0.5 });
  expect(agreement([1, 2], [0, 0])).toMatchObject({ signAgreement: null });
  expect([...leaveOneOutPrediction([1, 2, 2, 8], [3, 0], 0, { weights: [1, 1] })]).toEqual([-3, -6]);
  for (const left of [-1, 0.5, 2, Number.NaN])
    expect(() => leaveOneOutPrediction([1, 0, 0, 1], [1, 1], left)).toThrow(/no such sample to leave out/);
});
