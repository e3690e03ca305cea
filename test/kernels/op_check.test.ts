/** The check of ops itself: one wrong element of a gradient is noticed wherever it is. */
import { expect, test } from "vitest";
import { Launcher, rmsNorm } from "../../src/kernels/index.js";
import { opCases } from "../op_cases.js";
import { gradientMismatch, runOp, variations } from "../support/op_check.js";
import { testRuntime } from "../support/runtime.js";

test("a wrong element of a gradient is noticed wherever it is", async () => {
  const row = opCases.find(({ op }) => op.name === rmsNorm.name);
  if (!row) throw new Error("rms_norm has no row");
  const all = variations(row);
  const run = await runOp(new Launcher(await testRuntime()), row, all[all.length - 1]);
  expect(gradientMismatch(row, run)).toBeUndefined();
  const { length } = run.gradients.x;
  expect(length).toBeGreaterThan(100);
  for (const index of [0, Math.floor(length / 2), length - 1]) {
    const x = run.gradients.x.slice();
    x[index] += 0.1;
    expect(gradientMismatch(row, { ...run, gradients: { ...run.gradients, x } })).toContain("d_x");
  }
});
