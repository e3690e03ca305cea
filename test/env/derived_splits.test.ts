/** Further splits have the tasks that they name, and nothing else changes. */
import { expect, test } from "vitest";
import { trainConfigSchema } from "../../src/config/schema.js";
import { withDerivedSplits } from "../../src/env/derived_splits.js";
import { householdWorld } from "../../src/env/household/world.js";
import { openTrainingWorld } from "../../src/host/run/training_setup.js";

const cool = "pick_cool_then_place_in_recep";

test("a derived split has the tasks of its types, in their order, and plays", async () => {
  const world = householdWorld({ sizes: { train: 6, in_domain: 4, out_of_domain: 6 } });
  const wider = withDerivedSplits(world, {
    L1: { of: "in_domain", task_types: null },
    L2: { of: "out_of_domain", task_types: [cool] },
  });
  expect(wider.splits).toEqual(["train", "in_domain", "out_of_domain", "L1", "L2"]);
  expect(wider.tasks("L1")).toEqual(world.tasks("in_domain"));
  expect(wider.tasks("L2")).toEqual(world.tasks("out_of_domain").filter(({ type }) => type === cool));
  expect(wider.tasks("train")).toEqual(world.tasks("train"));
  const { id } = wider.tasks("L2")[0];
  const environment = wider.create();
  await environment.reset({ options: { taskId: id } });
  let won = false;
  for (const command of (await wider.expert?.(id)) ?? [])
    ({
      info: { won },
    } = await environment.step(command));
  expect(won).toBe(true);
  expect(await wider.sampleTexts?.()).toEqual(world.sampleTexts());
  const { obs } = await environment.reset({ options: { taskId: id } });
  const experience = { texts: [obs], commands: [] };
  const from = await environment.snapshot?.();
  const next = await wider.searchingExpert?.(id, from, experience);
  expect(next?.length).toBeGreaterThan(0);
  expect(next).toEqual(await world.searchingExpert?.(id, from, experience));
});

test("names that are taken, splits and types that are not there are refused", () => {
  const world = householdWorld({ sizes: { train: 6, in_domain: 4, out_of_domain: 6 } });
  const refused = (name: string, of: string, task_types: string[] | null) => () =>
    withDerivedSplits(world, { [name]: { of, task_types } });
  expect(refused("train", "in_domain", null)).toThrow(/world\.splits\.train\] name is taken/);
  expect(refused("L0", "cellar", null)).toThrow(/unknown split: got `cellar`/);
  expect(refused("L0", "in_domain", [cool])).toThrow(/no task of in_domain has the type: got pick_cool/);
});

test("a configuration adds them", async () => {
  const { world } = trainConfigSchema.parse({
    world: {
      household: { train: 8, seen_houses: 8, in_domain: 4, out_of_domain: 4 },
      splits: { L0: { of: "seen_houses" }, L2: { of: "out_of_domain", task_types: [cool] } },
    },
  });
  const opened = await openTrainingWorld({ ...trainConfigSchema.parse({}), world });
  expect(opened.splits.slice(-2)).toEqual(["L0", "L2"]);
  expect(opened.tasks("L0").length).toBe(8);
  expect(opened.tasks("L2").map(({ type }) => type)).toEqual([cool, cool]);
});
