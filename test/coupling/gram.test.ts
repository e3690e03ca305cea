/** The Gram of per-sample gradients against values from outside, and against one backward pass for each sample. */
import { describe, expect, test } from "vitest";
import { perSampleGram } from "../../src/coupling/gram.js";
import { loadPolicy } from "../../src/host/model/policy_folder.js";
import { Launcher } from "../../src/kernels/index.js";
import { goldenModels } from "../support/golden.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);

/** Largest difference as a share of the largest value. */
function worst(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [difference, largest] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs((actual[i] as number) - (expected[i] as number)));
    largest = Math.max(largest, Math.abs(expected[i] as number));
  }
  return difference / largest;
}

describe.each(goldenModels())("golden $name", ({ folder, samples, gram, layers }) => {
  test("Gram in total and of every parameter", async () => {
    const { model } = await loadPolicy(launcher, folder, { requiresGrad: true });
    const result = await perSampleGram(model, samples);
    expect([...result.layers.keys()].sort()).toEqual(Object.keys(layers).sort());
    for (const [name, expected] of Object.entries(layers))
      expect.soft(worst(result.layers.get(name) as Float64Array, expected.flat()), name).toBeLessThan(1e-4);
    expect(worst(result.gram, gram.flat())).toBeLessThan(1e-4);
  });
});
