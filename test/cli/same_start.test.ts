/** Which settings make two runs begin from different policies. */
import { expect, test } from "vitest";
import { startDifferences } from "../../src/cli/coupling/same_start.js";
import { type TrainConfigInput, trainConfigSchema } from "../../src/config/schema.js";

const between = (first: TrainConfigInput, second: TrainConfigInput, runs = ["/runs/a", "/runs/b"]) =>
  startDifferences(
    { run: runs[0], config: trainConfigSchema.parse(first) },
    { run: runs[1], config: trainConfigSchema.parse(second) },
  );
const none = { episodes: 0 };

test("what happens after imitation does not count", () => {
  expect(between({ grpo: { learning_rate: 1e-5 } }, { gcd: { enabled: true }, eval: { every: 7 } })).toEqual(
    [],
  );
});

test("imitation, its seed and its games do", () => {
  expect(between({ seed: 1 }, { seed: 2 })).toEqual(["seed"]);
  expect(between({}, { imitation: { learning_rate: 1e-5 } })).toEqual(["imitation.learning_rate"]);
  expect(between({}, { world: { household: { items: [3, 5] } } })).toEqual(["world.household.items"]);
});

test("a policy that is read from a folder and imitates nothing is that folder", () => {
  const read = { model: { path: "/models/one" }, imitation: none };
  expect(between({ ...read, seed: 1 }, { ...read, seed: 2, world: { max_steps: 3 } })).toEqual([]);
  expect(between(read, { model: { path: "/models/two" }, imitation: none })).toEqual(["model.path"]);
});

test("a run that began with what the other exported has its start", () => {
  const child = { model: { path: "/runs/a/export" }, imitation: none };
  expect(between({}, child)).toEqual([]);
  expect(between(child, {}, ["/runs/b", "/runs/a"])).toEqual([]);
  // a name that only begins alike
  expect(between({}, child, ["/runs/a/exp", "/runs/b"])).not.toEqual([]);
});
