/** Tests of how long things take, one file after the other: `npm run test:timing`. */
import { defineConfig } from "vitest/config";
import { common } from "./vitest.config.js";

export default defineConfig({
  test: { ...common, include: ["test/timing/*.timing.ts"], maxWorkers: 1 },
});
