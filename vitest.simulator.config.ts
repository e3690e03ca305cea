/** Tests against the real ScienceWorld, which the user brings: `npm run test:scienceworld`. */
import { defineConfig } from "vitest/config";
import { common } from "./vitest.config.js";

/** Milliseconds: some of these tests take a minute, and ten where other programs keep the machine busy. */
const PATIENCE = 1_800_000;

export default defineConfig({
  test: {
    ...common,
    include: ["test/simulator/*.simulator.ts"],
    maxWorkers: 1,
    testTimeout: PATIENCE,
    hookTimeout: PATIENCE,
  },
});
