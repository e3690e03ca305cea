/**
 * Every op with the kernels for GPUs. Who uses lavapipe never gets these, so that what its compiler makes of them tells
 * nothing beyond their text: Mesa leaves out the passes that make machine code faster, which takes a quarter of the time off.
 */
import { Launcher } from "../../src/kernels/index.js";
import { testRows } from "../support/op_rows.js";
import { testRuntime } from "../support/runtime.js";

// read by Mesa when the first device is opened; only this file's process sees it
process.env.GALLIVM_PERF = "nopt";
const launcher = new Launcher(await testRuntime({ isSoftware: false }));
const isLavapipe = launcher.facts.description.includes("llvmpipe");

testRows([
  {
    name: "GPU",
    launcher,
    storage: "f32",
    leavesOut: (row) => Boolean(row.ownFamilyOnly) && isLavapipe,
  },
]);
