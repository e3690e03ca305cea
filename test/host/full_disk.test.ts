/** The disk is full at some of the writes of a run and of an experiment; at every one: `npm run test:reliability`. */
import { expect, test } from "vitest";
import { atWrites, experiment, train } from "../support/full_disk_runs.js";

test.each([
  { lasts: true, stride: 5 },
  { lasts: false, stride: 11 },
])("a run: %j", async (disk) => {
  expect(await atWrites(train, disk)).toBeGreaterThan(100);
});

test("an experiment", async () => {
  expect(await atWrites(experiment, { lasts: true, stride: 41 })).toBeGreaterThan(200);
});
