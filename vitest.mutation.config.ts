/** Tests that judge mutants (`npm run mutate`): those of the mutated folders, without child processes and timings. */
import { defineConfig } from "vitest/config";
import tests from "./vitest.config.js";

export default defineConfig({
  test: {
    ...tests.test,
    include: ["test/{rl,autograd,optim,coupling,model}/**/*.test.ts"],
    reporters: ["default"],
    bail: 1,
  },
});
