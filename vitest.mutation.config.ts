/**
 * Tests that judge mutants (`npm run mutate`): those of the mutated folders, without child processes and timings. MUTATION_TESTS
 * names fewer of them, by paths with commas between: a mutant then takes as long as these.
 */
import { defineConfig } from "vitest/config";
import { common } from "./vitest.config.js";

export default defineConfig({
  test: {
    ...common,
    include: process.env.MUTATION_TESTS?.split(",") ?? [
      "test/{rl,autograd,optim,coupling,model}/**/*.test.ts",
    ],
    reporters: ["default"],
    bail: 1,
  },
});
