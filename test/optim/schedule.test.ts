import { expect, test } from "vitest";
import { schedule } from "../../src/optim/schedule.js";

const at = (multiplier: (step: number) => number, steps: readonly number[]) =>
  steps.map((step) => Number(multiplier(step).toFixed(6)));

test("constant, with and without warm-up", () => {
  expect(at(schedule({ kind: "constant" }), [0, 1, 1000])).toEqual([1, 1, 1]);
  expect(at(schedule({ kind: "constant", warmupSteps: 4 }), [0, 1, 2, 3, 4, 99])).toEqual([
    0.25, 0.5, 0.75, 1, 1, 1,
  ]);
});

test("linear reaches the minimum at the end and stays there", () => {
  const plain = schedule({ kind: "linear", totalSteps: 10 });
  expect(at(plain, [0, 5, 9, 10, 20])).toEqual([1, 0.5, 0.1, 0, 0]);
  const warm = schedule({ kind: "linear", warmupSteps: 2, totalSteps: 10, minimum: 0.2 });
  expect(at(warm, [0, 1, 2, 6, 10, 11])).toEqual([0.5, 1, 1, 0.6, 0.2, 0.2]);
});

test("cosine", () => {
  const cosine = schedule({ kind: "cosine", warmupSteps: 1, totalSteps: 5, minimum: 0.1 });
  expect(at(cosine, [0, 1, 2, 3, 4, 5, 50])).toEqual([1, 1, 0.868198, 0.55, 0.231802, 0.1, 0.1]);
});

test("a minimum of 1 changes nothing after the warm-up", () => {
  expect(at(schedule({ kind: "linear", warmupSteps: 1, totalSteps: 3, minimum: 1 }), [0, 1, 2, 9])).toEqual([
    1, 1, 1, 1,
  ]);
});

test.each([
  [
    { kind: "cosine", warmupSteps: 5, totalSteps: 5 },
    "totalSteps is wrong: got 5, expected more than the 5 warm-up steps",
  ],
  [{ kind: "constant", warmupSteps: -1 }, "warmupSteps is wrong: got -1, expected at least 0"],
  [{ kind: "linear", totalSteps: 2, minimum: 2 }, "minimum is wrong: got 2, expected a number in [0, 1]"],
  [
    { kind: "linear", totalSteps: 2, minimum: -0.1 },
    "minimum is wrong: got -0.1, expected a number in [0, 1]",
  ],
] as const)("an impossible schedule is refused: %o", (options, message) => {
  expect(() => schedule(options)).toThrow(`[schedule] ${message}`);
});
