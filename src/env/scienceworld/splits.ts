/** Which variations are trained on: the simulator's own rule, and the lists of RLVMR. */
import { SCIENCE_TASKS, type ScienceGame, type ScienceTask } from "./tasks.js";

type Block = "train" | "dev" | "test";

/** First variation and the one after the last. */
type Range = readonly [from: number, to: number];

/** The few variations of small tasks, by their number. @source ScienceWorld, `PythonInterface.getSets` */
const SMALL: Readonly<Record<number, Readonly<Record<Block, Range>>>> = {
  1: { train: [0, 1], dev: [0, 0], test: [0, 1] },
  2: { train: [0, 1], dev: [0, 0], test: [1, 2] },
  3: { train: [0, 1], dev: [1, 2], test: [2, 3] },
  4: { train: [0, 2], dev: [2, 3], test: [3, 4] },
};

/**
 * Consecutive blocks of n variations: the first half trains, a quarter is for development, the rest tests. A quarter is
 * floor(n / 4).
 * @source ScienceWorld, `PythonInterface.getSets`
 */
export function variationBlock(variations: number, block: Block): Range {
  const small = SMALL[variations];
  if (small) return small[block];
  const quarter = Math.floor(variations / 4);
  if (block === "train") return [0, 2 * quarter];
  return block === "dev" ? [2 * quarter, 3 * quarter] : [3 * quarter, variations];
}

/** Tasks that RLVMR's L2 keeps for testing, by their place in the list of tasks. @source RLVMR's index files */
const HELD_OUT: ReadonlySet<number> = new Set([1, 4, 8, 11, 13, 16, 18, 21, 24, 28]);

/** RLVMR leaves out the last task, use-thermometer. @source RLVMR's index files */
const RLVMR_TASKS = SCIENCE_TASKS.slice(0, 29);
const L2_TRAINED = RLVMR_TASKS.filter((_, index) => !HELD_OUT.has(index));
const L2_TESTED = RLVMR_TASKS.filter((_, index) => HELD_OUT.has(index));

/** L0 tests other variations of trained tasks (the development blocks), L1 the test blocks, L2 tasks never trained. */
const SPLITS: Readonly<Record<string, readonly [tasks: readonly ScienceTask[], block: Block]>> = {
  train: [SCIENCE_TASKS, "train"],
  dev: [SCIENCE_TASKS, "dev"],
  test: [SCIENCE_TASKS, "test"],
  l0_train: [RLVMR_TASKS, "train"],
  l0_test: [RLVMR_TASKS, "dev"],
  l1_train: [RLVMR_TASKS, "train"],
  l1_test: [RLVMR_TASKS, "test"],
  l2_train: [L2_TRAINED, "train"],
  l2_test: [L2_TESTED, "test"],
};

/** Names of all splits; the first three together hold every game once. */
export const SCIENCE_SPLITS: readonly string[] = Object.keys(SPLITS);

/** Games of a split, task by task; undefined when there is no such split. */
export function splitGames(split: string): readonly ScienceGame[] | undefined {
  if (!Object.hasOwn(SPLITS, split)) return undefined;
  const [tasks, block] = SPLITS[split];
  return tasks.flatMap(({ name, variations }) => {
    const [from, to] = variationBlock(variations, block);
    return Array.from({ length: to - from }, (_, index) => ({ task: name, variation: from + index }));
  });
}
