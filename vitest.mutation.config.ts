/**
 * Tests that judge mutants (`npm run mutate`): those of the mutated folders, without child processes and timings. MUTATION_TESTS
 * names fewer of them, by paths with commas between: a mutant then takes as long as these, which run in the order given, up to
 * the first that fails.
 */
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";
import { common } from "./vitest.config.js";

const named = process.env.MUTATION_TESTS?.split(",");

class InOrderGiven extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number =>
      (named ?? []).findIndex((name) => moduleId.endsWith(`/${name}`));
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    ...common,
    include: named ?? ["test/{rl,autograd,optim,coupling,model}/**/*.test.ts"],
    sequence: { sequencer: InOrderGiven },
    reporters: ["default"],
    bail: 1,
  },
});
