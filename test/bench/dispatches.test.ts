/** What a training step costs the host: launches, submits, and nothing that has to be created. */
import { expect, test } from "vitest";
import { Trainer } from "../../bench/trainer.js";
import { benchWorkloads, trainingProblem, type Workload } from "../../bench/workloads.js";
import { Launcher } from "../../src/kernels/index.js";
import { testRuntime } from "../support/runtime.js";

test("a steady step creates no buffer and no bind group, is one submit, and a layer takes at most 12 dispatches", async () => {
  const runtime = await testRuntime();
  const launcher = new Launcher(runtime);
  const nano = benchWorkloads(false, true).find(({ name }) => name === "nano") as Workload;
  const dispatches: number[] = [];
  for (const layers of [2, 4]) {
    const workload = { ...nano, config: { ...nano.config, num_hidden_layers: layers } };
    const trainer = new Trainer(launcher, workload, trainingProblem(workload), "f32");
    await trainer.run(2);
    const before = { ...runtime.counters, buffers: runtime.buffers.created };
    await trainer.run(3);
    const after = { ...runtime.counters, buffers: runtime.buffers.created };
    expect(after.buffers).toBe(before.buffers);
    expect(after.bindGroupsCreated).toBe(before.bindGroupsCreated);
    expect(after.pipelines).toBe(before.pipelines);
    // uploads of tokens and targets go before the launches
    expect(after.submits - before.submits).toBe(3);
    dispatches.push((after.dispatches - before.dispatches) / 3);
    trainer.release();
  }
  const [two, four] = dispatches as [number, number];
  expect((four - two) / 2).toBeLessThanOrEqual(12);
});
