import { defineConfig, type TestUserConfig } from "vitest/config";
import LongestFirst from "./test/support/longest_first.js";
import { ownProcessFiles } from "./test/support/own_process.js";

/** What all configurations share. */
export const common: TestUserConfig = {
  pool: "forks",
  maxWorkers: 2,
  sequence: { sequencer: LongestFirst },
  // a bound for what hangs: on SwiftShader, beside another worker, trainings take minutes
  testTimeout: 300_000,
  hookTimeout: 300_000,
  env: { UNCOUPLE_TUNE: "0" },
  reporters: ["default", "./test/support/not_run_reporter.ts"],
};

const own = ownProcessFiles();
const all = "test/**/*.test.ts";

export default defineConfig({
  test: {
    ...common,
    projects: [
      { extends: true, test: { name: "own process", include: own } },
      { extends: true, test: { name: "shared process", include: [all], exclude: own, isolate: false } },
    ],
  },
});
