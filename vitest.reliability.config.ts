/** What a run may be trusted with, tested at length: `npm run test:reliability`. */
import { defineConfig } from "vitest/config";
import { common } from "./vitest.config.js";

export default defineConfig({
  test: {
    ...common,
    include: ["test/reliability/*.reliability.ts"],
    maxWorkers: 1,
    execArgv: ["--expose-gc"],
    testTimeout: 1_800_000,
  },
});
