/** Every op with the kernels that the adapter's users get; those of GPUs are tried in ops_gpu.test.ts. */
import { expect, test } from "vitest";
import { allOps, Launcher } from "../../src/kernels/index.js";
import { opCases } from "../op_cases.js";
import { halfPrecision, needing } from "../support/needs.js";
import { type OpFamily, testRows } from "../support/op_rows.js";
import { testRuntime } from "../support/runtime.js";

// Mesa leaves out the passes that make machine code faster, which takes a third of the time off; the same kernels run as users get
// them in the tests of models, trainings and Grams, and here with GALLIVM_PERF= in the environment
process.env.GALLIVM_PERF ??= "nopt";
const own = new Launcher(await testRuntime());
const isLavapipe = own.facts.description.includes("llvmpipe");
// SwiftShader compiles these in a fifth of lavapipe's time
const withoutSubgroups = new Launcher(
  await testRuntime(
    { isSoftware: true, subgroupMinSize: 0, subgroupMaxSize: 0 },
    isLavapipe ? "swiftshader" : undefined,
  ),
);
const half = halfPrecision(own.facts.features);

if (!half.isThere) needing(half).describe("half storage", () => {});

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

const inHalf: OpFamily = { name: "adapter's own", launcher: own, storage: "f16" };
testRows([
  { name: "adapter's own", launcher: own, storage: "f32" },
  ...(half.isThere ? [inHalf] : []),
  {
    name: "subgroupless",
    launcher: withoutSubgroups,
    storage: "f32",
    leavesOut: (row) => !row.withoutSubgroups,
  },
]);
