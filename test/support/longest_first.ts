/** Files that take longest come first, so that no worker is left with one of them at the end. */
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Above a quarter of a minute with cold caches on two cores; the longest first. */
const LONGEST = [
  "rl/learning",
  "kernels/ops",
  "cli/coupling_run",
  "rl/train",
  "kernels/matmul_matrix",
  "rl/gcd_training",
  "bench/first_step",
  "cli/play",
  "env/scienceworld_episodes",
  "examples",
  "model/tokenizer",
  "rl/slow_worlds",
  "optim/adamw",
];

/** The order of the listed files, then that of vitest. */
export default class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = LONGEST.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`));
      return at < 0 ? LONGEST.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
