/** The configured household world is the one that the generator makes. */
import { expect, test } from "vitest";
import { trainConfigSchema } from "../../src/config/schema.js";
import { householdOptions } from "../../src/config/world_options.js";
import { householdWorld } from "../../src/env/household/world.js";

test("defaults, sizes, task types and single values of the difficulty arrive", () => {
  const world = (household: object) => trainConfigSchema.parse({ world: { household } }).world;
  expect(householdOptions(world({}))).toMatchObject({
    seed: 0,
    difficulty: { receptacles: [4, 7], items: [3, 6], doors: 0.4 },
    maxSteps: 30,
  });
  const changed = world({
    difficulty: "easy",
    items: [3, 3],
    train: 5,
    in_domain: 0,
    task_types: { train: ["pick_two_obj_and_place"] },
  });
  expect(householdOptions(changed).difficulty).toEqual({ receptacles: [4, 5], items: [3, 3], doors: 0 });
  const games = householdWorld(householdOptions(changed));
  expect(games.splits).toEqual(["train", "out_of_domain"]);
  expect(games.tasks("train").map(({ type }) => type)).toEqual(Array(5).fill("pick_two_obj_and_place"));
});
