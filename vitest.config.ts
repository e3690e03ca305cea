import { defineConfig } from "vitest/config";
import LongestFirst from "./test/support/longest_first.js";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    // a bound for what hangs: on SwiftShader, beside another worker, trainings take minutes
    testTimeout: 300_000,
    hookTimeout: 300_000,
    env: { UNCOUPLE_TUNE: "0" },
    reporters: ["default", "./test/support/not_run_reporter.ts"],
  },
});
