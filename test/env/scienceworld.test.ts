/** ScienceWorld as a world: its tasks and splits, and what the Python wrapper makes of the simulator's answers. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.js";
import { pointsOf } from "../../src/env/scienceworld/session.js";
import { checkSimplifications, readSimplifications } from "../../src/env/scienceworld/simplifications.js";
import { SCIENCE_SPLITS, splitGames, variationBlock } from "../../src/env/scienceworld/splits.js";
import { readGameId, SCIENCE_TASKS } from "../../src/env/scienceworld/tasks.js";
import { describeActions } from "../../src/env/scienceworld/templates.js";
import { scienceFile, stubWorld, withScienceRecordings } from "../support/scienceworld.js";

describe("tasks and splits", () => {
  test("blocks of variations", () => {
    const sizes = (n: number) => (["train", "dev", "test"] as const).map((block) => variationBlock(n, block));
    expect(sizes(30)).toEqual([
      [0, 14],
      [14, 21],
      [21, 30],
    ]);
    expect(sizes(10)).toEqual([
      [0, 4],
      [4, 6],
      [6, 10],
    ]);
    expect(sizes(1)).toEqual([
      [0, 1],
      [0, 0],
      [0, 1],
    ]);
    expect(sizes(2)).toEqual([
      [0, 1],
      [0, 0],
      [1, 2],
    ]);
    expect(sizes(3)).toEqual([
      [0, 1],
      [1, 2],
      [2, 3],
    ]);
    expect(sizes(4)).toEqual([
      [0, 2],
      [2, 3],
      [3, 4],
    ]);
  });

  test("sizes of the splits", () => {
    const sizes = Object.fromEntries(SCIENCE_SPLITS.map((split) => [split, splitGames(split)?.length]));
    const count = SCIENCE_TASKS.reduce((sum, { variations }) => sum + variations, 0);
    expect(SCIENCE_TASKS.length).toBe(30);
    expect(count).toBe(7207);
    expect((sizes.train ?? 0) + (sizes.dev ?? 0) + (sizes.test ?? 0)).toBe(count);
    expect(sizes).toMatchObject({ l0_train: 3322, l0_test: 1661, l1_train: 3322, l1_test: 1684 });
    expect(sizes).toMatchObject({ l2_train: 2242, l2_test: 549 });
    const tasksOf = (split: string) => new Set(splitGames(split)?.map(({ task }) => task)).size;
    expect([tasksOf("l0_train"), tasksOf("l2_train"), tasksOf("l2_test")]).toEqual([29, 19, 10]);
    expect(splitGames("toString")).toBeUndefined();
  });

  withScienceRecordings.test("the table, the blocks and RLVMR's lists are as recorded", () => {
    type Block = [number, number, number];
    type Counts = { task: string; id: string; topic: string; max: number } & Record<
      "train" | "dev" | "test",
      Block
    >;
    const recorded = scienceFile("variations.json") as Counts[];
    expect(
      recorded.map(({ task, id, topic, max }) => ({ name: task, number: id, topic, variations: max })),
    ).toEqual(SCIENCE_TASKS);
    for (const { max, ...blocks } of recorded) {
      for (const name of ["train", "dev", "test"] as const) {
        const [from, to] = variationBlock(max, name);
        expect([from, to - 1, to - from]).toEqual(blocks[name]);
      }
    }
    for (const level of [0, 1, 2]) {
      const lists = scienceFile(`rlvmr_L${level}_idx.json`) as Record<"train" | "test", [number, number][]>;
      for (const name of ["train", "test"] as const) {
        const ids = lists[name].map(([task, variation]) => `${SCIENCE_TASKS[task].name}/${variation}`);
        const ours = splitGames(`l${level}_${name}`)?.map(({ task, variation }) => `${task}/${variation}`);
        expect(ours?.sort()).toEqual(ids.sort());
      }
    }
  });

  test("ids", () => {
    expect(readGameId("identify-life-stages-1/13")).toEqual({
      task: "identify-life-stages-1",
      variation: 13,
    });
    expect(() => readGameId("boil/30")).toThrow(/got 30, expected 0 to 29/);
    expect(() => readGameId("boils/0")).toThrow(/such as `boil`/);
    for (const id of ["boil", "boil/", "boil/-1", "boil/1.5", "/3"])
      expect(() => readGameId(id), id).toThrow(ConfigError);
  });

  test("tasks of a split", () => {
    const { world } = stubWorld([[]]);
    expect(world.tasks("l2_test")[0]).toEqual({
      id: "change-the-state-of-matter-of/21",
      split: "l2_test",
      type: "change-the-state-of-matter-of",
    });
    expect(() => world.tasks("validation")).toThrow(/expected one of train, dev, test, l0_train/);
  });
});

describe("simplifications", () => {
  test("are easy, none or names", () => {
    expect(readSimplifications("easy")).toBe("easy");
    expect(readSimplifications("none")).toBe("");
    expect(readSimplifications("openDoors, teleportAction,openDoors")).toBe("openDoors,teleportAction");
    // the simulator knows `easy` alone only: with others beside it, it would end every game as failed
    expect(() => readSimplifications("easy,openDoors")).toThrow(/expected easy alone/);
    expect(() => readSimplifications("openDoor")).toThrow(/Write for example `openDoors`/);
    expect(() => readSimplifications("")).toThrow(ConfigError);
  });

  test("leave electrical tasks their wires", () => {
    expect(() => checkSimplifications("openDoors,noElectricalAction", "power-component")).toThrow(
      ConfigError,
    );
    expect(() => checkSimplifications("noElectricalAction", "test-conductivity")).toThrow(ConfigError);
    checkSimplifications("noElectricalAction", "boil");
    checkSimplifications("easy", "power-component");
  });
});

test("points are rounded as by Python: halves to the even number", () => {
  const scores = [0, 0.125, 0.375, 0.005, 0.015, 0.07, 0.29, 1 / 3, 0.995, 1, -1];
  expect(scores.map(pointsOf)).toEqual([0, 12, 38, 0, 2, 7, 29, 33, 100, 100, -100]);
});

test("patterns of actions come with their meaning, unknown ones as they are", () => {
  expect(describeActions(["open OBJ", "dance", "toString"], ["door", "pot"])).toEqual([
    "open OBJ (open a container or door)",
    "dance",
    "toString",
    "OBJ is one of: door, pot",
  ]);
});
