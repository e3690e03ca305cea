/** Tests against the real ScienceWorld, which the user brings: `npm run test:scienceworld`. */
import { defineConfig } from "vitest/config";
import tests from "./vitest.config.js";

export default defineConfig({
  test: { ...tests.test, include: ["test/simulator/*.simulator.ts"], maxWorkers: 1 },
});
