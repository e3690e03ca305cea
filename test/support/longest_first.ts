/** Files that take longest come first, so that no worker is left with one of them at the end. */
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Above a quarter of a minute with cold caches on two cores; the longest first. */
const LONGEST = [
  "kernels/ops",
  "kernels/ops_gpu",
  "coupling/token_path",
  "rl/learning",
  "coupling/gram",
  "rl/no_signal",
  "kernels/matmul_subgroup_matrix",
  "experiment/experiment",
  "rl/gcd_training",
  "cli/coupling_run",
  "model/pieces",
  "rl/train",
  "cli/play",
  "kernels/attention_layout",
  "optim/adamw",
  "model/unfused",
  "bench/first_step",
  "cli/bench",
  "cli/doctor",
  "env/scienceworld_episodes",
  "examples",
  "rl/lora_training",
  "rl/imitation",
  "model/tokenizer",
  "rl/slow_worlds",
];

/** Files with a process of their own, then those that share one; of either the listed ones first, then the order of vitest. */
export default class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId, project }: TestSpecification): number => {
      const at = LONGEST.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`));
      // a process is shared by files that follow each other
      return (project.config.isolate ? 0 : LONGEST.length + 1) + (at < 0 ? LONGEST.length : at);
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
