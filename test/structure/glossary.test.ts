/** docs/glossary.md explains every number that a run records. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { Launcher } from "../../src/kernels/index.js";
import { colourWorld } from "../support/colour_world.js";
import { testRuntime } from "../support/runtime.js";
import { recordTraining } from "../support/training.js";

const glossary = readFileSync(new URL("../../docs/glossary.md", import.meta.url), "utf8");

/** Section of the page under a heading. */
function section(title: string): string {
  const found = glossary.split(/^## /m).find((text) => text.startsWith(`${title}\n`));
  expect(found, `no section "${title}"`).toBeDefined();
  return found as string;
}

/** Names in the first column of a section's table. */
function explained(title: string): string[] {
  const rows = [...section(title).matchAll(/^\|([^|]*)\|/gm)].map(([, cell]) => cell);
  return rows.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name)).sort();
}

test("records and page have the same names", async () => {
  const { metrics, evaluations } = await recordTraining(new Launcher(await testRuntime()), colourWorld(), {
    world: { max_steps: 1 },
    imitation: { episodes: 4, max_steps: 1, batch_size: 2 },
    grpo: { max_steps: 1, tasks_per_step: 2, num_generations: 2, max_completion_length: 1 },
    eval: { episodes: 2, modes: ["sampled"], samples: 2, splits: ["held_out"] },
  });
  const names = (rows: readonly object[]) => {
    const keys = rows
      .flatMap((row) => Object.keys(row))
      .map((key) => key.replace(/^(success|success_low|success_high)\/.*/, "$1/<task type>"))
      .map((key) => key.replace(/^episodes\/say$/, "episodes/<task type>"))
      .map((key) => key.replace(/^(avg|pass)@\d+$/, "$1@k"));
    // the run folder stamps each row
    return [...new Set([...keys, "time"])].sort();
  };
  expect(explained("Metrics of an update")).toEqual(names(metrics));
  expect(explained("Numbers of an evaluation")).toEqual(names(evaluations));
});
