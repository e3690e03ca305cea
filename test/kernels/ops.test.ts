import { describe, expect, test } from "vitest";
import type { OpDefinition } from "../../src/kernels/engine/op.js";
import { allOps, isDifferentiable, Launcher } from "../../src/kernels/index.js";
import { type OpCase, opCases } from "../op_cases.js";
import { halfPrecision, needing } from "../support/needs.js";
import { forwardMismatch, gradientMismatch, runOp, type Variation, variations } from "../support/op_check.js";
import { testRuntime } from "../support/runtime.js";

const adapterFamily = new Launcher(await testRuntime());
const gpuFamily = new Launcher(await testRuntime({ isSoftware: false }));
const isLavapipe = adapterFamily.facts.description.includes("llvmpipe");
// SwiftShader compiles these in a fifth of lavapipe's time
const withoutSubgroups = new Launcher(
  await testRuntime(
    { isSoftware: true, subgroupMinSize: 0, subgroupMaxSize: 0 },
    isLavapipe ? "swiftshader" : undefined,
  ),
);
const half = halfPrecision(adapterFamily.facts.features);

if (!half.isThere) needing(half).describe("half storage", () => {});

/** Half storage is tried with the last sizes of a row. */
const isLast = (row: OpCase, { dims }: Variation): boolean => dims === row.dims.at(-1);
const takesHalf = ({ inputs }: OpDefinition): boolean =>
  Object.values(inputs).some(({ mayBeHalf }) => mayBeHalf);

// UNCOUPLE_OPS=name,name limits a run to some ops while working on them
const only = process.env.UNCOUPLE_OPS?.split(",");

test("every op has a row and every row an op", () => {
  expect([...new Set(opCases.map((row) => row.op.name))].sort()).toEqual(
    allOps()
      .map((op) => op.name)
      .sort(),
  );
});

test("an op without gradient says why", () => {
  for (const op of allOps()) {
    if (typeof op.backward === "object" && "none" in op.backward)
      expect(op.backward.none.length).toBeGreaterThan(20);
  }
});

for (const row of opCases.filter(({ op }) => !only || only.includes(op.name))) {
  describe(row.op.name, () => {
    for (const variation of variations(row)) {
      const label = JSON.stringify({
        ...variation.dims,
        ...variation.params,
        ...(variation.without.length ? { without: variation.without } : {}),
      });
      for (const [family, launcher, storage] of [
        ["adapter's own", adapterFamily, "f32"],
        ["adapter's own", adapterFamily, "f16"],
        ["GPU", gpuFamily, "f32"],
        ["subgroupless", withoutSubgroups, "f32"],
      ] as const) {
        if (row.ownFamilyOnly && launcher === gpuFamily && isLavapipe) continue;
        if (!row.withoutSubgroups && launcher === withoutSubgroups) continue;
        if (storage === "f16" && !(half.isThere && isLast(row, variation) && takesHalf(row.op))) continue;
        test(`${label}, ${family} family, ${storage}`, async () => {
          const live = launcher.runtime.buffers.liveBytes;
          const first = await runOp(launcher, row, variation, storage);
          expect(forwardMismatch(row, first, storage)).toBeUndefined();
          if (isDifferentiable(row.op)) expect(gradientMismatch(row, first, storage)).toBeUndefined();
          const second = await runOp(launcher, row, variation, storage);
          expect(second.outputs).toEqual(first.outputs);
          expect(second.gradients).toEqual(first.gradients);
          expect(launcher.runtime.buffers.liveBytes).toBe(live);
        });
      }
    }
  });
}
