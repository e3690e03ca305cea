import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    maxWorkers: 2,
    // a bound for what hangs: on SwiftShader, beside another worker, trainings take minutes
    testTimeout: 300_000,
    hookTimeout: 300_000,
    env: { UNCOUPLE_TUNE: "0" },
    reporters: ["default", "./test/support/not_run_reporter.ts"],
  },
});
