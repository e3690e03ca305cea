/** The disk is full at every write of a run and of an experiment, in turn. */
import { expect, test } from "vitest";
import { atWrites, experiment, train } from "../support/full_disk_runs.js";

test.each([
  [train, true],
  [train, false],
  [experiment, true],
  [experiment, false],
])("%o, the disk stays full: %s", async (action, lasts) => {
  const writes = await atWrites(action, { lasts, stride: 1 });
  console.log(`${action.name}, ${lasts ? "all later writes fail too" : "one write fails"}: ${writes} writes`);
  expect(writes).toBeGreaterThan(100);
});
