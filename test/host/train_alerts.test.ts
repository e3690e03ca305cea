/** What training notices goes into the log and the run folder, and a resumed run does not tell it again. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { trainConfigSchema } from "../../src/config/schema.js";
import type { LoopRequest } from "../../src/host/run/train_loop.js";
import { trainRun } from "../../src/host/run/train_run.js";
import { temporaryFolder } from "../support/folders.js";

const out = temporaryFolder();
const warnings: string[] = [];

/** A loop that records dead updates, then saves. */
const deadUpdates =
  (from: number, to: number) =>
  async ({ sink }: LoopRequest) => {
    for (let step = from; step <= to; step++)
      await sink.metrics({ step, stage: "grpo", "dead_groups/before_penalties": 1 });
    const tensors = { model: [], optimizer: [] };
    await sink.checkpoint({ step: to, stage: "grpo", tensors, state: {} });
    return { step: to, finished: false, summary: {} };
  };

const train = (run: string | undefined, from: number, to: number) =>
  trainRun({
    config: trainConfigSchema.parse({ out, name: "dead" }),
    ...{ resolved: "a: 1\n", input: "", run, runtime: undefined as never },
    session: { argv: [], version: "0", node: "20", platform: "linux", git: null, adapter: null },
    signal: new AbortController().signal,
    stopReason: () => undefined,
    logger: { info: () => undefined, warn: (text) => void warnings.push(text) },
    loop: deadUpdates(from, to),
  });

test("an alert is one line of the log and of alerts.jsonl; going on does not repeat it", async () => {
  const { path } = await train(undefined, 1, 4);
  const lines = () => readFileSync(join(path, "alerts.jsonl"), "utf8").trimEnd().split("\n");
  expect(lines().map((line) => JSON.parse(line))).toMatchObject([{ step: 3, kind: "all_groups_dead" }]);
  expect(warnings).toEqual([expect.stringMatching(/^update 3: all groups of 3 updates are dead/)]);
  expect(readFileSync(join(path, "run.log"), "utf8")).toContain("warning: update 3: all groups");
  await train(path, 5, 9);
  expect(lines()).toHaveLength(1);
  expect(warnings).toHaveLength(1);
});
