/** Runs that go wrong are told from runs that learn. */
import { expect, test } from "vitest";
import { checkFinite, DivergenceGuard } from "../../src/core/divergence.js";
import { CheckError, EXIT } from "../../src/core/errors.js";

function watch(skipped: readonly number[], hasLossScale = false): void {
  const guard = new DivergenceGuard(hasLossScale);
  for (const [index, value] of skipped.entries())
    guard.look({ step: index + 1, stage: "grpo", skipped: value });
}

test("five skipped updates in a row end the run with exit code 5; fewer do not", () => {
  watch([0, 1, 0, 1, 1, 1, 1, 0]);
  expect(() => watch([1, 1, 1, 1, 1])).toThrow(CheckError);
  expect(() => watch([0, 1, 1, 1, 1, 1])).toThrow("[update 6] training has diverged: got 5 updates in a row");
  expect(new CheckError("").exitCode).toBe(EXIT.checkFailed);
});

test("the search of a loss scale is no divergence", () => {
  watch([1, 1, 1, 1, 1, 1, 1], true);
});

test("the first value that is not finite is named", () => {
  checkFinite("w", Float32Array.of(0, -3e38), "save");
  expect(() => checkFinite("w", Float32Array.of(0, Number.NaN), "save")).toThrow(
    "[w] weights are not finite: got NaN at element 1, expected numbers to save",
  );
  expect(() => checkFinite("w", Float32Array.of(Number.POSITIVE_INFINITY), "export")).toThrow(CheckError);
});
