/** The first training step of a process, timed in one of its own. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { benchFirstStep, type FirstStepBench } from "../../bench/first_step.js";
import { benchWorkloads } from "../../bench/workloads.js";
import { buildForTest } from "../support/built.js";

const built = buildForTest("first_step");
afterAll(() => built.remove());

const [tiny] = benchWorkloads(true, true);
const bench = (script: string): FirstStepBench => ({
  adapter: "A",
  dtype: "f32",
  job: {
    adapter: process.env.UNCOUPLE_ADAPTER ?? "auto",
    preset: "checked",
    matmulPrecision: "f32",
    precision: "f32",
    tuning: {},
  },
  env: process.env,
  quick: true,
  script: join(built.folder, "bench", script),
});

test("the row has the whole time, its parts, the pipelines, and the time with an empty shader cache", async () => {
  const row = await benchFirstStep(bench("first_step_child.js"), tiny);
  expect(row.error).toBeUndefined();
  expect(row).toMatchObject({ op: "first_step", shape: "tiny B2 T16", repeats: 1 });
  const phases = Object.entries(row.phases ?? {});
  expect(phases.map(([name]) => name)).toEqual(["start", "open", "build", "step"]);
  const sum = phases.reduce((total, [, time]) => total + time, 0);
  expect(row.medianMs).toBeCloseTo(sum, 6);
  for (const value of [row.coldMs, row.pipelines, ...phases.map(([, time]) => time)])
    expect(value).toBeGreaterThan(0);
});

test.each([
  [
    "crashes",
    'console.error("driver lost"); process.exit(3);',
    /the process ended \(exit code 3\) driver lost/,
  ],
  [
    "computes nonsense",
    'process.once("message", () => process.send({ phases: { start: 1 }, pipelines: 1, loss: 90 }, () => process.exit()));',
    /wrong loss: got 90/,
  ],
])("a process that %s becomes a row that says so", async (name, code, message) => {
  const script = `child_${name.split(" ")[0]}.js`;
  writeFileSync(join(built.folder, "bench", script), code);
  expect((await benchFirstStep(bench(script), tiny)).error).toMatch(message);
});
